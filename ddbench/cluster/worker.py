"""What a job does on its node, outside any container: start the runs, see them through.

The worker starts each run as a child process and waits. A child that was cut off leaves a
checkpoint and exits with 75; the worker then asks Slurm to queue the job again, which continues
where it stopped. Slurm signals all processes of a job step, so that the child hears a warning
(SIGUSR2 before the time limit or a preemption) as soon as the worker; it is passed on nevertheless,
for schedulers that signal the worker alone. See docs/cluster.md for who decides what.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ddbench import scheduled
from ddbench.cluster import diagnosis, scheduler, tools
from ddbench.cluster.command import Place, command, visible_gpus
from ddbench.cluster.diagnosis import Diagnosis
from ddbench.cluster.plan import Group, Task
from ddbench.cluster.records import LOG_HEAD, Progress, Submission
from ddbench.errors import BadInput

CUT_OFF = 75
IDLE_STARTS = 3
"""Starts in a row without anything new after which a task counts as failed."""
_STOP = (signal.SIGUSR2, signal.SIGTERM)
_DIED_OF_WARNING = {-number for number in _STOP} | {128 + number for number in _STOP}
"""Exit codes of a child that was signalled before it could catch signals: nothing was lost."""
_POLL = 0.2  # seconds
_KILLED_BY_SLURM = 90.0  # seconds that Slurm may take to end a job that is queued again


class TaskFailed(RuntimeError):
    """A task did not end well; Slurm then counts the job as failed and holds back what waits."""


class Worker:
    """The callable that submitit runs; it has no state, so that any restart is like the first."""

    def __call__(self, folder: str, group: str, element: str) -> str:
        """Do this rank's tasks of one element of a group.

        Args:
            folder: of the submission.
            group, element: their numbers, as text.

        Raises:
            TaskFailed: a task failed.
            SystemExit: 75; the job is queued again or was cancelled.
        """
        return _Rank(Submission(Path(folder)), int(group), int(element)).work()

    def checkpoint(self, *arguments: str) -> Any:
        """For a warning that comes before ``__call__`` listens: start again, nothing was done."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def submit_workers(executor: Any, submission: Submission, group: Group) -> list[str]:
    """Hand the elements of a group to a submitit executor in one batch; the jobs' ids."""
    with executor.batch():
        jobs = [
            executor.submit(Worker(), str(submission.folder), str(group.number), str(element))
            for element in range(len(group.elements))
        ]
    return [job.job_id for job in jobs]


class _Rank:
    """One of the processes of a job."""

    def __init__(self, submission: Submission, group: int, element: int) -> None:
        self._submission = submission
        self._group = submission.plan.groups[group]
        self._tasks = [submission.plan.tasks[i] for i in self._group.elements[element]]
        environment = os.environ
        self._local = submission.header.profile.scheduler == "local"
        self._rank = int(environment.get("SLURM_PROCID", "0"))
        self._local_rank = int(environment.get("SLURM_LOCALID", "0"))
        started = scheduled.current(environment)
        self._job = started.id if started else environment.get("SUBMITIT_LOCAL_JOB_ID", "")
        self._restarts = started.restarts if started else 0
        self._signals: list[int] = []

    def work(self) -> str:
        """Do the tasks; see ``Worker``."""
        for number in (*_STOP, signal.SIGCONT):
            signal.signal(number, lambda caught, _: self._signals.append(caught))
        failed = []
        for task in self._tasks[self._rank :: self._group.resources.ranks]:
            if task.number in self._submission.cancelled:
                self._tell(task, state="cancelled")
                continue
            found = self._do(task)
            if found is not None:
                failed.append(f"{task.title}: {found.kind}: {found.reason}")
        if failed:
            raise TaskFailed("; ".join(failed))
        return "done"

    def _do(self, task: Task) -> Diagnosis | None:
        """Run one task to its end; None when it is done."""
        before = self._submission.progress(task.number)
        self._tell(task, state="running", before=before)
        told: list[dict[str, Any]] | None = None
        try:
            code, told = self._run(task)
        except (BadInput, OSError) as error:
            return self._fail(task, Diagnosis("bad input", str(error), "correct it and retry"))
        if code == 0:
            self._tell(task, state="done")
            return None
        if code == CUT_OFF or (code in _DIED_OF_WARNING and self._warned()):
            return self._cut_off(task, before)
        tail = diagnosis.log_tail(self._submission.log(task.number))
        return self._fail(task, diagnosis.of_child(code, told, "\n".join(tail)))

    def _run(self, task: Task) -> tuple[int, list[dict[str, Any]] | None]:
        """Exit code of the run, and what it printed."""
        words, environment = self._command(task)
        with self._submission.log(task.number).open("ab") as log:
            log.write(f"{LOG_HEAD}{_now()} job {self._job} start {self._restarts + 1}\n".encode())
            log.flush()
            child = subprocess.Popen(
                words, env=environment, cwd=self._submission.header.results,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
            code = self._see_through(child)
            assert child.stdout is not None
            return code, _told(child.stdout.read())

    def _see_through(self, child: subprocess.Popen[bytes]) -> int:
        """Wait for a run, passing warnings on; its exit code.

        A run that has not saved by the time a warning gives it is killed: what it saved before
        counts, and the job can still be queued again.
        """
        passed, end = 0, math.inf
        while child.poll() is None:  # not wait(): a signal within it would hold its lock
            time.sleep(_POLL)
            stops = [number for number in self._signals if number in _STOP]
            for number in stops[passed:]:
                child.send_signal(number)
                end = min(end, time.monotonic() + 0.8 * self._group.resources.signal_delay)
            passed = len(stops)
            if time.monotonic() > end:
                child.kill()
                end = math.inf
        return CUT_OFF if passed and child.returncode == -signal.SIGKILL else child.returncode

    def _command(self, task: Task) -> tuple[list[str], dict[str, str]]:
        header = self._submission.header
        environment = dict(os.environ)
        gpus = visible_gpus(environment, self._local_rank, self._group.resources.tasks_per_node)
        if gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpus
        place = place_of(self._submission, self._job, self._restarts)
        container = header.profile.container
        if container is not None:
            runtime = tools.require_runtime(container.runtime)
            image = Path(container.image)
            if not image.is_file() or tools.image_digest(image) != header.image:
                raise BadInput("is not the image that was submitted; submit again", file=image)
            place = replace(place, runtime=str(runtime), drop_caps=tools.needed_drop_caps())
        inputs = [Path(path) for path in header.inputs.get(task.recipe, [])]
        return command(task, header.profile, place, environment, inputs=inputs)

    def _warned(self) -> bool:
        """Whether a signal has reached this process too, or does so soon."""
        end = time.monotonic() + 10 * _POLL
        while not self._signals and time.monotonic() < end:
            time.sleep(_POLL)
        return bool(self._signals)

    # --- cut off -----------------------------------------------------------------------------

    def _cut_off(self, task: Task, before: Progress | None) -> Diagnosis | None:
        """Ask for another start, unless nothing moves or the user has cancelled; then exits."""
        mark = mark_of(Path(self._submission.header.results) / task.result)
        idle = before.idle + 1 if before is not None and before.mark == mark else 0
        if task.number in self._submission.cancelled:
            self._tell(task, state="cancelled")
            raise SystemExit(CUT_OFF)
        if idle >= IDLE_STARTS or self._restarts >= self._submission.header.profile.restarts:
            return self._fail(task, Diagnosis(
                "no progress", f"started {self._restarts + 1} times, nothing new in the last "
                f"{idle + 1}", "give its stage a longer time limit, then retry",
            ))  # fmt: skip
        self._tell(task, state="cut off", idle=idle, mark=mark)
        if not self._local:
            self._wait_for_the_others()
            self._requeue(task)
        raise SystemExit(CUT_OFF)

    def _wait_for_the_others(self) -> None:
        """Let the runs beside this one save what they have, too."""
        end = time.monotonic() + self._group.resources.signal_delay / 2
        while time.monotonic() < end:
            states = [self._submission.progress(task.number) for task in self._tasks]
            mine = [s for s in states if s is not None and s.restarts == self._restarts]
            if not any(s.state == "running" for s in mine):
                return
            time.sleep(_POLL)

    def _requeue(self, task: Task) -> None:
        """Queue this job again, unless Slurm has ended it itself."""
        if scheduler.current_state(self._job) not in ("RUNNING", None):
            return  # preempted, queued again, or cancelled: Slurm acts
        refused = scheduler.requeue(self._job)
        if refused and scheduler.current_state(self._job) == "RUNNING":
            self._fail(task, Diagnosis("preempted", f"could not be queued again: {refused}",
                                       "retry continues it"))  # fmt: skip
            return
        time.sleep(_KILLED_BY_SLURM)

    # --- telling -----------------------------------------------------------------------------

    def _fail(self, task: Task, found: Diagnosis) -> Diagnosis:
        tail = diagnosis.log_tail(self._submission.log(task.number))
        self._tell(task, state="failed", kind=found.kind, reason=found.reason,
                   advice=found.advice, tail=tail)  # fmt: skip
        return found

    def _tell(self, task: Task, *, before: Progress | None = None, **changes: Any) -> None:
        known = before or self._submission.progress(task.number) or Progress("")
        if changes["state"] == "running":
            known = Progress("running", started=_now(), idle=known.idle, mark=known.mark)
        told = replace(
            known, job=self._job, host=socket.gethostname(), pid=os.getpid(),
            restarts=self._restarts, updated=_now(), **changes,
        )  # fmt: skip
        self._submission.set_progress(task.number, told)


def place_of(submission: Submission, job: str, restarts: int) -> Place:
    """Where the tasks of a submission run; what only the node knows is left out."""
    header = submission.header
    return Place(
        str(submission.folder), header.results, header.data, header.cache, header.python,
        header.code, header.image, job, restarts,
    )  # fmt: skip


def mark_of(result: Path) -> str:
    """What there is of a result: it changes whenever a run gets further."""
    found = [result, *sorted(result.with_suffix(".ckpt").rglob("*.pt"))]
    return " ".join(f"{path.name}:{path.stat().st_mtime_ns}" for path in found if path.exists())


def _told(printed: bytes) -> list[dict[str, Any]] | None:
    try:
        told = json.loads(printed)
    except ValueError:
        return None
    return told if isinstance(told, list) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
