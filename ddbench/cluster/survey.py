"""Where every task stands: what its worker told, what Slurm says, what the store has.

The store has the last word on what is done, Slurm on what lives, the worker on why something
failed. Submissions are read in order; of tasks that do the same, the last one counts.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ddbench import experts, standing
from ddbench.cluster import diagnosis, local_jobs, scheduler
from ddbench.cluster.plan import Task
from ddbench.cluster.records import LOG_HEAD, Progress, Queued, Submission, submissions
from ddbench.cluster.scheduler import Answer, JobState
from ddbench.errors import BadInput, RunFailed

LIVE = ("pending", "waiting", "running", "cut off", "stopping", "unknown")
"""States in which something may still happen by itself."""


@dataclass(frozen=True)
class TaskState:
    """Where a task stands.

    Attributes:
        state: ``not queued``, ``pending``, ``waiting`` (for another job), ``running``, ``cut off``
            (queued again), ``stopping`` (cancelled, not yet ended), ``done``, ``failed``,
            ``cancelled``, ``lost`` (ended without a word), ``unknown`` (Slurm cannot be asked).
        job: of Slurm.
        detail: why, or how far, in one line.
        log: what says more.
    """

    submission: Submission
    task: Task
    state: str
    job: str = ""
    restarts: int = 0
    kind: str = ""
    detail: str = ""
    advice: str = ""
    updated: str = ""
    log: Path = Path()


@dataclass(frozen=True)
class Survey:
    """The tasks of all submissions below a results folder.

    Attributes:
        tasks: of every submission; what a later one repeats is left out.
        note: what could not be asked; empty if all could.
        sure: whether it is known what lives.
        everything: also what a later submission repeats.
        jobs: what Slurm said of each job.
    """

    tasks: list[TaskState]
    note: str = ""
    sure: bool = True
    everything: list[TaskState] = field(default_factory=list)
    jobs: Mapping[str, JobState] = field(default_factory=dict)

    def require_sure(self) -> None:
        """Raise ``RunFailed`` where it is not known what lives: nothing may be queued then."""
        if not self.sure:
            raise RunFailed(f"what lives is not known: {self.note}; try again later")


def survey(results: Path) -> Survey:
    """Look at every submission; one question to Slurm for all of them."""
    found = submissions(results)
    asked = list(dict.fromkeys(job for each in found for job in _unfinished_jobs(each)))
    answer = scheduler.states(asked) if asked else Answer({})
    everything = [state for submission in found for state in _states(submission, answer)]
    latest: dict[tuple[str, ...], TaskState] = {}
    for state in everything:
        task = state.task
        same = (task.result, *task.stages, task.shard)
        latest.pop(same, None)
        latest[same] = state
    return Survey(list(latest.values()), answer.note, answer.sure, everything, answer.known)


@dataclass(frozen=True)
class Working:
    """What live jobs work on.

    Attributes:
        results: files below the results folder, with the job.
        networks: expert keys, with the job that trains them.
        states: of all jobs that Slurm was asked about.
    """

    results: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, JobState] = field(default_factory=dict)

    def has_ended(self, holder: str) -> bool:
        """Whether Slurm says that the job of a lock's holder (``cluster:12_3``) has ended.

        Of jobs of another cluster nothing is known here.
        """
        cluster, _, job = holder.rpartition(":")
        if cluster and cluster != scheduler.cluster():
            return False
        known = self.states.get(job) or scheduler.states([job]).known.get(job)
        return known is not None and not scheduler.active(known.state)


def working(results: Path) -> Working:
    """What live jobs of all submissions work on.

    Raises:
        RunFailed: Slurm cannot be asked.
    """
    found = survey(results)
    found.require_sure()
    live = [state for state in found.everything if state.state in LIVE]
    networks = {key: state.job for state in live for key in state.task.experts}
    files: dict[str, str] = {}
    for state in live:
        if state.task.stages != ("experts",):
            files.setdefault(state.task.result, state.job)  # the first of a chain
    return Working(files, networks, found.jobs)


def runs(states: Sequence[TaskState]) -> list[list[TaskState]]:
    """Tasks of the same result together, in order of their first; networks by themselves."""
    groups: dict[object, list[TaskState]] = {}
    for state in states:
        shared = state.task.stages == ("experts",)
        same = (state.task.result, "experts" if shared else "")
        groups.setdefault(same, []).append(state)
    return list(groups.values())


# --- one submission --------------------------------------------------------------------------


def _here(submission: Submission) -> bool:
    """Whether this host can ask about the jobs of a submission."""
    header = submission.header
    if header.profile.scheduler == "local":
        return header.host == socket.gethostname()
    return not header.cluster or header.cluster == scheduler.cluster()


def _unfinished_jobs(submission: Submission) -> Iterator[str]:
    """Jobs of Slurm whose tasks are not all told to be done, element by element."""
    if submission.header.profile.scheduler == "local":
        return
    groups = submission.plan.groups
    left = [g for g in groups if not all(_told_done(submission, n) for e in g.elements for n in e)]
    if not left or not _here(submission):
        return
    _find_orphans(submission)
    for group in left:
        queued = submission.queued(group.number) or Queued()
        for job, element in zip(queued.jobs, group.elements, strict=False):
            if not all(_told_done(submission, number) for number in element):
                yield job


def _told_done(submission: Submission, task: int) -> bool:
    told = submission.progress(task)
    return told is not None and told.state == "done"


def _find_orphans(submission: Submission) -> None:
    """Record the jobs that were accepted just when the submission was killed."""
    unknown = {
        submission.job_name(group.number): group
        for group in submission.plan.groups
        if submission.queued(group.number) is None
    }
    if not unknown:
        return
    with suppress(RunFailed, OSError):  # Slurm cannot be asked; somebody else's folder
        for name, jobs in scheduler.find_by_name(unknown).items():
            group = unknown[name]
            submission.set_queued(group.number, Queued.of(jobs[-1], len(group.elements)))


def _states(submission: Submission, answer: Answer) -> Iterator[TaskState]:
    cancelled = submission.cancelled
    for group in submission.plan.groups:
        queued = submission.queued(group.number)
        for position, element in enumerate(group.elements):
            job = queued.jobs[position] if queued and queued.jobs else ""
            word = _word(submission, job, answer)
            for place, number in enumerate(element):
                task, rank = submission.plan.tasks[number], place % group.resources.ranks
                made = _Maker(submission, task, job, rank)
                yield _state(made, queued, word, cancelled=number in cancelled)


def _word(submission: Submission, job: str, answer: Answer) -> JobState | None:
    """What its scheduler says of a job; ``UNKNOWN`` where it cannot be asked."""
    if not job:
        return None
    if not _here(submission):
        return JobState(job, "UNKNOWN", f"ask on {submission.header.host}")
    if submission.header.profile.scheduler == "local":
        alive = local_jobs.alive(int(job), submission.folder)
        return JobState(job, "RUNNING" if alive else "COMPLETED")
    word = answer.known.get(job)
    return word if word or answer.sure else JobState(job, "UNKNOWN", answer.note)


@dataclass(frozen=True)
class _Maker:
    """Fills in what all states of a task have in common."""

    submission: Submission
    task: Task
    job: str
    rank: int

    @cached_property
    def told(self) -> Progress | None:
        """What the task's worker told."""
        return self.submission.progress(self.task.number)

    @property
    def log(self) -> Path:
        """The run's log; the worker's where no run was started."""
        own = self.submission.log(self.task.number)
        return own if own.is_file() else self.submission.worker_log(self.job, self.rank)

    def has_result(self) -> bool:
        """Whether the file is there that the task has written to."""
        if self.task.stages == ("experts",):
            return True
        return (self.submission.results / self.task.result).is_file()

    def is_done(self) -> bool:
        """Whether the store has what the task was to make, whoever made it."""
        if self.task.stages == ("experts",):
            return all(experts.known(key) for key in self.task.experts)
        if not self.has_result():
            return False
        try:
            recipe = self.submission.recipe(self.task)
            left = standing.stages_left(recipe, self.task.seed, self.submission.results)
        except BadInput:  # its data are gone, or the file is damaged
            return False
        return not set(self.task.stages) & set(left)

    def __call__(self, state: str, detail: str = "", advice: str = "", kind: str = "") -> TaskState:
        restarts = self.told.restarts if self.told else 0
        updated = self.told.updated if self.told else ""
        return TaskState(self.submission, self.task, state, self.job, restarts, kind, detail,
                         advice, updated, self.log)  # fmt: skip

    def last_line(self) -> str:
        """What the run wrote last since its start."""
        lines = diagnosis.log_tail(self.submission.log(self.task.number), 1)
        return lines[-1] if lines and not lines[-1].startswith(LOG_HEAD) else "starting"

    def tail(self) -> str:
        """The end of what the run wrote, then of what its worker and Slurm wrote."""
        own = diagnosis.log_tail(self.submission.log(self.task.number))
        worker = diagnosis.log_tail(self.submission.worker_log(self.job, self.rank))
        return "\n".join([*own, *worker])


def _state(
    made: _Maker, queued: Queued | None, word: JobState | None, *, cancelled: bool
) -> TaskState:
    """One task: see the module."""
    told = made.told
    if told is not None and told.state == "done" and made.has_result():
        return made("done")
    if word is not None and scheduler.active(word.state):
        return _stopping(made) if cancelled else _live(made, word)
    if made.is_done():
        return made("done")
    if queued is None:
        return made("not queued", "the submission was interrupted before it", "retry queues it")
    if queued.refused:
        return made("not queued", queued.refused, "correct the profile, then submit again")
    return _cancelled(made) if cancelled else _ended(made, word)


def _cancelled(made: _Maker) -> TaskState:
    return made("cancelled", "by ddbench cancel", "retry starts it again")


def _stopping(made: _Maker) -> TaskState:
    """A cancelled task of a job that lives: perhaps for its other tasks."""
    over = made.told is not None and made.told.state in ("cancelled", "failed")
    return _cancelled(made) if over else made("stopping", "by ddbench cancel")


_QUEUED = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")
_REASONS = {
    "Dependency": "for the job before it",
    "DependencyNeverSatisfied": "for a job that did not end well; cancel it, then retry",
    "BeginTime": "a job that was queued again rests, by default two minutes",
    "JobArrayTaskLimit": "the profile's concurrency is used up",
    "Priority": "other jobs come first",
    "Resources": "for free processors, memory or GPUs",
    "PartitionTimeLimit": "its time limit is over the partition's: it will never start",
    "ReqNodeNotAvail": "its nodes are down or reserved",
}


def _live(made: _Maker, word: JobState) -> TaskState:
    """A task whose job waits or runs; of several tasks of a job, some may have ended."""
    told = made.told if made.told and made.told.job == made.job else None
    if word.state == "UNKNOWN":
        return made("unknown", word.reason)
    if word.state in _QUEUED:
        return _queued(made, word, begun=told is not None)
    if told is None and made.submission.header.profile.scheduler == "local":
        return made("pending", "behind others of its job")
    if told is None:
        return made("running", f"on {word.node or 'its node'}")
    if told.state == "failed":
        return made("failed", told.reason, told.advice, told.kind)
    cut_off = told.state == "cut off"
    return made("cut off", "being queued again") if cut_off else made("running", made.last_line())


def _queued(made: _Maker, word: JobState, *, begun: bool) -> TaskState:
    reason = _REASONS.get(word.reason, word.reason) or "queued"
    if begun:
        return made("cut off", f"starts again ({reason})")
    waits = word.reason in ("Dependency", "DependencyNeverSatisfied")
    return made("waiting" if waits else "pending", reason)


def _ended(made: _Maker, word: JobState | None) -> TaskState:
    """A job that has ended, or that Slurm does not know, and left its task undone."""
    told = made.told
    if told is not None and told.state == "failed":
        return made("failed", told.reason, told.advice, told.kind)
    if word is None:
        said = f"its record says {told.state}" if told else "it never started"
        return made("lost", f"no word of job {made.job}; {said}", "retry starts it again")
    if told is not None and told.state == "cut off":
        return made("failed", "was stopped and not queued again", "retry continues it", "preempted")
    found = diagnosis.of_job(word, made.tail())
    if found is None:
        return made("lost", f"job {made.job} ended ({word.state}) without a result",
                    "see its log; retry starts it again")  # fmt: skip
    state = "cancelled" if found.kind in ("cancelled", "dependency") else "failed"
    return made(state, found.reason, found.advice, found.kind)
