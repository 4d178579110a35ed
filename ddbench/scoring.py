"""Stage ``evaluate``: which scores a file lacks, and filling them in."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ddbench import provenance, store
from ddbench.arms import Arm, recipe_arms
from ddbench.distilled import DistilledSet
from ddbench.errors import BadInput
from ddbench.evaluation import ENSEMBLE, Target, score
from ddbench.job import Job
from ddbench.progress import progress
from ddbench.recipe import Recipe
from ddbench.store import EvaluationRecord, Result

log = logging.getLogger(__name__)

_PUBLISH_EVERY = 30.0  # seconds between rewrites of a file that scores are added to


def missing_rows(
    recipe: Recipe, records: Sequence[EvaluationRecord]
) -> list[tuple[Arm, list[int]]]:
    """Per arm, the networks that have no score yet."""
    have = {(r.evaluation_key, r.network, r.used_features, r.network_seed) for r in records}
    missing = []
    for arm in recipe_arms(recipe):
        wanted = list(range(arm.plan.repeats)) + [ENSEMBLE] * recipe.evaluation.ensemble
        used = arm.features is not None
        absent = [e for e in wanted if (arm.key, arm.network.label, used, e) not in have]
        if absent:
            missing.append((arm, absent))
    return missing


def evaluate(job: Job) -> None:
    """Score the stored set: whatever the recipe asks for and the file lacks."""
    if not job.path.is_file():
        raise BadInput("there is no distilled set yet", file=job.path,
                       allowed="--stages distill,evaluate")  # fmt: skip
    result = store.read(job.path)
    records = list(result.evaluations)
    missing = missing_rows(job.recipe, records)
    total = sum(len(members) for _, members in missing)
    published = time.monotonic()
    with progress(f"{job.title}: evaluating", total) as bar:
        for arm, members in missing:
            iteration, data_set = _chosen(job, result, arm)
            for record in _scores(job, data_set, arm, members, iteration):
                records.append(record)
                bar.advance()
                if time.monotonic() - published > _PUBLISH_EVERY:
                    result = _with_records(job, result, records, "distilled")
                    published = time.monotonic()
    _with_records(job, result, records, "done")


def _scores(
    job: Job, data_set: DistilledSet | None, arm: Arm, members: list[int], iteration: int
) -> Iterator[EvaluationRecord]:
    """Records of the missing members; networks are always trained in the same stacks."""
    everyone = range(arm.plan.repeats)
    ensemble = ENSEMBLE in members
    stacks = [
        everyone[first : first + job.engine.stack]
        for first in range(0, len(everyone), job.engine.stack)
    ]
    wanted = [e for part in stacks if ensemble or set(part) & set(members) for e in part]
    for record in score(
        data_set, arm, job.data, Target(job.data.x_test, job.data.y_test), wanted,
        job.streams, job.engine, iteration=iteration,
        test_every=job.recipe.evaluation.test_every, ensemble=ensemble,
    ):  # fmt: skip
        if record.network_seed in members:
            yield record


def _chosen(job: Job, result: Result, arm: Arm) -> tuple[int, DistilledSet | None]:
    """The set to be scored, by the selection rule, and its iteration."""
    last = job.recipe.method.iterations_of(job.recipe.ipc)
    if result.synthetic is None:
        return last, None
    candidates = {**result.snapshots, last: result.synthetic}
    if arm.plan.selection == "last":
        return last, result.synthetic.to(job.device)
    wanted = {*job.recipe.evaluation.snapshots, last}
    if absent := sorted(wanted - set(candidates)):
        raise BadInput(f"the file has no snapshots at {absent}; they are kept while distilling",
                       file=job.path, field="evaluation.snapshots",
                       allowed=sorted(candidates))  # fmt: skip
    target = _selection_target(job, arm)
    means = {
        iteration: _mean_accuracy(job, candidates[iteration].to(job.device), arm, target)
        for iteration in sorted(wanted)
    }
    best = max(means, key=lambda iteration: means[iteration])
    log.info("%s: %s takes iteration %d", job.title, arm.plan.selection, best)
    return best, candidates[best].to(job.device)


def _selection_target(job: Job, arm: Arm) -> Target:
    data = job.data
    if arm.plan.selection == "best_on_validation":
        assert data.x_val is not None and data.y_val is not None
        return Target(data.x_val, data.y_val)
    if arm.plan.selection == "best_on_real_train":
        return Target(data.x_train, data.y_train)
    return Target(data.x_test, data.y_test)


def _mean_accuracy(job: Job, data_set: DistilledSet, arm: Arm, target: Target) -> float:
    records = score(
        data_set, arm, job.data, target, range(arm.plan.repeats), job.streams, job.engine,
        iteration=0,
    )  # fmt: skip
    return float(np.mean([record.accuracy for record in records]))


def _with_records(job: Job, result: Result, records: list[EvaluationRecord], status: str) -> Result:
    """Publish the file with these records, in an order that does not tell of interruptions."""
    ordered = sorted(
        records,
        key=lambda r: (r.network, r.evaluation_key, not r.used_features, r.network_seed),
    )
    attrs = {**result.attrs, "status": status, "finished": provenance.now()}
    attrs["peak_memory_bytes"] = max(
        int(attrs.get("peak_memory_bytes", 0)), provenance.peak_memory(job.device)
    )
    updated = replace(result, attrs=attrs, evaluations=tuple(ordered))
    job.publish(updated)
    return updated
