"""Stage ``evaluate``: which scores a file lacks, and filling them in."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ddbench import provenance, store
from ddbench.arms import ENSEMBLE, Arm, recipe_arms
from ddbench.distilled import DistilledSet
from ddbench.errors import BadInput
from ddbench.evaluation import Target, score
from ddbench.job import Job, checkpoint_period
from ddbench.progress import progress
from ddbench.recipe import Recipe
from ddbench.store import EvaluationRecord, Result

log = logging.getLogger(__name__)

Row = tuple[str, str, bool, int]


def row_of(record: EvaluationRecord) -> Row:
    """What makes a row of the table of scores unique."""
    return record.evaluation_key, record.network, record.used_features, record.network_seed


def missing_rows(
    recipe: Recipe, records: Sequence[EvaluationRecord]
) -> list[tuple[Arm, list[int]]]:
    """Per arm, the networks that have no score yet.

    A score without its best over training counts as missing where the recipe tracks that.
    """
    tracked = recipe.evaluation.test_every > 0
    have = {
        row_of(r)
        for r in records
        if not tracked or r.network_seed == ENSEMBLE or not math.isnan(r.best_accuracy)
    }
    missing = []
    for arm in recipe_arms(recipe):
        wanted = list(range(arm.plan.repeats)) + [ENSEMBLE] * recipe.evaluation.ensemble
        absent = [e for e in wanted if arm_row(arm, e) not in have]
        if absent:
            missing.append((arm, absent))
    return missing


def arm_row(arm: Arm, member: int) -> Row:
    """The row that one network of an arm, or its ensemble, fills."""
    key = arm.ensemble_key if member == ENSEMBLE else arm.key
    return key, arm.network.label, arm.features is not None, member


def evaluate(job: Job) -> None:
    """Score the stored set: whatever the recipe asks for and the file lacks.

    An arm is published when it is whole; its scores until then are kept in a checkpoint.

    Raises:
        BadInput: there is no set, or it lacks the snapshots of a selection.
        CutOff: the process was asked to stop.
    """
    if not job.path.is_file():
        raise BadInput("there is no distilled set yet", file=job.path,
                       allowed="--stages distill,evaluate")  # fmt: skip
    result = store.read(job.path)
    scores = {row_of(record): record for record in result.evaluations}
    missing = missing_rows(job.recipe, result.evaluations)
    total = sum(len(members) for _, members in missing)
    with progress(f"{job.title}: evaluating", total) as bar:
        for arm, members in missing:
            for record in _arm_scores(job, result, arm, members):
                scores[row_of(record)] = record
                bar.advance()
            whole = missing_rows(job.recipe, list(scores.values()))
            status = result.attrs["status"] if whole else "done"
            result = _with_records(job, result, list(scores.values()), status)
    if not missing:
        _with_records(job, result, list(scores.values()), "done")


def _arm_scores(
    job: Job, result: Result, arm: Arm, members: list[int]
) -> Iterator[EvaluationRecord]:
    """Records of the missing members; networks are always trained in the same stacks."""
    partial = _Partial(job, arm)
    found = [record for record in partial.records if record.network_seed in members]
    yield from found
    left = [member for member in members if member not in {r.network_seed for r in found}]
    if not left:
        return
    iteration, data_set = _chosen(job, result, arm)
    everyone, size = range(arm.plan.repeats), job.engine.stack
    stacks = [everyone[first : first + size] for first in everyone[::size]]
    ensemble = ENSEMBLE in left
    wanted = [e for part in stacks if ensemble or set(part) & set(left) for e in part]
    for record in score(
        data_set, arm, job.data, Target(job.data.x_test, job.data.y_test), wanted, job.streams,
        job.engine, iteration=iteration, test_every=job.recipe.evaluation.test_every,
        ensemble=ensemble,
    ):  # fmt: skip
        if record.network_seed in left:
            yield record
            if not ensemble:  # its logits are not kept, so that arm starts again
                partial.add(record)


class _Partial:
    """The scores of an arm that is not whole yet, in the job's checkpoint folder."""

    def __init__(self, job: Job, arm: Arm) -> None:
        self._job, self._key = job, f"{arm.network.label} {arm.key}"
        self._saved = time.monotonic()
        state = (store.checkpoint.load(job.checkpoints) or ({}, {}))[0]
        mine = state.get("arm") == self._key
        self.records = [_unpacked(fields) for fields in state["records"]] if mine else []

    def add(self, record: EvaluationRecord) -> None:
        """Keep a record; saves when it is time to, or when the process is asked to stop."""
        self.records.append(record)
        if self._job.stopped or time.monotonic() - self._saved >= checkpoint_period():
            state = {"arm": self._key, "records": [_packed(r) for r in self.records]}
            store.checkpoint.save(self._job.checkpoints, state, self._job.engine.as_dict())
            self._saved = time.monotonic()
        self._job.stop_if_asked()


def _packed(record: EvaluationRecord) -> dict[str, Any]:
    """Plain values and tensors, which a checkpoint may hold."""
    fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in fields.items()
    }


def _unpacked(fields: dict[str, Any]) -> EvaluationRecord:
    arrays: dict[str, Any] = {
        name: value.numpy() if isinstance(value, torch.Tensor) else value
        for name, value in fields.items()
    }
    return EvaluationRecord(**arrays)


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
