"""Learning rates over the epochs of a training. Torch-free.

Axes: E the papers' number of epochs, e the index of an epoch, W epochs of warm-up, L learned rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Literal

Schedule = Literal[
    "halfway", "step", "cosine", "constant", "cosine_annealing", "half_cosine", "linear", "staged",
]  # fmt: skip
DESCRIPTION = (
    "halfway: x gamma after epoch index E//2+1 with fresh momentum; step: x gamma every step_size "
    "epochs; cosine: to 0 at epoch index E; cosine_annealing: the same without that last epoch; "
    "half_cosine: to half the rate; linear: to 0; constant; staged: the set's learned rates in turn"
)
ONE_MORE = ("halfway", "cosine")
"""Schedules that run E + 1 epochs, as VICO-UoE/DatasetCondensation ``utils.py:337-361`` does."""
_WARMUP_START = 0.01


@dataclass(frozen=True)
class Rates:
    """The rate of every epoch that is run, and the epochs that begin with a fresh optimiser."""

    values: tuple[float, ...]
    fresh: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.values)


def rates(
    schedule: Schedule,
    lr: float | Sequence[float],
    epochs: int,
    *,
    step_size: int | None = None,
    gamma: float = 0.1,
    warmup: int = 0,
    syn_steps: int = 1,
) -> Rates:
    """The rates of a schedule, after ``warmup`` epochs that rise linearly from 1 % of ``lr``.

    With E counted without the warm-up:

    - ``halfway``: lr, times gamma from e = E//2 + 2 on with a new optimiser; E + 1 epochs;
    - ``step``: lr gamma^(e // step_size), without a size never;
    - ``cosine``, ``cosine_annealing``: lr (1 + cos(pi e / E)) / 2, E + 1 and E epochs;
    - ``half_cosine``: lr (1 + cos(pi e / 2E)) / 2, which ends at half of lr. DD-Ranking and RDED
      call this "cosine" (LINs-lab/RDED ``validation/main.py:95-108``), their "cosineannealing" is
      ``cosine_annealing``;
    - ``linear``: lr (1 - e / E);
    - ``staged``: STM's evaluation, see ``_staged``.

    The warm-up is torchvision's of zeyuanyin/tiny-imagenet ``classification/train_kd.py:33-37``.

    Args:
        lr: one rate; ``staged`` takes several.
        syn_steps: N of STM, the least number of epochs per rate (``staged``).
    """
    if schedule == "staged":
        return _staged(lr if isinstance(lr, Sequence) else (lr,), epochs, gamma, syn_steps)
    assert not isinstance(lr, Sequence), "only staged plays several rates"
    rising = [lr * (_WARMUP_START + (1 - _WARMUP_START) * e / warmup) for e in range(warmup)]
    left = epochs - warmup
    every = range(left + (schedule in ONE_MORE))
    fresh: frozenset[int] = frozenset()
    match schedule:
        case "halfway":
            values = [lr * (gamma if e > left // 2 + 1 else 1.0) for e in every]
            fresh = frozenset({warmup + left // 2 + 2})
        case "step":
            values = [float(lr * gamma ** (e // (step_size or epochs))) for e in every]
        case "cosine" | "cosine_annealing":
            values = [lr * 0.5 * (1 + cos(pi * e / left)) for e in every]
        case "half_cosine":
            values = [lr * 0.5 * (1 + cos(pi * e / (2 * left))) for e in every]
        case "linear":
            values = [lr * (1 - e / left) for e in every]
        case _:
            values = [lr] * len(every)
    return Rates((*rising, *values), fresh)


def _staged(learned: Sequence[float], epochs: int, gamma: float, syn_steps: int) -> Rates:
    """STM's learned rates in turn (HaowenGuan/Galaxy-Dataset-Distillation ``utils.py:768-834``).

    q = max(N, (E/2) // L) epochs per rate, then E/2 at gamma times the last one: entry i begins
    after epoch index q i, the low rate after q L + 1, each with a new optimiser. One rate and
    E = 1000 give ``halfway``.
    """
    half, count = epochs // 2, len(learned)
    each = max(syn_steps, half // count)
    low = each * count + 2
    values = [
        learned[-1] * gamma if e >= low else learned[min(count - 1, max(0, e - 1) // each)]
        for e in range(each * count + half + 1)
    ]
    return Rates(tuple(values), frozenset({each * i + 1 for i in range(1, count)} | {low}))
