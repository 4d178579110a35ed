"""Scoring a set: fresh networks are trained on it by a protocol and tested on the real test data.

Networks are trained in stacks; network e of seed d has the same initialisation, order and
augmentation for every method, so that differences between methods can be paired.
"""

from __future__ import annotations

import logging
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
from ddbench.lessons import Lesson, lesson_of
from ddbench.protocols import Plan, Rates
from ddbench.randomness import Streams
from ddbench.rate_search import rate_of
from ddbench.stack import Stack
from ddbench.store import EvaluationRecord
from ddbench.trained import Teachers
from ddbench.training import correct, predict

log = logging.getLogger(__name__)

_TIMED_IMAGES = 256
_SEEN_AT_ONCE = 64  # of the images trained on, whose bits need not agree with other sets'


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
    role: str = "set",
) -> Iterator[EvaluationRecord]:
    """Records of networks ``members`` of one arm, as soon as their stack is trained.

    Args:
        data_set: the set to train on; None = the real training part (``full``).
        target: what is scored; the test set unless a snapshot is being selected.
        test_every: epochs between the tests that ``best_accuracy`` is the maximum of.
        role: what the set is to the protocol; recorded.

    Raises:
        BadInput: the set lacks what the plan needs (a learned rate, soft labels, stored views).
    """
    plan = arm.plan
    lesson = lesson_of(data_set, arm, data, streams)  # first: it may train teachers
    apply_numerics(plan)
    start = rate_of(data_set, lesson, streams, engine)
    rates = plan.rates(start)
    about = _About(
        arm, iteration, role, _first(start), len(rates), data.num_classes, lesson.teachers,
        test_every,
    )  # fmt: skip
    total: Tensor | None = None
    diverged: list[int] = []
    for first in range(0, len(members), engine.stack):
        part = members[first : first + engine.stack]
        started = time.monotonic()
        stack, tests = _trained_stack(lesson, target, part, streams, rates, test_every)
        logits = predict(stack, target.x, tta=plan.tta)
        finite = logits.isfinite().all(-1).all(0).tolist()
        diverged += [member for member, fine in zip(part, finite, strict=True) if not fine]
        tests.append(_accuracy(logits, target.y))
        best = torch.stack(tests).amax(0).tolist() if test_every else [math.nan] * len(part)
        seen = lesson.data_set.x
        fitted = predict(stack, seen, chunk=min(_SEEN_AT_ONCE, len(seen)))
        own = _accuracy(fitted, lesson.classes).tolist()
        seconds = (time.monotonic() - started) / len(part)
        if ensemble:
            total = logits.sum(1) if total is None else total + logits.sum(1)
        yield from _records(about, logits, target.y, part, best, own, seconds)
        if plan.batch_invariant and first == 0:
            log_cost(stack, target.x, plan)
    if diverged:
        log.warning(
            "%s, %s: %d of %d networks diverged, their logits are not finite (numbers %s)",
            arm.network.label, role, len(diverged), len(members), ", ".join(map(str, diverged)),
        )  # fmt: skip
    if total is not None:
        nothing = [math.nan]
        mean = total[:, None] / len(members)
        yield from _records(about, mean, target.y, [ENSEMBLE], nothing, nothing, 0.0)


def apply_numerics(plan: Plan, *, strict: bool = True) -> None:
    """How a GPU computes under a plan; ``strict`` False leaves batch invariance out.

    An image's bits must not depend on the batch: every forward of ``predict`` has one shape anyway,
    and what is left is that the kernels of that shape are always the same, in full float32.
    """
    invariant = plan.batch_invariant and strict
    set_numerics(
        allow_tf32=plan.precision == "tf32" and not invariant,
        deterministic=bool(plan.deterministic) if strict else plan.deterministic is True,
    )


def log_cost(stack: Stack, x: Tensor, plan: Plan) -> float:
    """Log how much longer batch-invariant prediction takes than plain, measured on a few images."""
    seconds = {}
    for strict in (False, True):  # strict last, so that it stays
        apply_numerics(plan, strict=strict)
        runs = [_seconds(stack, x[:_TIMED_IMAGES], plan.tta) for _ in range(3)]
        seconds[strict] = min(runs)
    ratio = seconds[True] / seconds[False]
    log.info(
        "batch-invariant prediction takes %.2f times as long as plain (%.3f s and %.3f s for %d "
        "images)", ratio, seconds[True], seconds[False], min(len(x), _TIMED_IMAGES),
    )  # fmt: skip
    return ratio


def _seconds(stack: Stack, x: Tensor, tta: str) -> float:
    started = time.perf_counter()
    predict(stack, x, tta=tta).sum().item()  # waits for the device
    return time.perf_counter() - started


def _trained_stack(
    lesson: Lesson,
    target: Target,
    members: Sequence[int],
    streams: Streams,
    rates: Rates,
    test_every: int,
) -> tuple[Stack, list[Tensor]]:
    """A trained stack, and its accuracies [K] during training."""
    tests: list[Tensor] = []

    def test(stack: Stack, epoch: int) -> None:
        if test_every and (epoch + 1) % test_every == 0 and epoch + 1 < len(rates):
            logits = predict(stack, target.x, tta=lesson.arm.plan.tta)
            tests.append(_accuracy(logits, target.y))

    return lesson.fit(members, streams, rates, after_epoch=test), tests


def _first(rate: float | tuple[float, ...]) -> float:
    return rate[0] if isinstance(rate, tuple) else rate


def _accuracy(logits: Tensor, y: Tensor) -> Tensor:
    return correct(logits, y).double().mean(0)


@dataclass(frozen=True)
class _About:
    """What all records of an arm have in common."""

    arm: Arm
    iteration: int
    role: str
    lr: float
    epochs: int
    classes: int
    teachers: Teachers | None
    test_every: int


def _records(
    about: _About,
    logits: Tensor,
    y: Tensor,
    members: Sequence[int],
    best: list[float],
    own: list[float],
    seconds: float,
) -> Iterator[EvaluationRecord]:
    right, arm = correct(logits, y), about.arm
    per_class = torch.zeros(about.classes, len(members), dtype=torch.float64, device=y.device)
    per_class.index_add_(0, y, right.double())
    per_class /= torch.bincount(y, minlength=about.classes)[:, None]  # NaN without test images
    bits = right.cpu().numpy()
    for column, member in enumerate(members):
        ensemble = member == ENSEMBLE
        yield EvaluationRecord(
            evaluation_key=arm.ensemble_key if ensemble else arm.key,
            protocol=arm.plan.protocol,
            iteration=about.iteration,
            network=arm.network.label,
            network_seed=member,
            used_features=arm.features is not None,
            tta=arm.plan.tta,
            accuracy=float(bits[:, column].mean()),
            best_accuracy=best[column],
            train_accuracy=own[column],
            per_class=per_class[:, column].float().cpu().numpy(),
            epochs=about.epochs,
            seconds=seconds,
            selection="best_on_test" if arm.plan.test_selected else arm.plan.selection,
            correct=bits[:, column].copy(),
            role=about.role,
            lr=about.lr,
            teacher=str(about.teachers or ""),
            teacher_bytes=float(about.teachers.bytes if about.teachers else 0),
            test_every=about.test_every,
            comparable_key=arm.comparable_ensemble_key if ensemble else arm.comparable_key,
        )
