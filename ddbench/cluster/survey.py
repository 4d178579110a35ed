"""Where every task stands: what its worker told, what Slurm says, what the store has.

The store has the last word on what is done, Slurm on what lives, the worker on why something
failed. Submissions are read in order; of tasks that do the same, the last one counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ddbench import experts, standing
from ddbench.cluster import diagnosis, local_jobs, scheduler
from ddbench.cluster.plan import Task
from ddbench.cluster.records import LOG_HEAD, Progress, Queued, Submission, submissions
from ddbench.cluster.scheduler import JobState
from ddbench.errors import BadInput, RunFailed

LIVE = ("pending", "waiting", "running", "cut off")
"""States in which something will still happen by itself."""


@dataclass(frozen=True)
class TaskState:
    """Where a task stands.

    Attributes:
        state: ``not queued``, ``pending``, ``waiting`` (for another job), ``running``, ``cut off``
            (queued again), ``done``, ``failed``, ``cancelled``, ``lost`` (ended without a word).
        job: of Slurm.
        detail: why, or how far, in one line.
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


@dataclass(frozen=True)
class Survey:
    """The tasks of all submissions below a results folder.

    Attributes:
        tasks: of every submission; what a later one repeats is left out.
        note: what could not be asked; empty if all could.
    """

    tasks: list[TaskState]
    note: str = ""


def survey(results: Path) -> Survey:
    """Look at every submission; one question to Slurm for all of them."""
    found = submissions(results)
    asked = {name: None for s in found for name in _unfinished_jobs(s)}
    answer = scheduler.states(list(asked)) if asked else scheduler.Answer({}, "")
    latest: dict[tuple[str, ...], TaskState] = {}
    for submission in found:
        for state in _states(submission, answer.known):
            task = state.task
            latest.pop(same := (task.result, *task.stages, task.shard), None)
            latest[same] = state
    return Survey(list(latest.values()), answer.note)


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
        """Whether Slurm says that the job of a lock's holder (``cluster:12_3``) has ended."""
        job = holder.rpartition(":")[2]
        known = self.states.get(job) or scheduler.states([job]).known.get(job)
        return known is not None and not scheduler.active(known.state)


def working(results: Path) -> Working:
    """What live jobs of all submissions work on."""
    live = [state for state in survey(results).tasks if state.state in LIVE]
    networks = {key: state.job for state in live for key in state.task.experts}
    files: dict[str, str] = {}
    for state in live:
        if state.task.stages != ("experts",):
            files.setdefault(state.task.result, state.job)  # the first of a chain
    return Working(files, networks)


# --- one submission --------------------------------------------------------------------------


def _unfinished_jobs(submission: Submission) -> Iterator[str]:
    """Jobs whose tasks are not all told to be done, element by element."""
    if submission.header.profile.scheduler == "local":
        return
    _find_orphans(submission)
    for group in submission.plan.groups:
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
        for group in submission.plan.groups if submission.queued(group.number) is None
    }  # fmt: skip
    if not unknown:
        return
    try:
        found = scheduler.find_by_name(unknown)
    except RunFailed:  # Slurm cannot be asked, as the survey's note says
        return
    for name, jobs in found.items():
        group = unknown[name]
        submission.set_queued(group.number, Queued.of(jobs[-1], len(group.elements)))


def _states(submission: Submission, known: Mapping[str, JobState]) -> Iterator[TaskState]:
    local = submission.header.profile.scheduler == "local"
    cancelled = submission.cancelled
    for group in submission.plan.groups:
        queued = submission.queued(group.number)
        for position, element in enumerate(group.elements):
            job = queued.jobs[position] if queued and queued.jobs else ""
            word = _local_word(submission, job) if local else known.get(job)
            for number in element:
                made = _Maker(submission, submission.plan.tasks[number], job)
                yield _state(made, queued, word, cancelled=number in cancelled)


def _local_word(submission: Submission, job: str) -> JobState | None:
    if not job:
        return None
    alive = local_jobs.alive(int(job), submission.folder)
    return JobState(job, "RUNNING" if alive else "COMPLETED")


def _state(
    made: _Maker, queued: Queued | None, word: JobState | None, *, cancelled: bool
) -> TaskState:
    """One task: see the module."""
    told = made.told
    if told is not None and told.state == "done" and made.has_result():
        return made("done")
    if word is not None and scheduler.active(word.state):
        return _live(made, word, cancelled=cancelled)
    if made.is_done():
        return made("done")
    if queued is None or queued.refused:
        return _not_queued(made, queued)
    if cancelled:
        return made("cancelled", "by ddbench cancel", "retry starts it again")
    return _ended(made, word)


def _not_queued(made: _Maker, queued: Queued | None) -> TaskState:
    if queued is None:
        return made("not queued", "the submission was interrupted before it", "retry queues it")
    return made("not queued", queued.refused, "correct the profile, then submit again")


@dataclass(frozen=True)
class _Maker:
    """Fills in what all states of a task have in common."""

    submission: Submission
    task: Task
    job: str

    @cached_property
    def told(self) -> Progress | None:
        """What the task's worker told."""
        return self.submission.progress(self.task.number)

    def has_result(self) -> bool:
        """Whether the file is there that the task has written to."""
        if self.task.stages == ("experts",):
            return True
        return (Path(self.submission.header.results) / self.task.result).is_file()

    def is_done(self) -> bool:
        """Whether the store has what the task was to make, whoever made it."""
        if self.task.stages == ("experts",):
            return all(experts.known(key) for key in self.task.experts)
        if not self.has_result():
            return False
        try:
            recipe = self.submission.recipe(self.task)
            results = Path(self.submission.header.results)
            left = standing.stages_left(recipe, self.task.seed, results)
        except BadInput:  # its data are gone, or the file is damaged
            return False
        return not set(self.task.stages) & set(left)

    def __call__(self, state: str, detail: str = "", advice: str = "", kind: str = "") -> TaskState:
        restarts = self.told.restarts if self.told else 0
        updated = self.told.updated if self.told else ""
        return TaskState(self.submission, self.task, state, self.job, restarts, kind, detail,
                         advice, updated)  # fmt: skip

    def last_line(self) -> str:
        """What the run wrote last since its start."""
        lines = diagnosis.log_tail(self.submission.log(self.task.number), 1)
        return lines[-1] if lines and not lines[-1].startswith(LOG_HEAD) else "starting"


def _live(made: _Maker, word: JobState, *, cancelled: bool) -> TaskState:
    told = made.told
    if cancelled:
        return made("cancelled", "being stopped")
    started = told is not None and told.state in ("running", "cut off")
    if word.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"):
        if word.reason in ("Dependency", "DependencyNeverSatisfied"):
            return made("waiting", _reason(word))
        if started:
            return made("cut off", f"starts again ({_reason(word)})")
        return made("pending", _reason(word))
    if told is not None and told.state == "cut off":
        return made("cut off", "being queued again")
    return made("running", made.last_line() if started else f"on {word.node or 'its node'}")


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


def _reason(word: JobState) -> str:
    return _REASONS.get(word.reason, word.reason) or "queued"


def _ended(made: _Maker, word: JobState | None) -> TaskState:
    """A job that has ended, or that Slurm does not know, and left its task undone."""
    told = made.told
    if told is not None and told.state == "failed":
        return made("failed", told.reason, told.advice, kind=told.kind)
    if word is None:
        said = f"its record says {told.state}" if told else "it never started"
        return made("lost", f"no word of job {made.job}; {said}", "retry starts it again")
    tail = "\n".join(diagnosis.log_tail(made.submission.log(made.task.number)))
    found = diagnosis.of_job(word, tail)
    if told is not None and told.state == "cut off":
        return made("failed", "was stopped and not queued again", "retry continues it", "preempted")
    if found is None:
        return made("lost", f"job {made.job} ended ({word.state}) without a result",
                    "see its log; retry starts it again")  # fmt: skip
    state = "cancelled" if found.kind in ("cancelled", "dependency") else "failed"
    return made(state, found.reason, found.advice, found.kind)


def runs(states: Sequence[TaskState]) -> list[list[TaskState]]:
    """Tasks of the same result together, in order of their first; networks by themselves."""
    groups: dict[object, list[TaskState]] = {}
    for state in states:
        shared = state.task.stages == ("experts",)
        same = (state.task.result, "experts" if shared else "")
        groups.setdefault(same, []).append(state)
    return list(groups.values())
