"""One run: a recipe and a seed become one result file, stage by stage.

What is stored is what is scored: the evaluation reads the set back from the file. A run that was
cut off continues from its checkpoint; finished scores are never computed again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ddbench import experts, store, tracking
from ddbench.distilling import distill
from ddbench.engine import Engine, resolve_device
from ddbench.job import Job, checkpoints_of, lock_of
from ddbench.recipe import STAGES, Recipe
from ddbench.scoring import evaluate
from ddbench.standing import WHOLE, Shard, is_done, result_file
from ddbench.stopping import stop_requests
from ddbench.trained import cache_file, trained

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a run left: its file, and whether there was anything to do."""

    path: Path
    fresh: bool


def run(
    recipe: Recipe,
    seed: int,
    results: Path,
    *,
    device: str = "auto",
    stages: Sequence[str] = STAGES,
    download: bool = False,
    engine: Engine | None = None,
    shard: Shard = WHOLE,
) -> Outcome:
    """Do what is missing of one recipe and seed.

    Args:
        results: folder of all results; the file's place in it follows from the recipe.
        stages: which of ``STAGES`` to do.
        engine: device, threads, stack and micro-batch; None chooses them.
        shard: of the evaluation; several processes may do different ones at the same time.

    Raises:
        BadInput: data missing, an impossible device, a shard of another stage, or a tracker that
            is not there.
        Locked: another process is writing this result, or works on this shard.
        CutOff: the process was asked to stop; what can be resumed was saved.
        RunFailed: numbers that are not finite.
    """
    shard.check(stages)
    path = result_file(recipe, seed, results)
    leftovers = checkpoints_of(path, shard).exists()
    if "evaluate" in stages and not leftovers and is_done(recipe, seed, results, shard):
        return Outcome(path, fresh=False)
    tracking.asked()  # refuses before anything is done
    with (
        _folder_of(path, results),
        store.writer_lock(lock_of(path, shard)),
        stop_requests() as stopped,
    ):
        job = Job(recipe, seed, path, resolve_device(device), download, engine, stopped, shard)
        if "experts" in stages and ("distill" not in stages or not path.is_file()):
            train_experts(job)
        if "distill" in stages and not path.is_file():
            job.publish(distill(job))
            _clear_all(job)
        if "evaluate" in stages:
            _exclude_others(job)
            evaluate(job)
            store.checkpoint.clear(job.checkpoints)
            if is_done(recipe, seed, results):
                tracking.summarise(job, store.read_header(path).evaluations)
                with suppress(store.Locked), job.writing():  # else a later run does it
                    _clear_all(job)
        _index(job)
    return Outcome(path, fresh=True)


def _exclude_others(job: Job) -> None:
    """A whole evaluation and one in shards do not run side by side; raises ``Locked``."""
    if job.shard.whole:
        for lock in sorted(job.path.parent.glob(f"{job.path.stem}.shard-*.lock")):
            with store.writer_lock(lock.with_suffix("")):
                pass
    else:
        with job.writing():  # others hold it for moments only, to publish
            pass


def _clear_all(job: Job) -> None:
    """Remove all checkpoints of a result, but for those of shards that are being worked on."""
    folder = store.checkpoint_directory(job.path)
    for part in sorted(folder.glob("shard-*")):
        with suppress(store.Locked), store.writer_lock(job.path.with_suffix(f".{part.name}")):
            store.checkpoint.clear(part)
    store.checkpoint.clear(folder)


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
    """Train (or find) the networks on real data that later stages need.

    Raises:
        CutOff: the process was asked to stop; what is trained is cached.
    """
    for spec in job.recipe.networks_needed():
        if not cache_file(spec, job.data, job.streams).is_file():
            what = f"{spec.members} {spec.network.label}"
            log.info("%s: training %s on the real data", job.title, what)
        trained(spec, job.data, job.streams)
        job.stop_if_asked()


def _index(job: Job) -> None:
    """Enter what is cached of the networks that the recipe needs into the index of ``experts``."""
    for spec in job.recipe.networks_needed() if job.has_data else []:
        file = cache_file(spec, job.data, job.streams)
        if file.is_file():
            key = experts.expert_key(job.recipe.dataset, spec, job.seed)
            experts.note(key, file, device=str(job.device), data=job.data.sha256)


__all__ = ["Outcome", "is_done", "make", "result_file", "run", "train_experts"]
