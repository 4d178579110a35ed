"""Reading what Slurm's commands print about jobs. Pure: nothing is asked here.

A job is named as Slurm names it to people: ``12``, or ``12_3`` for element 3 of array 12. Lines
that are something else (steps, headers of federated clusters) are passed over.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SACCT_FIELDS = "JobID,State,ExitCode,ElapsedRaw,NodeList,Reason"
SQUEUE_FIELDS = "%i|%T|%M|%N|%r"
"""The reason is last, as the only one that may hold the separator."""
NEVER = "DependencyNeverSatisfied"
"""Slurm's reason for a job whose dependency cannot come true any more."""

_JOB = re.compile(r"\d+(_\d+)?")
_ELEMENTS = re.compile(r"(?P<base>\d+)_\[(?P<list>[^\]%]*)(?P<limit>[^\]]*)(?P<end>\]?)")
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")
_ELAPSED = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)")


@dataclass(frozen=True)
class JobState:
    """What Slurm says of one job.

    Attributes:
        job: ``12`` or ``12_3``.
        state: Slurm's word (``PENDING``, ``RUNNING``, ``COMPLETED``, ``FAILED``, ``TIMEOUT``, ...),
            or ``RUNAWAY`` for a job that accounting believes to live and the controller has lost.
        reason: why it waits, or what Slurm noted when it ended; empty if nothing.
        exit_code: ``CODE:SIGNAL``; empty where Slurm does not say.
        elapsed: seconds since its last start.
        node: nodes of its last start, as Slurm writes lists of them.
        by: who cancelled it.
    """

    job: str
    state: str
    reason: str = ""
    exit_code: str = ""
    elapsed: int = 0
    node: str = ""
    by: str = ""


def expand(name: str) -> list[str]:
    """The jobs that a name stands for: ``14_[0,2-5%2]`` is 14_0, 14_2, ... 14_5.

    Of a list that Slurm has cut short, those that can be read whole; of what is no name, none.
    """
    if _JOB.fullmatch(name):
        return [name]
    found = _ELEMENTS.fullmatch(name)
    if found is None:
        return []
    parts = found["list"].split(",")
    if not found["end"] and not found["limit"]:
        parts.pop()  # the last number may lack digits
    return [f"{found['base']}_{k}" for part in parts for k in _numbers(part)]


def parse_sacct(text: str) -> dict[str, JobState]:
    """Lines of ``SACCT_FIELDS``."""
    known = {}
    for name, said, exit_code, elapsed, node, reason in fields(text, 6):
        state, _, by = said.partition(" by ")
        seconds = int(elapsed) if elapsed.isdigit() else 0
        for job in expand(name):
            known[job] = JobState(
                job, state, _waited_for(reason, state, by), exit_code, seconds,
                _unless(node, "None assigned"), _user(by),
            )  # fmt: skip
    return known


def parse_squeue(text: str) -> dict[str, JobState]:
    """Lines of ``SQUEUE_FIELDS``."""
    return {
        job: JobState(job, state, _unless(reason, "None"), "", _seconds(elapsed), node)
        for name, state, elapsed, node, reason in fields(text, 5)
        for job in expand(name)
    }


def parse_exit_codes(text: str) -> dict[str, str]:
    """Exit codes by job, of ``scontrol --oneliner show job``."""
    codes = {}
    for line in text.splitlines():
        said = dict(re.findall(r"(?:^| )(ArrayJobId|ArrayTaskId|JobId|ExitCode)=(\S+)", line))
        array, element = said.get("ArrayJobId"), said.get("ArrayTaskId")
        job = f"{array}_{element}" if array and element else said.get("JobId", "")
        codes[job] = said.get("ExitCode", "")
    return codes


def fields(text: str, count: int) -> Iterator[list[str]]:
    """The lines that have so many fields; the last field may hold the separator."""
    for line in text.splitlines():
        found = line.strip().split("|", count - 1)
        if len(found) == count:
            yield found


def _numbers(part: str) -> Iterable[int]:
    found = _RANGE.fullmatch(part)
    if found is None:
        return ()
    first, last, step = found.groups()
    return range(int(first), int(last or first) + 1, max(1, int(step or 1)))


def _waited_for(reason: str, state: str, by: str) -> str:
    """Why a job waits or waited last; accounting keeps that even of a job that has started."""
    if state == "CANCELLED" and not by and reason == "Dependency":
        return NEVER  # by nobody: so squeue says too, as long as it has the job
    return _unless(reason, "None") if state in ("PENDING", "CANCELLED") else ""


def _unless(text: str, nothing: str) -> str:
    return "" if text == nothing else text


def _seconds(text: str) -> int:
    found = _ELAPSED.fullmatch(text)
    if found is None:
        return 0
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _user(uid: str) -> str:
    """The name of a user that Slurm names by number."""
    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (ValueError, KeyError, OverflowError):
        return uid
