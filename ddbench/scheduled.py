"""The scheduler's job that this process works for, and lists of such jobs. Torch-free.

A job keeps its number when it is queued again and then counts its restarts, so that a number and a
count name one start of it. A list of jobs is text, ``12_0+2 13_0``: element 0 of array 12, started
again twice, then element 0 of array 13.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ScheduledJob:
    """One start of a job.

    Attributes:
        id: as the scheduler numbers it: ``12``, or ``12_3`` for an element of an array.
        restarts: how often it was started before.
        cluster: the cluster's name; empty where it is not known.
    """

    id: str
    restarts: int = 0
    cluster: str = ""

    @property
    def name(self) -> str:
        """The number, led by the cluster where that is known: ``cluster:12_3``."""
        return f"{self.cluster}:{self.id}" if self.cluster else self.id

    def __str__(self) -> str:
        return f"{self.id}+{self.restarts}" if self.restarts else self.id


def current(environment: Mapping[str, str] = os.environ) -> ScheduledJob | None:
    """The job of this process: by ``DDBENCH_JOB`` and ``DDBENCH_RESTARTS``, else by Slurm."""
    number = environment.get("DDBENCH_JOB") or _slurm_id(environment)
    if not number:
        return None
    count = environment.get("DDBENCH_RESTARTS") or environment.get("SLURM_RESTART_COUNT", "")
    restarts = int(count) if count.isdecimal() else 0
    return ScheduledJob(number, restarts, environment.get("SLURM_CLUSTER_NAME", ""))


def _slurm_id(environment: Mapping[str, str]) -> str:
    array, element = (environment.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return f"{array}_{element}" if array and element else environment.get("SLURM_JOB_ID", "")


def joined(known: str, more: str) -> str:
    """One list of two; a job that stands in both counts once, with the most restarts."""
    jobs = _read(known)
    for number, restarts in _read(more).items():
        jobs[number] = max(restarts, jobs.get(number, 0))
    return " ".join(str(ScheduledJob(number, restarts)) for number, restarts in jobs.items())


def restarts_of(jobs: str) -> int:
    """How often the jobs of a list were started again, all together."""
    return sum(_read(jobs).values())


def _read(jobs: str) -> dict[str, int]:
    parts = (entry.rpartition("+") for entry in jobs.split())
    return {number or last: int(last) if number else 0 for number, _, last in parts}
