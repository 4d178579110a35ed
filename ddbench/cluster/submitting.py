"""From recipes to a queued submission: what is left, what others already do, what is recorded."""

from __future__ import annotations

import getpass
import logging
import shutil
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import ddbench
from ddbench import experts, provenance, standing
from ddbench.cluster import fitting, queueing, scheduler, snapshot, survey, tools
from ddbench.cluster.plan import Cell, Plan, plan
from ddbench.cluster.profile import STAGES, Profile, Stage
from ddbench.cluster.records import FOLDER, Header, Queued, Submission, new_id
from ddbench.content import code_digest
from ddbench.errors import BadInput
from ddbench.places import cache_root, data_root
from ddbench.recipe import Recipe
from ddbench.store.lock import release_ended, writer_lock

log = logging.getLogger(__name__)

_PATIENCE = 60.0
"""Seconds that one submission waits for another into the same results."""


@dataclass
class Outcome:
    """What a submission came to.

    Attributes:
        submission: None where nothing was left to do.
        done: runs that the store has.
        busy: runs that another submission's job works on, with that job.
        queued: what became of each group.
    """

    submission: Submission | None = None
    done: list[str] = field(default_factory=list)
    busy: dict[str, str] = field(default_factory=dict)
    queued: list[Queued] = field(default_factory=list)

    @property
    def refused(self) -> list[str]:
        """Why groups were not accepted, each reason once."""
        return list(dict.fromkeys(queued.refused for queued in self.queued if queued.refused))


def submit(
    recipes: Sequence[Recipe],
    results: Path,
    profile: Profile,
    *,
    command: Sequence[str],
    unchecked: bool = False,
) -> Outcome:
    """Queue whatever is left of the recipes with their seeds.

    A process that is killed here leaves a record of what it had queued; ``retry`` does the rest.

    Args:
        command: what the user typed, for the record.
        unchecked: queue runs that by their estimates do not fit the profile.

    Raises:
        BadInput: Slurm or the container runtime is missing, the image holds other code, or a recipe
            does not fit the profile.
        Locked: another process is submitting into the same results.
    """
    check_tools(profile)
    fitting.check(recipes, profile, refuse=not unchecked)
    results = results.absolute()
    (results / FOLDER).mkdir(parents=True, exist_ok=True)
    with writer_lock(results / FOLDER / "submit", wait=_PATIENCE):
        left = _left(recipes, results)
        outcome = Outcome(done=left.done, busy=left.busy)
        planned = plan(left.cells, profile, left.networks)
        if planned.groups:
            outcome.submission = record(left, planned, results, profile, command)
            outcome.queued = queueing.queue(outcome.submission)
            if not any(queued.job for queued in outcome.queued):
                shutil.rmtree(outcome.submission.folder)  # nothing was queued: nothing to tell of
                raise BadInput(outcome.refused[0], field="--cluster")
    return outcome


def scripts(
    recipes: Sequence[Recipe], results: Path, profile: Profile, *, command: Sequence[str]
) -> tuple[Submission, Plan, Outcome]:
    """The submission as it would be recorded, and its plan; nothing is written or asked."""
    results = results.absolute()
    left = _left(recipes, results, ask=False)
    planned = plan(left.cells, profile, {})
    made = Submission(results / FOLDER / new_id(results))
    made.header = _header(made.id, "", left, results, profile, command)
    made.plan = planned
    return made, planned, Outcome(made, left.done, left.busy)


def check_tools(profile: Profile) -> None:
    """Whether the profile's scheduler and image can be used from here; raises ``BadInput``."""
    if profile.scheduler == "slurm":
        tools.require_slurm()
    if profile.container is None:
        return
    runtime = tools.runtime(profile.container.runtime)
    if runtime is None and profile.scheduler == "local":
        tools.require_runtime(profile.container.runtime)
    if runtime is None:
        log.warning(
            "no container runtime here: whether the image holds this code is seen in the job"
        )
        return
    held = tools.image_labels(runtime, Path(profile.container.image)).get("org.ddbench.code", "")
    if held != code_digest():
        raise BadInput(
            f"the image holds ddbench code {held[:12] or '?'}, here is {code_digest()[:12]}",
            file=profile.container.image, field="container.image",
            allowed="an image of this version; containers/build.sh makes one",
        )  # fmt: skip


# --- what is left ----------------------------------------------------------------------------


@dataclass
class _Left:
    """What is left to do, and why the rest is not."""

    cells: list[Cell] = field(default_factory=list)
    recipes: dict[str, Recipe] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    busy: dict[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)


def _left(recipes: Sequence[Recipe], results: Path, *, ask: bool = True) -> _Left:
    """The cells of recipes and seeds, without those that are done or in work.

    Args:
        ask: ask Slurm which jobs live; else only the store is looked at.
    """
    working = survey.working(results) if ask else survey.Working()
    left = _Left(networks=working.networks)
    seen: dict[str, Recipe] = {}
    for number, recipe in enumerate(recipes):
        file = f"recipes/{number}/{recipe.name}.yaml"
        for seed in recipe.seeds:
            path = standing.result_file(recipe, seed, results)
            result = str(path.relative_to(results))
            title = f"{recipe.name} seed {seed}"
            stages = _stages(standing.stages_left(recipe, seed, results))
            if not stages:
                left.done.append(title)
            elif result in working.results:
                left.busy[title] = working.results[result]
            elif result not in seen:
                seen[result] = recipe
                if ask:
                    _free(path, working)
                left.recipes[file] = recipe
                left.cells.append(_cell(recipe, seed, file, path, results, stages))
            elif seen[result].evaluation != recipe.evaluation:
                raise BadInput(f"two recipes of this name make {result} and score it differently",
                               file=recipe.name, allowed="one after the other")  # fmt: skip
    return left


def _stages(names: Iterable[str]) -> tuple[Stage, ...]:
    found = set(names)
    return tuple(stage for stage in STAGES if stage in found)


def _cell(
    recipe: Recipe, seed: int, file: str, path: Path, results: Path, stages: tuple[Stage, ...]
) -> Cell:
    needed = recipe.networks_needed() if "experts" in stages else []
    keys = {
        experts.expert_key(recipe.dataset, spec, seed): experts.expert_key(recipe.dataset, spec, 0)
        for spec in needed
    }
    missing = {key: alike for key, alike in keys.items() if not experts.known(key)}
    shards = standing.shards_left(recipe, seed, results)
    return Cell(
        file, recipe.name, recipe.key, seed, str(path.relative_to(results)), stages,
        tuple("" if shard.whole else str(shard) for shard in shards),
        tuple(missing), tuple(sorted(missing.values())),
    )  # fmt: skip


def _free(path: Path, working: survey.Working) -> None:
    """Take locks away that jobs have left which Slurm says have ended."""
    for lock in sorted(path.parent.glob(f"{path.stem}.*lock")):
        release_ended(lock.with_suffix(""), working.has_ended)


# --- the record ------------------------------------------------------------------------------


def record(
    left: _Left, planned: Plan, results: Path, profile: Profile, command: Sequence[str]
) -> Submission:
    """Write a submission's folder: recipes and code first, the plan, which makes it one, last."""
    identity = new_id(results)
    folder = results / FOLDER / identity
    for file, recipe in left.recipes.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(recipe.to_yaml(), encoding="utf-8")
    snapshot.take(folder, provenance.code_version())
    cluster = scheduler.cluster() if profile.scheduler == "slurm" else ""
    header = _header(identity, cluster, left, results, profile, command)
    return Submission.create(results, header, planned)


def _header(
    identity: str,
    cluster: str,
    left: _Left,
    results: Path,
    profile: Profile,
    command: Sequence[str],
) -> Header:
    image = tools.image_digest(Path(profile.container.image)) if profile.container else ""
    named = {
        file: [str(path) for path in recipe.input_paths] for file, recipe in left.recipes.items()
    }
    return Header(
        id=identity, created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(command), host=socket.gethostname(), user=getpass.getuser(),
        cluster=cluster,
        results=str(results), data=str(data_root().absolute()),
        cache=str(cache_root().absolute()), python=sys.executable,
        code=code_digest(), git=provenance.code_version(), version=ddbench.__version__,
        image=image, inputs={file: paths for file, paths in named.items() if paths},
        profile=profile,
    )  # fmt: skip
