"""What a job does on its node, outside any container: start the runs, see them through.

The worker starts each run as a child process and waits. A child that was cut off leaves a
checkpoint and exits with 75; the worker then asks Slurm to queue the job again, which continues
where it stopped. Slurm signals all processes of a job step, so that the child hears a warning
(SIGUSR2 before the time limit or a preemption) as soon as the worker; it is passed on nevertheless,
for schedulers that signal the worker alone. See docs/cluster.md for who decides what.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ddbench import experts, scheduled
from ddbench.cluster import diagnosis, scheduler, tools
from ddbench.cluster.command import Place, command, visible_gpus
from ddbench.cluster.diagnosis import Diagnosis
from ddbench.cluster.plan import Group, Task
from ddbench.cluster.records import LOG_HEAD, Progress, Submission
from ddbench.content import code_digest
from ddbench.errors import BadInput
from ddbench.standing import Shard

log = logging.getLogger(__name__)

CUT_OFF = 75
IDLE_STARTS = 3
"""Starts in a row without anything new after which a task counts as failed."""
_STOP = (signal.SIGUSR2, signal.SIGTERM)
_DIED_OF_WARNING = {-number for number in _STOP} | {128 + number for number in _STOP}
"""Exit codes of a child that was signalled before it could catch signals: nothing was lost."""
_POLL = 0.2  # seconds
_LOOK = 2.0  # seconds between looks for a cancellation
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
        self._local = submission.header.profile.scheduler == "local"
        self._rank = 0 if self._local else int(os.environ.get("SLURM_PROCID", "0"))
        self._local_rank = 0 if self._local else int(os.environ.get("SLURM_LOCALID", "0"))
        started = None if self._local else scheduled.current(os.environ)
        self._job = started.id if started else os.environ.get("SUBMITIT_LOCAL_JOB_ID", "")
        self._restarts = started.restarts if started else 0
        self._signals: list[int] = []

    def work(self) -> str:
        """Do the tasks; see ``Worker``."""
        for number in (*_STOP, signal.SIGCONT):
            signal.signal(number, lambda caught, _: self._signals.append(caught))
        os.environ["DDBENCH_CACHE"] = self._submission.header.cache
        failed = []
        for task in self._tasks[self._rank :: self._group.resources.ranks]:
            before = self._submission.progress(task.number) or Progress("")
            if task.number in self._submission.cancelled:
                self._tell(task, state="cancelled")
            elif before.job == self._job and before.state == "done":
                continue  # in an earlier start, which a neighbour's interruption ended
            elif before.job == self._job and before.state == "failed":
                failed.append(f"{task.title}: {before.kind}: {before.reason}")
            else:
                found = self._do(task, before)
                failed += [f"{task.title}: {found.kind}: {found.reason}"] if found else []
        if failed:
            raise TaskFailed("; ".join(failed))
        return "done"

    def _do(self, task: Task, before: Progress) -> Diagnosis | None:
        """Run one task to its end; None when it is done."""
        self._tell(task, state="running")
        try:
            self._check_code()
            code = self._run(task)
        except BadInput as error:
            return self._fail(task, Diagnosis("bad input", str(error), "correct it, then retry"))
        except OSError as error:
            return self._fail(task, Diagnosis("exception", str(error), "see the log, then retry"))
        if code == 0:
            self._tell(task, state="done")
            return None
        if code == CUT_OFF or (code in _DIED_OF_WARNING and self._warned()):
            return self._cut_off(task, before)
        tail = diagnosis.log_tail(self._submission.log(task.number))
        return self._fail(task, diagnosis.of_child(code, self._told(task), "\n".join(tail)))

    def _check_code(self) -> None:
        """This process, too, must run what was submitted."""
        if code_digest() != self._submission.header.code:
            raise BadInput(f"the worker runs ddbench code {code_digest()[:12]}, submitted was "
                           f"{self._submission.header.code[:12]}; submit again")  # fmt: skip

    def _run(self, task: Task) -> int:
        """Exit code of the run."""
        words, environment = self._command(task)
        printed = self._submission.printed(task.number)
        with self._submission.log(task.number).open("ab") as log, printed.open("wb") as out:
            log.write(f"{LOG_HEAD}{_now()} job {self._job} start {self._restarts + 1}\n".encode())
            log.flush()
            child = subprocess.Popen(
                words, env=environment, cwd=self._submission.results, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=out, stderr=log,
            )  # fmt: skip
            return self._see_through(task, child)

    def _see_through(self, task: Task, child: subprocess.Popen[bytes]) -> int:
        """Wait for a run, passing warnings on; its exit code.

        A run that has not saved by the time a warning gives it is killed: what it saved before
        counts, and the job can still be queued again. A task that is cancelled while its
        neighbours go on is ended alone.
        """
        passed, end, looked = 0, math.inf, time.monotonic()
        while child.poll() is None:  # not wait(): a signal within it would hold its lock
            time.sleep(_POLL)
            stops = [number for number in self._signals if number in _STOP]
            now = time.monotonic()
            if now - looked > _LOOK:
                looked = now
                if end == math.inf and task.number in self._submission.cancelled:
                    self._signals.append(signal.SIGTERM)
            for number in stops[passed:]:
                child.send_signal(number)
                end = min(end, now + 0.8 * self._group.resources.signal_delay)
            passed = len(stops)
            if now > end:
                os.killpg(child.pid, signal.SIGKILL)
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
            for folder in (header.cache, header.data):  # what is bound must be there
                Path(folder).mkdir(parents=True, exist_ok=True)
        inputs = [Path(path) for path in header.inputs.get(task.recipe, [])]
        return command(task, header.profile, place, environment, inputs=inputs)

    def _warned(self) -> bool:
        """Whether a signal has reached this process too, or does so soon."""
        end = time.monotonic() + 10 * _POLL
        while not self._signals and time.monotonic() < end:
            time.sleep(_POLL)
        return bool(self._signals)

    # --- cut off -----------------------------------------------------------------------------

    def _cut_off(self, task: Task, before: Progress) -> Diagnosis | None:
        """Ask for another start, unless nothing moves or the user has cancelled; then exits."""
        if task.number in self._submission.cancelled:
            self._tell(task, state="cancelled")
            self._signals.clear()  # meant this task; the next one starts with none
            return None
        mark = self._mark(task)
        idle = before.idle + 1 if before.mark == mark else 0
        if idle >= IDLE_STARTS:
            return self._fail(task, Diagnosis(
                "no progress", f"the last {idle} starts have left nothing new",
                "give its stage a longer time limit, then retry",
            ))  # fmt: skip
        if self._restarts >= self._submission.header.profile.restarts:
            return self._fail(task, Diagnosis(
                "timeout", f"started {self._restarts + 1} times, which is the profile's limit",
                "raise 'restarts' or 'time' in the profile; 'ddbench retry' continues it",
            ))  # fmt: skip
        self._tell(task, state="cut off", idle=idle, mark=mark)
        if not self._local:
            self._wait_for_the_others()
            self._requeue(task)
        raise SystemExit(CUT_OFF)

    def _mark(self, task: Task) -> str:
        """What there is of a task: it changes whenever a run gets further."""
        if task.stages == ("experts",):
            return " ".join(key for key in task.experts if experts.known(key))
        result = self._submission.results / task.result
        folder = result.with_suffix(".ckpt")
        if task.shard:
            folder /= Shard.parse(task.shard).name
        found = []
        for path in (result, *sorted(folder.glob("*.pt"))):
            with suppress(OSError):
                found.append(f"{path.name}:{path.stat().st_mtime_ns}")
        return " ".join(found)

    def _wait_for_the_others(self) -> None:
        """Let the runs beside this one save what they have, too."""
        end = time.monotonic() + self._group.resources.signal_delay / 2
        while time.monotonic() < end:
            states = [self._submission.progress(task.number) for task in self._tasks]
            mine = [s for s in states if s is not None and s.restarts == self._restarts]
            if not any(s.state == "running" and s.job == self._job for s in mine):
                return
            time.sleep(_POLL)

    def _requeue(self, task: Task) -> None:
        """Queue this job again, unless Slurm has ended it itself; asks until Slurm answers."""
        end = time.monotonic() + self._group.resources.signal_delay
        refused: str | None = ""
        while time.monotonic() < end:
            if scheduler.current_state(self._job) not in ("RUNNING", None):
                return  # preempted, queued again, or cancelled: Slurm acts
            refused = scheduler.requeue(self._job)
            if refused is None:
                time.sleep(_KILLED_BY_SLURM)
                return
            time.sleep(2)
        self._fail(task, Diagnosis("preempted", f"could not be queued again: {refused}",
                                   "retry continues it"))  # fmt: skip

    # --- telling -----------------------------------------------------------------------------

    def _told(self, task: Task) -> list[dict[str, Any]] | None:
        """What the run printed about itself."""
        try:
            told = json.loads(self._submission.printed(task.number).read_bytes())
        except (OSError, ValueError):
            return None
        return told if isinstance(told, list) else None

    def _fail(self, task: Task, found: Diagnosis) -> Diagnosis:
        tail = diagnosis.log_tail(self._submission.log(task.number))
        self._tell(task, state="failed", kind=found.kind, reason=found.reason,
                   advice=found.advice, tail=tail)  # fmt: skip
        return found

    def _tell(self, task: Task, **changes: Any) -> None:
        """Write down how far a task is; a full disk must not keep a job from being queued again."""
        known = self._submission.progress(task.number) or Progress("")
        if changes["state"] == "running":
            known = Progress("running", started=_now(), idle=known.idle, mark=known.mark)
        told = replace(
            known, job=self._job, host=socket.gethostname(), pid=os.getpid(),
            restarts=self._restarts, updated=_now(), **changes,
        )  # fmt: skip
        try:
            self._submission.set_progress(task.number, told)
        except OSError as error:
            log.warning("%s: %s: %s", task.title, changes["state"], error)


def place_of(submission: Submission, job: str, restarts: int) -> Place:
    """Where the tasks of a submission run; what only the node knows is left out."""
    header = submission.header
    return Place(
        str(submission.folder), str(submission.results), header.data, header.cache, header.python,
        header.code, header.image, job, restarts,
    )  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
