"""One run: a recipe and a seed become one result file, stage by stage.

What is stored is what is scored: the evaluation reads the set back from the file. A run that was
cut off continues from its checkpoint; finished scores are never computed again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ddbench import store
from ddbench.distilling import distill
from ddbench.engine import Engine, resolve_device
from ddbench.errors import BadInput
from ddbench.job import Job, result_file
from ddbench.recipe import STAGES, Recipe
from ddbench.scoring import evaluate, missing_rows
from ddbench.stopping import stop_requests
from ddbench.trained import cache_file, trained

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a run left: its file, and whether there was anything to do."""

    path: Path
    fresh: bool


def is_done(recipe: Recipe, seed: int, results: Path) -> bool:
    """Whether the file is finished and has every score that the recipe asks for."""
    path = result_file(recipe, seed, results)
    if not path.is_file():
        return False
    try:
        header = store.read_header(path)
    except BadInput as error:
        problem = f"{error.problem}; remove the file to make it again"
        raise BadInput(problem, file=path) from None
    return header.attrs["status"] == "done" and not missing_rows(recipe, header.evaluations)


def run(
    recipe: Recipe,
    seed: int,
    results: Path,
    *,
    device: str = "auto",
    stages: Sequence[str] = STAGES,
    download: bool = False,
    engine: Engine | None = None,
) -> Outcome:
    """Do what is missing of one recipe and seed.

    Args:
        results: folder of all results; the file's place in it follows from the recipe.
        stages: which of ``STAGES`` to do.
        engine: device, threads, stack and micro-batch; None chooses them.

    Raises:
        BadInput: data missing, or an impossible device.
        Locked: another process is writing this result.
        CutOff: the process was asked to stop; what can be resumed was saved.
        RunFailed: numbers that are not finite.
    """
    path = result_file(recipe, seed, results)
    leftovers = store.checkpoint_directory(path)
    if "evaluate" in stages and is_done(recipe, seed, results) and not leftovers.exists():
        return Outcome(path, fresh=False)
    with _folder_of(path, results), store.writer_lock(path), stop_requests() as stopped:
        job = Job(recipe, seed, path, resolve_device(device), download, engine, stopped)
        if "experts" in stages and ("distill" not in stages or not path.is_file()):
            train_experts(job)
            job.stop_if_asked()
        if "distill" in stages and not path.is_file():
            job.publish(distill(job))
            store.checkpoint.clear(job.checkpoints)
        if "evaluate" in stages:
            evaluate(job)
            store.checkpoint.clear(job.checkpoints)
    return Outcome(path, fresh=True)


@contextmanager
def _folder_of(path: Path, results: Path) -> Iterator[None]:
    """Leave no empty folder behind where a run was refused before it wrote anything."""
    try:
        yield
    finally:
        for folder in list(path.relative_to(results).parents)[:-1]:
            try:
                (results / folder).rmdir()
            except OSError:  # not empty, or not there
                break


def make(recipe: Recipe, seed: int, path: Path, *, device: str = "auto") -> None:
    """Make the set alone, into a file that is in no results folder (``ddbench import``).

    Raises:
        BadInput, Locked, CutOff, RunFailed: see ``run``.
    """
    with store.writer_lock(path), stop_requests() as stopped:
        job = Job(recipe, seed, path, resolve_device(device), False, None, stopped)
        job.publish(distill(job))


def train_experts(job: Job) -> None:
    """Train (or find) the networks on real data that later stages need."""
    for spec in job.recipe.networks_needed():
        if not cache_file(spec, job.data, job.streams).is_file():
            what = f"{spec.members} {spec.network.label}"
            log.info("%s: training %s on the real data", job.title, what)
        trained(spec, job.data, job.streams)


__all__ = ["Outcome", "is_done", "make", "result_file", "run", "train_experts"]
