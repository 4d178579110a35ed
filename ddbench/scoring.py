"""Stage ``evaluate``: which scores a file lacks, and filling them in."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ddbench import baselines, provenance, store
from ddbench.arms import BASELINES, ENSEMBLE, OWN, Arm, recipe_arms
from ddbench.distilled import DistilledSet
from ddbench.errors import BadInput
from ddbench.evaluation import Target, score
from ddbench.job import Job, checkpoint_period
from ddbench.progress import progress
from ddbench.protocols import EvaluationSpec
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
    """Per arm, the networks that have no score yet; see ``_serves``."""
    return _missing(recipe.evaluation, recipe_arms(recipe), records)


def _missing(
    how: EvaluationSpec, arms: Sequence[Arm], records: Iterable[EvaluationRecord]
) -> list[tuple[Arm, list[int]]]:
    have = {row_of(record) for record in records if _serves(record, how)}
    missing = []
    for arm in arms:
        wanted = list(range(arm.plan.repeats))
        if how.ensemble and arm.role == OWN:
            wanted.append(ENSEMBLE)
        absent = [e for e in wanted if arm_row(arm, e) not in have]
        if absent:
            missing.append((arm, absent))
    return missing


def _serves(record: EvaluationRecord, how: EvaluationSpec) -> bool:
    """Whether a score has what is asked for: its best over as many tests, where that is tracked.

    Files of earlier releases do not say over how many; what they have counts.
    """
    if not how.test_every or record.network_seed == ENSEMBLE:
        return True
    return not math.isnan(record.best_accuracy) and record.test_every in (how.test_every, 0)


def arm_row(arm: Arm, member: int) -> Row:
    """The row that one network of an arm, or its ensemble, fills."""
    key = arm.ensemble_key if member == ENSEMBLE else arm.key
    return key, arm.network.label, arm.features is not None, member


def evaluate(job: Job) -> None:
    """Score the stored set: whatever the recipe asks for and the file lacks.

    An arm is published when it is whole; its scores until then are kept in a checkpoint, those of
    baselines in the cache.

    Raises:
        BadInput: there is no set, or it lacks the snapshots of a selection.
        CutOff: the process was asked to stop.
    """
    if not job.path.is_file():
        raise BadInput("there is no distilled set yet", file=job.path,
                       allowed="--stages distill,evaluate")  # fmt: skip
    result, arms = store.read(job.path), recipe_arms(job.recipe)
    scores = {row_of(record): record for record in result.evaluations}
    missing = _missing(job.recipe.evaluation, arms, result.evaluations)
    total = sum(len(members) for _, members in missing)
    with progress(f"{job.title}: evaluating", total) as bar:
        for arm, members in missing:
            for record in _Scorer(job, result, arms, scores).scores_of(arm, members):
                scores[row_of(record)] = record
                bar.advance()
            left = _missing(job.recipe.evaluation, arms, scores.values())
            status = result.attrs["status"] if left else "done"
            result = _with_records(job, result, list(scores.values()), status)
    if not missing:
        _with_records(job, result, list(scores.values()), "done")


@dataclass(frozen=True)
class _Scorer:
    """Scores of one stored set; ``known`` are those that exist, ``arms`` all of the recipe."""

    job: Job
    result: Result
    arms: Sequence[Arm]
    known: dict[Row, EvaluationRecord]

    def scores_of(self, arm: Arm, members: list[int]) -> Iterator[EvaluationRecord]:
        """Records of the missing members of one arm."""
        job = self.job
        if arm.role in BASELINES:
            for member in members:
                yield baselines.score_of(arm, member, job.recipe, job.data, job.streams, job.engine)
                job.stop_if_asked()
        elif arm.role == "set_hard" and self._is_hard_already(arm):
            for member in members:
                record = self.known[arm_row(self._own(arm), member)]
                yield replace(record, evaluation_key=arm.key, role=arm.role)
        else:
            yield from self._trained(arm, members)

    def _own(self, arm: Arm) -> Arm:
        """The arm of role ``set`` that ``arm`` is compared with: of its network, alike in F."""
        own = [each for each in self.arms if each.role == OWN and each.network == arm.network]
        return next((each for each in own if each.features == arm.features), own[-1])

    def _is_hard_already(self, arm: Arm) -> bool:
        """Whether the set has hard labels and the protocol trains on it as ``arm`` does."""
        own = self._own(arm)
        if self.result.synthetic is None or self.result.synthetic.kind != "index":
            return False
        plans = [each.plan.model_copy(update={"labels": "hard"}) for each in (own, arm)]
        enough = own.plan.repeats >= arm.plan.repeats
        return own.features is None and enough and plans[0].key(None) == plans[1].key(None)

    def _trained(self, arm: Arm, members: list[int]) -> Iterator[EvaluationRecord]:
        """Records of networks trained on the set; they are always trained in the same stacks."""
        job, partial = self.job, _Partial(self.job, arm)
        found = [record for record in partial.records if record.network_seed in members]
        yield from found
        left = [member for member in members if member not in {r.network_seed for r in found}]
        if not left:
            return
        iteration, data_set = self._chosen(arm)
        everyone, size = range(arm.plan.repeats), job.engine.stack
        stacks = [everyone[first : first + size] for first in everyone[::size]]
        ensemble = ENSEMBLE in left
        wanted = [e for part in stacks if ensemble or set(part) & set(left) for e in part]
        for record in score(
            data_set, arm, job.data, Target(job.data.x_test, job.data.y_test), wanted, job.streams,
            job.engine, iteration=iteration, test_every=job.recipe.evaluation.test_every,
            ensemble=ensemble, role=arm.role,
        ):  # fmt: skip
            if record.network_seed in left:
                yield record
                if not ensemble:  # its logits are not kept, so that arm starts again
                    partial.add(record)

    def _chosen(self, arm: Arm) -> tuple[int, DistilledSet | None]:
        """The set to be scored, by the selection rule, and its iteration; one for all roles."""
        job, result = self.job, self.result
        last = job.recipe.method.iterations_of(job.recipe.ipc)
        if result.synthetic is None:
            return last, None
        candidates = {**result.snapshots, last: result.synthetic}
        iteration = last
        if arm.role != OWN:  # arms of role set come first
            iteration = self.known[arm_row(self._own(arm), 0)].iteration
        elif arm.plan.selection != "last":
            iteration = _selected(job, arm, candidates)
        return iteration, candidates[iteration].to(job.device)


def _selected(job: Job, arm: Arm, candidates: Mapping[int, DistilledSet]) -> int:
    """The snapshot with the highest mean accuracy, by the rule of the arm."""
    wanted = {*job.recipe.evaluation.snapshots, max(candidates)}
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
    return best


class _Partial:
    """The scores of an arm that is not whole yet, in the job's checkpoint folder."""

    def __init__(self, job: Job, arm: Arm) -> None:
        self._job, self._key = job, f"{arm.network.label} {arm.key}"
        self._saved = time.monotonic()
        state = (store.checkpoint.load(job.checkpoints) or ({}, {}))[0]
        mine = state.get("arm") == self._key
        found = [_unpacked(fields) for fields in state["records"]] if mine else []
        self.records = [record for record in found if _serves(record, job.recipe.evaluation)]

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
        key=lambda r: (
            *(r.network, r.role != OWN, r.role),
            *(r.evaluation_key, not r.used_features, r.network_seed),
        ),
    )
    attrs = {**result.attrs, "status": status, "finished": provenance.now()}
    attrs["peak_memory_bytes"] = max(
        int(attrs.get("peak_memory_bytes", 0)), provenance.peak_memory(job.device)
    )
    updated = replace(result, attrs=attrs, evaluations=tuple(ordered))
    job.publish(updated)
    return updated
