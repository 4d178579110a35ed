"""Stage ``evaluate``: filling in the scores that a file lacks, all of them or those of a shard."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ddbench import baselines, provenance, scheduled, store
from ddbench.arms import BASELINES, ENSEMBLE, OWN, Arm
from ddbench.distilled import DistilledSet
from ddbench.errors import BadInput
from ddbench.evaluation import Target, score
from ddbench.job import Job, checkpoint_period
from ddbench.progress import progress
from ddbench.standing import Row, arm_row, missing_rows, row_of, serves
from ddbench.store import EvaluationRecord, Result

log = logging.getLogger(__name__)


def evaluate(job: Job) -> None:
    """Score the stored set: whatever the job's shard of the recipe asks for and the file lacks.

    An arm is published when it is whole; its scores until then are kept in a checkpoint, those of
    baselines in the cache.

    Raises:
        BadInput: there is no set, or it lacks the snapshots of a selection.
        CutOff: the process was asked to stop.
        Locked: others write the file; what is not published is kept.
    """
    if not job.path.is_file():
        raise BadInput("there is no distilled set yet", file=job.path,
                       allowed="--stages distill,evaluate")  # fmt: skip
    result = store.read(job.path)
    missing = missing_rows(job.recipe, result.evaluations, job.shard)
    total = sum(len(members) for _, members in missing)
    with progress(f"{job.title}: evaluating", total) as bar:
        for arm, members in missing:
            fresh = []
            for record in _Scorer(job, result).scores_of(arm, members):
                fresh.append(record)
                bar.advance()
            result = _published(job, fresh)
    if result.attrs["status"] != "done" and not missing_rows(job.recipe, result.evaluations):
        _published(job, [])


@dataclass(frozen=True)
class _Scorer:
    """Scores of one stored set."""

    job: Job
    result: Result

    @cached_property
    def _arms(self) -> list[Arm]:
        return self.job.shard.arms(self.job.recipe)

    @cached_property
    def _known(self) -> dict[Row, EvaluationRecord]:
        """The scores that exist."""
        return {row_of(record): record for record in self.result.evaluations}

    def scores_of(self, arm: Arm, members: list[int]) -> Iterator[EvaluationRecord]:
        """Records of the missing members of one arm."""
        job = self.job
        if arm.role in BASELINES:
            for member in members:
                yield baselines.score_of(arm, member, job.recipe, job.data, job.streams, job.engine)
                job.stop_if_asked()
        elif arm.role == "set_hard" and self._is_hard_already(arm):
            for member in members:
                record = self._known[arm_row(self._own(arm), member)]
                yield replace(
                    record, evaluation_key=arm.key, comparable_key=arm.comparable_key, role=arm.role
                )
        else:
            yield from self._trained(arm, members)

    def _own(self, arm: Arm) -> Arm:
        """The arm of role ``set`` that ``arm`` is compared with: of its network, alike in F."""
        own = [each for each in self._arms if each.role == OWN and each.network == arm.network]
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
                partial.records.append(record)
                if not ensemble:  # its logits are not kept, so that arm starts again
                    partial.save_when_due()
                job.stop_if_asked()
        if not job.shard.whole:
            partial.save()  # should others hold the file for long

    def _chosen(self, arm: Arm) -> tuple[int, DistilledSet | None]:
        """The set to be scored, by the selection rule, and its iteration; one for all roles."""
        job, result = self.job, self.result
        last = job.recipe.method.iterations_of(job.recipe.ipc)
        if result.synthetic is None:
            return last, None
        candidates = {**result.snapshots, last: result.synthetic}
        iteration = last
        if arm.role != OWN:  # arms of role set come first
            iteration = self._known[arm_row(self._own(arm), 0)].iteration
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
        state, test_every = job.saved(), job.recipe.evaluation.test_every
        mine = state.get("arm") == self._key
        found = [_unpacked(fields) for fields in state["records"]] if mine else []
        self.records = [record for record in found if serves(record, test_every)]

    def save_when_due(self) -> None:
        """Save from time to time, and when the process is asked to stop."""
        if self._job.stopped or time.monotonic() - self._saved >= checkpoint_period():
            self.save()

    def save(self) -> None:
        """Save what there is."""
        self._job.save({"arm": self._key, "records": [_packed(record) for record in self.records]})
        self._saved = time.monotonic()


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


def _published(job: Job, fresh: Sequence[EvaluationRecord]) -> Result:
    """The file as it is now with ``fresh`` scores, written.

    Others may have added scores since it was read; of two for one row the fresh one stays. The
    order of the rows does not tell of interruptions, nor of who came first.
    """
    with job.writing():
        result = store.read(job.path)
        records = {row_of(record): record for record in (*result.evaluations, *fresh)}
        if not missing_rows(job.recipe, records.values()):
            status = "done"
        else:
            status = result.attrs["status"]
        ordered = sorted(
            records.values(),
            key=lambda r: (
                *(r.network, r.role != OWN, r.role),
                *(r.evaluation_key, not r.used_features, r.network_seed),
            ),
        )
        attrs = {**result.attrs, **_worked_on(job, result.attrs), "status": status}
        updated = replace(result, attrs=attrs, evaluations=tuple(ordered))
        job.publish(updated)
    return updated


def _worked_on(job: Job, attrs: Mapping[str, Any]) -> dict[str, Any]:
    """What the attributes of a file are to say of who worked on it, and when."""
    before = str(attrs.get("job", ""))
    jobs = scheduled.joined(before, job.jobs)
    again = scheduled.restarts_of(jobs) - scheduled.restarts_of(before)
    peak = max(int(attrs.get("peak_memory_bytes", 0)), provenance.peak_memory(job.device))
    return {
        "image": provenance.images(str(attrs.get("image", "")), provenance.image()),
        "job": jobs,
        "restarts": int(attrs.get("restarts", 0)) + again,
        "finished": provenance.now(),
        "peak_memory_bytes": peak,
    }
