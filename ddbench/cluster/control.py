"""Cancelling submitted runs, and submitting again what did not end well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ddbench.cluster import local_jobs, scheduler, submitting
from ddbench.cluster.profile import Profile
from ddbench.cluster.submitting import Outcome
from ddbench.cluster.survey import LIVE, TaskState, survey
from ddbench.errors import BadInput, RunFailed, unknown
from ddbench.recipe import Recipe

AGAIN = ("failed", "cancelled", "lost", "not queued")
"""States that ``retry`` starts again."""


def chosen(results: Path, names: Sequence[str]) -> list[TaskState]:
    """Tasks that names stand for: a recipe, ``RECIPE:SEED``, a key, a job, a submission, ``all``.

    Raises:
        BadInput: a name that nothing submitted has.
    """
    tasks = survey(results).tasks
    found: dict[int, TaskState] = {}
    for name in names:
        matching = [state for state in tasks if name == "all" or name in _names(state)]
        if not matching:
            known = {each for state in tasks for each in _names(state)[:2]}
            if not known:
                raise BadInput(f"nothing was submitted below {results}", field="RUN")
            raise unknown("run", name, sorted(known), field="RUN")
        found |= {id(state): state for state in matching}
    return list(found.values())


def _names(state: TaskState) -> tuple[str, ...]:
    task = state.task
    base = state.job.partition("_")[0]
    return (
        task.name, f"{task.name}:{task.seed}", task.key, f"{task.key}:{task.seed}",
        state.submission.id, *filter(None, (state.job, base)),
    )  # fmt: skip


def cancel(states: Sequence[TaskState], results: Path) -> list[TaskState]:
    """Cancel what lives of these tasks and of the tasks that wait for what they make.

    It is written down first: a job that is just being queued again does not come back. A job that
    also carries other tasks goes on: its worker ends the cancelled ones alone. Networks that runs
    share are trained on unless every run of their submission is cancelled.

    Raises:
        RunFailed: Slurm did not do it, or cannot be asked what lives.
    """
    found = survey(results)
    found.require_sure()
    live = [state for state in found.tasks if state.state in LIVE]
    mine = {(state.submission.id, state.task.number) for state in states}
    files = {state.task.result for state in states if not _shared(state)}
    ending = [
        state for state in live
        if not _shared(state) and (state.task.result in files or _id(state) in mine)
    ]  # fmt: skip
    going_on = {s.submission.id for s in live if not _shared(s) and s not in ending}
    ending += [s for s in live if _shared(s) and _id(s) in mine and s.submission.id not in going_on]
    for submission in {state.submission.id: state.submission for state in ending}.values():
        submission.set_cancelled(s.task.number for s in ending if s.submission is submission)
    kept = {s.job for s in live if s not in ending and s.state != "stopping"}
    _end({state.job: state for state in ending if state.job and state.job not in kept})
    return ending


def _shared(state: TaskState) -> bool:
    return state.task.stages == ("experts",)


def _id(state: TaskState) -> tuple[str, int]:
    return state.submission.id, state.task.number


def _end(jobs: dict[str, TaskState]) -> None:
    on_slurm = []
    for job, state in jobs.items():
        if state.submission.header.profile.scheduler == "local":
            local_jobs.stop(int(job), state.submission.folder)
        else:
            on_slurm.append(job)
    refused = scheduler.cancel(on_slurm) if on_slurm else None
    if refused:
        raise RunFailed(f"Slurm did not cancel: {refused}; they are not started again, though")


def retry(results: Path, profile: Profile | None, *, command: Sequence[str]) -> list[Outcome]:
    """Submit again what failed, was cancelled, was lost or never queued.

    Args:
        profile: None = that of each submission.
    """
    again: dict[str, tuple[Profile, dict[str, Recipe]]] = {}
    found = survey(results)
    found.require_sure()
    for state in found.tasks:
        if state.state not in AGAIN:
            continue
        how = profile or state.submission.header.profile
        _, recipes = again.setdefault(how.model_dump_json(), (how, {}))
        name = f"{state.submission.id}/{state.task.recipe}"
        if name not in recipes:
            recipes[name] = state.submission.recipe(state.task).model_copy(update={"seeds": []})
        seeds = {*recipes[name].seeds, state.task.seed}
        recipes[name] = recipes[name].model_copy(update={"seeds": sorted(seeds)})
    return [
        submitting.submit(list(recipes.values()), results, how, command=command, unchecked=True)
        for how, recipes in again.values()
    ]
