"""The environment that jobs are started from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_OF_A_JOB = ("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_", "DDBENCH_JOB", "DDBENCH_RESTARTS")


@contextmanager
def clean_environment(**variables: str) -> Iterator[None]:
    """Start processes without what an outer job left, or the user set for sbatch and srun.

    It would override the profile, or make a job take another's number. ``SLURM_CONF`` stays.

    Args:
        variables: set meanwhile.
    """
    before = dict(os.environ)
    for name in before:
        if name.startswith(_OF_A_JOB) and name != "SLURM_CONF":
            del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
