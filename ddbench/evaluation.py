"""Scoring a set: fresh networks are trained on it by a protocol and tested on the real test data.

Networks are trained in stacks; network e of seed d has the same initialisation, order and
augmentation for every method, so that differences between methods can be paired.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddbench.arms import ENSEMBLE, Arm
from ddbench.data import RealData
from ddbench.distilled import DistilledSet
from ddbench.engine import Engine, set_numerics
from ddbench.objective import FeatureTerm, SyntheticLoss, examples_of
from ddbench.randomness import Streams
from ddbench.stack import Stack, create
from ddbench.store import EvaluationRecord
from ddbench.training import Draws, OptimizerSpec, correct, predict, train


@dataclass(frozen=True)
class Target:
    """Images to be scored on: x float [n, C, H, W] in the set's space, y int64 [n]."""

    x: Tensor
    y: Tensor


def score(
    data_set: DistilledSet | None,
    arm: Arm,
    data: RealData,
    target: Target,
    members: Sequence[int],
    streams: Streams,
    engine: Engine,
    *,
    iteration: int,
    test_every: int = 0,
    ensemble: bool = False,
) -> Iterator[EvaluationRecord]:
    """Records of networks ``members`` of one arm, as soon as their stack is trained.

    Args:
        data_set: the set to train on; None = the real training part (``full``).
        target: what is scored; the test set unless a snapshot is being selected.
        test_every: epochs between the tests that ``best_accuracy`` is the maximum of.
    """
    set_numerics(allow_tf32=arm.plan.precision == "tf32", deterministic=arm.plan.deterministic)
    total: Tensor | None = None
    for first in range(0, len(members), engine.stack):
        part = members[first : first + engine.stack]
        started = time.monotonic()
        stack, tests, own = _trained_stack(data_set, arm, data, target, part, streams, test_every)
        logits = predict(stack, target.x, tta=arm.plan.tta)
        tests.append(_accuracy(logits, target.y))
        best = torch.stack(tests).amax(0).tolist() if test_every else [math.nan] * len(part)
        seconds = (time.monotonic() - started) / len(part)
        if ensemble:
            total = logits.sum(1) if total is None else total + logits.sum(1)
        yield from _records(
            arm, logits, target.y, part, best, own,
            iteration=iteration, seconds=seconds, classes=data.num_classes,
        )  # fmt: skip
    if total is not None:
        yield from _records(
            arm, total[:, None] / len(members), target.y, [ENSEMBLE], [math.nan], [math.nan],
            iteration=iteration, seconds=0.0, classes=data.num_classes,
        )  # fmt: skip


def _trained_stack(
    data_set: DistilledSet | None,
    arm: Arm,
    data: RealData,
    target: Target,
    members: Sequence[int],
    streams: Streams,
    test_every: int,
) -> tuple[Stack, list[Tensor], list[float]]:
    """A trained stack, its accuracies [K] during training, and those on its own set."""
    plan = arm.plan
    chosen = data_set or DistilledSet(data.x_train, data.y_train, data.space)
    best_set = chosen.features.get("best_feature_set")
    term = _term(arm, data.shape)
    examples = examples_of(chosen, term, best_set)
    stack = create(
        arm.network, data.shape, data.num_classes,
        streams.generators("evaluation: init", members),
    )  # fmt: skip
    draws = Draws(
        streams.generators("evaluation: order", members),
        streams.generators("evaluation: extra", members),
    )
    tests: list[Tensor] = []

    def test(epoch: int, _: Tensor) -> None:
        if test_every and (epoch + 1) % test_every == 0 and epoch + 1 < plan.epochs_run:
            tests.append(_accuracy(predict(stack, target.x, tta=plan.tta), target.y))

    train(
        stack, examples,
        SyntheticLoss(chosen.kind, plan.label_smoothing, term),
        OptimizerSpec(plan.lr, plan.momentum, plan.weight_decay),
        draws.orders(plan.epochs_run, len(examples)),
        batch_size=plan.batch_size, learning_rates=plan.learning_rates(),
        fresh_momentum_at=plan.fresh_momentum_at(), augmentation=plan.augmentation, draws=draws,
        after_epoch=test,
    )  # fmt: skip
    labels = chosen.y if chosen.kind == "index" else chosen.y.argmax(1)
    own = _accuracy(predict(stack, chosen.x), labels).tolist()
    return stack, tests, own


def _term(arm: Arm, shape: tuple[int, int, int]) -> FeatureTerm | None:
    if arm.features is None or arm.weight is None:
        return None
    layer = arm.network.layer_index(arm.features.layer, shape)
    return FeatureTerm(arm.features, layer, arm.weight)


def _accuracy(logits: Tensor, y: Tensor) -> Tensor:
    return correct(logits, y).double().mean(0)


def _records(
    arm: Arm,
    logits: Tensor,
    y: Tensor,
    members: Sequence[int],
    best: list[float],
    own: list[float],
    *,
    iteration: int,
    seconds: float,
    classes: int,
) -> Iterator[EvaluationRecord]:
    right = correct(logits, y)
    per_class = torch.zeros(classes, len(members), dtype=torch.float64, device=y.device)
    per_class.index_add_(0, y, right.double())
    per_class /= torch.bincount(y, minlength=classes).clamp_min(1)[:, None]
    bits = right.cpu().numpy()
    for column, member in enumerate(members):
        yield EvaluationRecord(
            evaluation_key=arm.ensemble_key if member == ENSEMBLE else arm.key,
            protocol=arm.plan.protocol,
            iteration=iteration,
            network=arm.network.label,
            network_seed=member,
            used_features=arm.features is not None,
            tta=arm.plan.tta,
            accuracy=float(bits[:, column].mean()),
            best_accuracy=best[column],
            train_accuracy=own[column],
            per_class=per_class[:, column].float().cpu().numpy(),
            epochs=arm.plan.epochs_run,
            seconds=seconds,
            selection=arm.plan.selection,
            correct=bits[:, column].copy(),
        )
