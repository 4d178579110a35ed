"""What Slurm says of jobs, and asking it to end one or to queue it again.

Three commands are asked, each once however many jobs there are: ``sacct`` for what has ended,
``squeue`` for what is queued or running, and ``scontrol`` where there is no accounting. Only what
Slurm 20.11 to 24.x have in common is asked for.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

from ddbench.cluster.slurm_output import (
    SACCT_FIELDS,
    SQUEUE_FIELDS,
    JobState,
    expand,
    fields,
    parse_exit_codes,
    parse_sacct,
    parse_squeue,
)
from ddbench.errors import RunFailed, printable

__all__ = [
    "Answer", "JobState", "active", "cancel", "current_state", "find_by_name", "requeue", "states",
]  # fmt: skip

_LIMIT = 10.0
"""Seconds that a question may take; Slurm itself gives an unreachable controller up after nine."""
_AT_ONCE = 500
"""Jobs named in one command: well below the longest command line."""
_SACCT = ("sacct", "--noheader", "--parsable2", "--allocations")
_SQUEUE = ("squeue", "--noheader", "--array", "--states=all")
_ENDED = frozenset(
    "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED"
    " RECONFIG_FAIL REVOKED RUNAWAY TIMEOUT".split()
)
_QUEUED_AGAIN = ("PREEMPTED", "NODE_FAIL")
"""Ends after which Slurm may queue a job again by itself."""


@dataclass(frozen=True)
class Answer:
    """What Slurm said of the jobs it was asked about.

    Attributes:
        known: the jobs that it has word of.
        note: what could not be asked, in one line; empty where everything was.
        sure: whether the queue answered: a job that is not known then lives no more.
    """

    known: Mapping[str, JobState]
    note: str = ""
    sure: bool = True


def active(state: str) -> bool:
    """Whether a job in this state may still run. A word that is not known counts as active."""
    return state not in _ENDED


def states(jobs: Collection[str]) -> Answer:
    """What Slurm says of jobs; never raises.

    Of an array named as a whole (``12``) all elements that Slurm lists are answered. Elements are
    better named one by one: Slurm keeps no record of one that was cancelled while it waited, so
    that it is known to be ``CANCELLED`` only where it is asked for.

    Accounting lags behind by some seconds: of a job that was preempted it says ``PREEMPTED`` when
    the queue has it ``PENDING`` already, and the queue is believed. Where the queue cannot be
    asked, such jobs are left out, as nobody knows whether they have ended.
    """
    wanted = {job for job in jobs if expand(job) == [job]}  # Slurm refuses a list with another word
    bases = list(dict.fromkeys(job.partition("_")[0] for job in jobs if job in wanted))
    if not bases:
        return Answer({})
    # in this order: a job that starts between the two questions is seen by the second
    accounted, no_accounting = _gathered(_accounting, bases)
    queued, no_queue = _gathered(_queue, bases)
    if queued is not None and accounted is None:
        queued = _with_exit_codes(queued)
    known = _merged(accounted, queued)
    if accounted is not None and queued is not None:
        known |= _unlisted(wanted, known)
    asked = {job: known[job] for job in known if {job, job.partition("_")[0]} & wanted}
    return Answer(asked, _note(no_accounting, no_queue), sure=queued is not None)


@cache
def cluster() -> str:
    """The name of this host's cluster; empty where Slurm does not say. Asked once."""
    try:
        told = _ask("scontrol", "show", "config")
    except _NoAnswer:
        return ""
    found = re.search(r"^ClusterName\s*=\s*(\S+)", told, re.MULTILINE)
    return found[1] if found else ""


def find_by_name(names: Collection[str], *, days: int = 30) -> dict[str, list[str]]:
    """Jobs and arrays (``12``, never ``12_3``) with exactly these names, in any state.

    Args:
        names: without commas.
        days: how far back accounting is searched.

    Returns:
        By name, oldest first; names that no job has are left out.

    Raises:
        RunFailed: the queue cannot be asked, so that nobody knows.
    """
    found: dict[str, set[str]] = {}
    for some in _portions(names):
        named = f"--name={','.join(some)}"
        try:
            lines = _ask(*_SQUEUE, named, "--format=%F|%j")
        except _NoAnswer as error:
            raise RunFailed(f"Slurm cannot be asked for jobs by name: {error}") from None
        with suppress(_NoAnswer):  # no accounting: the queue keeps ended jobs for some minutes
            lines += _ask(*_SACCT, f"--starttime=now-{days}days", named, "--format=JobID,JobName")
        for job, name in fields(lines, 2):
            if name in some:
                found.setdefault(name, set()).add(job.partition("_")[0])
    return {name: sorted(jobs, key=int) for name, jobs in found.items()}


def current_state(job: str) -> str | None:
    """The state of one job, asked of the queue alone; None where it cannot be had.

    Args:
        job: its name, or its number as in ``SLURM_JOB_ID``; see ``requeue``.
    """
    with suppress(_NoAnswer):
        rows = _rows(job)
        return rows[0][1] if len(rows) == 1 else None
    return None


def cancel(jobs: Collection[str]) -> str | None:
    """End jobs, waiting or running; what Slurm said against it, or None. Ended ones are no error.

    ``12`` ends all of array 12, ``12_3`` one element.
    """
    refused: list[str] = []
    for some in _portions(jobs):
        try:
            _ask("scancel", *some, limit=6 * _LIMIT)
        except _NoAnswer as error:
            refused += error.args
    harmless = ("Invalid job id", "already completing or completed")
    told = [line for line in dict.fromkeys(refused) if not any(text in line for text in harmless)]
    return "; ".join(told) or None


def requeue(job: str) -> str | None:
    """Queue a running or ended job again; what Slurm said against it, or None.

    Args:
        job: its name, or its number as in ``SLURM_JOB_ID``. One element of every array has the
            number of the array itself; given that, Slurm would repeat all elements, finished ones
            too. Here it always means the one.
    """
    try:
        rows = _rows(job)
        if len(rows) > 1:
            return f"{job} is not one job but {len(rows)}"
        _ask("scontrol", "requeue", rows[0][0] if rows else job)
    except _NoAnswer as error:
        return str(error)
    return None


# --- putting the answers together --------------------------------------------------------------


def _merged(
    accounted: Mapping[str, JobState] | None, queued: Mapping[str, JobState] | None
) -> dict[str, JobState]:
    """The queue for what lives, accounting for what has ended."""
    known = dict(accounted or {})
    if queued is None:
        return {job: state for job, state in known.items() if state.state not in _QUEUED_AGAIN}
    for job, state in known.items():
        if job not in queued and active(state.state):
            known[job] = replace(state, state="RUNAWAY", reason="the controller has no such job")
    for job, state in queued.items():
        ended = known.get(job)
        if ended is None or active(state.state) or active(ended.state):
            known[job] = state
        else:
            known[job] = replace(ended, reason=state.reason or ended.reason)
    return known


def _unlisted(jobs: Iterable[str], known: Mapping[str, JobState]) -> dict[str, JobState]:
    """Elements of known arrays that Slurm has no record of: cancelled while they waited.

    The last such element of an array leaves a record, with the number of the array alone.
    """
    arrays = {job.partition("_")[0] for job in known if "_" in job}
    found = {}
    for job in jobs:
        base, _, element = job.partition("_")
        if not element or job in known:
            continue
        if base in known:
            found[job] = replace(known[base], job=job)
        elif base in arrays:
            found[job] = JobState(job, "CANCELLED")
    return found


def _note(no_accounting: str, no_queue: str) -> str:
    if no_queue and no_accounting:
        return f"Slurm cannot be reached: {no_queue}"
    if no_queue:
        return f"the queue cannot be asked ({no_queue}): states from sacct"
    if "accounting storage is disabled" in no_accounting:
        return "accounting is disabled on this cluster: states from squeue"
    if no_accounting:
        return f"accounting cannot be asked ({no_accounting}): states from squeue"
    return ""


# --- asking ------------------------------------------------------------------------------------


class _NoAnswer(Exception):
    """A command of Slurm is missing, too slow or failed; its arguments are the lines it wrote."""

    def __str__(self) -> str:
        return self.args[-1]


def _gathered(
    ask: Callable[[Sequence[str]], dict[str, JobState]], jobs: Sequence[str]
) -> tuple[dict[str, JobState] | None, str]:
    """The answers to ``ask`` for all jobs, or None and why there is none."""
    found: dict[str, JobState] = {}
    try:
        for some in _portions(jobs):
            found |= ask(some)
    except _NoAnswer as error:
        return None, str(error)
    return found, ""


def _portions(items: Collection[str]) -> Iterator[list[str]]:
    every = list(dict.fromkeys(items))
    return (every[first : first + _AT_ONCE] for first in range(0, len(every), _AT_ONCE))


def _accounting(jobs: Sequence[str]) -> dict[str, JobState]:
    return parse_sacct(_ask(*_SACCT, f"--jobs={','.join(jobs)}", f"--format={SACCT_FIELDS}"))


def _queue(jobs: Sequence[str]) -> dict[str, JobState]:
    return parse_squeue(_listed(SQUEUE_FIELDS, jobs))


def _with_exit_codes(queued: dict[str, JobState]) -> dict[str, JobState]:
    """The exit codes of ended jobs, which ``squeue`` does not print."""
    ended = [job for job, state in queued.items() if not active(state.state)]
    codes: dict[str, str] = {}
    with suppress(_NoAnswer):
        codes = parse_exit_codes(_ask("scontrol", "--oneliner", "show", "job")) if ended else {}
    return queued | {job: replace(queued[job], exit_code=codes.get(job, "")) for job in ended}


def _rows(job: str) -> list[tuple[str, str]]:
    """Name and state of the job that is named so, or of those that have this number."""
    rows = list(fields(_listed("%i|%A|%T", [job]), 3))
    named = [row for row in rows if row[0] == job] or [row for row in rows if row[1] == job]
    return [(name, state) for name, _, state in named]


def _listed(form: str, jobs: Sequence[str]) -> str:
    """What ``squeue`` prints of jobs; nothing of those that it has forgotten."""
    try:
        return _ask(*_SQUEUE, f"--jobs={','.join(jobs)}", f"--format={form}")
    except _NoAnswer as error:
        if "Invalid job id" in str(error):
            return ""
        raise


def _ask(*words: str, limit: float = _LIMIT) -> str:
    """What a command of Slurm prints; raises ``_NoAnswer``."""
    try:
        done = subprocess.run(
            words, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", errors="replace", timeout=limit, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise _NoAnswer(f"{words[0]} not found") from None
    except subprocess.TimeoutExpired:
        raise _NoAnswer(f"{words[0]} did not answer within {limit:g} s") from None
    if done.returncode:
        said = [printable(line.strip()) for line in done.stderr.splitlines() if line.strip()]
        raise _NoAnswer(*(said or [f"{words[0]} ended with exit code {done.returncode}"]))
    return done.stdout


def _environment() -> dict[str, str]:
    """This environment without the user's settings for Slurm's commands.

    They would change formats, hide jobs (``SQUEUE_STATES``) or ask back (``SCANCEL_INTERACTIVE``).
    Lists of array elements are asked for whole, not cut after 64 characters.
    """
    own = ("SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_", "SLURM_TIME_FORMAT")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(own)}
    return kept | {"LC_ALL": "C", "SLURM_BITSTR_LEN": "0"}
