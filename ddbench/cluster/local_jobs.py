"""Jobs on this machine, without Slurm: submitit's local executor, one process per job."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

from ddbench.cluster import snapshot
from ddbench.cluster.environment import clean_environment
from ddbench.cluster.plan import Group
from ddbench.cluster.records import Queued, Submission
from ddbench.cluster.worker import submit_workers

_NO_LIMIT = 10 * 365 * 24 * 60  # minutes


def start(submission: Submission, group: Group) -> Queued:
    """Start the jobs of a group; their ids are process numbers."""
    from submitit import LocalExecutor

    folder, python = submission.folder, submission.header.python
    executor = LocalExecutor(folder / "jobs", python=quote(python))
    executor.update_parameters(
        timeout_min=_NO_LIMIT, gpus_per_node=group.resources.gpus_per_node
    )  # fmt: skip
    code = str(folder / snapshot.FOLDER)
    log = folder / "jobs" / "controllers.log"
    with (
        _surviving_the_terminal(),
        clean_environment(PYTHONPATH=code, PYTHONSAFEPATH="1"),
        _writing_to(log),
    ):
        ids = submit_workers(executor, submission, group)
    return Queued(ids[0], ids)


def alive(pid: int, folder: Path) -> bool:
    """Whether a job of the submission in ``folder`` runs: the number may be another's by now."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return str(folder / "jobs").encode() in words


def stop(pid: int, folder: Path) -> None:
    """Ask a job to stop; what it is doing is saved."""
    if alive(pid, folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


@contextmanager
def _surviving_the_terminal() -> Iterator[None]:
    """Processes started here live on when the terminal is closed or Ctrl-C is typed in it."""
    numbers = (signal.SIGHUP, signal.SIGINT)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _writing_to(log: Path) -> Iterator[None]:
    """Processes started here hold no terminal and no pipe open that this one was given."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in range(3)]
    null, file = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT)
    try:
        for number, target in enumerate((null, file, file)):
            os.dup2(target, number)
        yield
    finally:
        for number, before in enumerate(kept):
            os.dup2(before, number)
        for descriptor in (*kept, null, file):
            os.close(descriptor)
