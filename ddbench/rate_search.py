"""The learning rate that an arm's networks train at: given, learned with the set, or searched.

A search trains one network per rate of the grid, network 0 of the seed each time, and takes the
rate with the highest accuracy, of equal ones the lowest (NUS-HPC-AI-Lab/DD-Ranking
``metrics/hard_label.py:168-195`` does so, in every round). It is judged by the validation part of
the dataset; without one by a tenth of the training images of every class, the same for all sets
and seeds, but for those that the set itself consists of; or by the test set, which is marked in
every table. A method is kept from the validation part, not from that tenth.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from ddbench.arms import Arm
from ddbench.data import RealData
from ddbench.distilled import DistilledSet
from ddbench.engine import Engine
from ddbench.errors import BadInput
from ddbench.lessons import Lesson, lesson_of
from ddbench.randomness import Streams
from ddbench.training import correct, predict

log = logging.getLogger(__name__)

_SHARE = 10
"""One training image in so many is held out."""
_DIGESTED = 1024
"""Images brought to the host at once."""
_SEARCHER = 0
"""The network that tries every rate."""


def rate_of(
    data_set: DistilledSet | None, lesson: Lesson, streams: Streams, engine: Engine
) -> float | tuple[float, ...]:
    """The rate that an arm starts with, or the learned ones in their order.

    Raises:
        BadInput: a learned rate that the set does not have or the schedule cannot play.
    """
    plan = lesson.arm.plan
    if plan.lr == "search":
        return _searched(data_set, lesson, streams, engine)
    if plan.lr == "learned":
        return _learned(lesson)
    return plan.lr


def _learned(lesson: Lesson) -> float | tuple[float, ...]:
    rates = lesson.data_set.lr
    if rates is None:
        raise BadInput("the set has no learned step size; give --lr or evaluation.lr",
                       field="evaluation.lr", allowed="a number, search")  # fmt: skip
    several = (rates,) if isinstance(rates, float | int) else tuple(rates)
    if not several or not all(0 < rate < torch.inf for rate in several):
        raise BadInput(f"the set's learned step size is {rates}", field="evaluation.lr",
                       allowed="a number above 0, search")  # fmt: skip
    if len(several) > 1 and lesson.arm.plan.schedule != "staged":
        raise BadInput(f"the set has {len(several)} learned step sizes, one per stage",
                       field="evaluation.schedule",
                       allowed="staged, or a number as lr")  # fmt: skip
    return several if len(several) > 1 else several[0]


def _searched(
    data_set: DistilledSet | None, lesson: Lesson, streams: Streams, engine: Engine
) -> float:
    """The best rate of the grid; several networks are trained at once where they fit."""
    arm, plan = lesson.arm, lesson.arm.plan
    x, y, training = _judges(lesson.data, arm, data_set)
    if data_set is None and training is not None:
        lesson = lesson_of(training, arm, lesson.data, streams, lesson.teachers)
    found: list[float] = []
    for first in range(0, len(plan.lr_grid), engine.stack):
        part = plan.lr_grid[first : first + engine.stack]
        stack = lesson.fit([_SEARCHER] * len(part), streams, plan.rates(1.0), factors=part)
        right = correct(predict(stack, x, tta=plan.tta), y)
        found += right.double().mean(0).tolist()
    best = plan.lr_grid[max(range(len(found)), key=lambda index: found[index])]
    tried = ", ".join(f"{lr:g}: {100 * a:.1f} %" for lr, a in zip(plan.lr_grid, found, strict=True))
    log.info("%s: rate %g by %s accuracy (%s)", arm.network.label, best, plan.lr_chosen_on, tried)
    return best


def _judges(
    data: RealData, arm: Arm, data_set: DistilledSet | None
) -> tuple[Tensor, Tensor, DistilledSet | None]:
    """Images and classes that a search is judged by, and the training images left for it."""
    if arm.plan.lr_chosen_on == "test":
        return data.x_test, data.y_test, None
    if data.x_val is not None and data.y_val is not None:
        return data.x_val, data.y_val, None
    held, left = held_out(data)
    rest = DistilledSet(data.x_train[left], data.y_train[left], data.space)
    if data_set is not None:
        others = ~known(data.x_train[held], data_set.x)
        if bool(others.any()):
            held = held[others]
        else:
            log.warning("%s: the rate is judged by images of the set", arm.network.label)
    return data.x_train[held], data.y_train[held], rest


def known(x: Tensor, images: Tensor) -> Tensor:
    """Which of x [n, C, H, W] are among ``images`` [m, C, H, W], bit for bit: bool [n]."""
    there = set(_digests(images))
    return torch.tensor([digest in there for digest in _digests(x)], device=x.device)


def _digests(x: Tensor) -> Iterator[bytes]:
    for part in x.detach().split(_DIGESTED):
        for image in part.cpu().contiguous().numpy():
            yield hashlib.sha256(image).digest()


def held_out(data: RealData) -> tuple[Tensor, Tensor]:
    """Rows of x_train held out, a tenth of every class and at least one, and the others; ascending.

    A function of the labels alone.
    """
    generator = torch.Generator().manual_seed(0)
    chosen = []
    for rows, count in zip(data.class_index.cpu(), data.class_count.tolist(), strict=True):
        order = torch.randperm(count, generator=generator)
        chosen.append(rows[order[: max(1, count // _SHARE)]])
    held = torch.zeros(len(data.y_train), dtype=torch.bool)
    held[torch.cat(chosen)] = True
    device = data.y_train.device
    return held.nonzero().flatten().to(device), (~held).nonzero().flatten().to(device)
