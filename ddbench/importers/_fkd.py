"""FKD stores: per-view soft labels as SRe2L and G-VBSM write them, ``epoch_E/batch_B.tar``.

Each file is a list that ``torch.save`` wrote (it is no tar): crop boxes, flips, mix partners,
lambda, box, teachers' logits and, in G-VBSM's alone, the images that were shown
(VILA-Lab/SRe2L relabel/generate_soft_label.py:204-226).

Axes: B views of one batch, E epochs, N images, K classes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ddbench.importers._source import Source

Schedule = Literal["two_per_epoch", "one_per_epoch"]

SEED = 42  # of the sampler, unless --fkd-seed said another
_NAME = re.compile(r"(?:(?P<store>.*)/)?epoch_(?P<epoch>\d+)/batch_(?P<batch>\d+)\.tar")
_ITEMS = (6, 7)
_LARGEST = 1 << 30  # bytes of one batch
_OVERHANG = 1e-3  # fractions of the image that rounding of a box may add
_CLEAR = 4.0  # standard deviations above chance, and
_PART = 0.2  # of the way from chance to 1


@dataclass(frozen=True)
class Store:
    """Where the batches lie.

    Attributes:
        folder: below the source; ``""`` is its root.
        epochs: names of the batches, in order, per epoch.
    """

    folder: str
    epochs: tuple[tuple[str, ...], ...]

    def relative(self, name: str) -> str:
        """A batch's name below ``folder``."""
        return name.removeprefix(f"{self.folder}/") if self.folder else name


@dataclass(frozen=True, eq=False)
class FkdBatch:
    """One stored batch; None: the store does not say.

    Attributes:
        crop: float32 [B, 4], top, left, height, width as fractions of H, W, H, W.
        flip: bool [B].
        mix_partner: int64 [B], the row that each view is mixed with.
        mix_lambda: share of the own image that was drawn.
        mix_box: CutMix's x1, y1, x2, y2 (x along H).
        logits: float16 or float32 [B, K], of the mixed view.
        index: int64 [B], position of the image in the sorted folder.
    """

    crop: Tensor
    flip: Tensor
    mix_partner: Tensor | None
    mix_lambda: float | None
    mix_box: tuple[int, int, int, int] | None
    logits: Tensor
    index: Tensor | None

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def mix(self) -> str:
        """``cutmix``, ``mixup`` or ``none``."""
        if self.mix_partner is None:
            return "none"
        return "cutmix" if self.mix_box is not None else "mixup"


def find(source: Source) -> Store | None:
    """The store in a folder, or None; no file is opened.

    Raises:
        BadInput: several stores, or epochs or batches that are missing.
    """
    stores: dict[str, dict[int, dict[int, str]]] = {}
    for name in source.names:
        if name.endswith(".tar") and (match := _NAME.fullmatch(name)):
            epochs = stores.setdefault(match["store"] or "", {})
            epochs.setdefault(int(match["epoch"]), {})[int(match["batch"])] = name
    if not stores:
        return None
    if len(stores) > 1:
        raise source.bad("holds several stores of soft labels; keep one", allowed=sorted(stores))
    ((folder, epochs),) = stores.items()
    length = len(epochs.get(0, {}))
    for epoch in range(max(epochs) + 1):
        if sorted(epochs.get(epoch, {})) != list(range(length)):
            place = PurePosixPath(folder, f"epoch_{epoch}")
            raise source.bad(f"lacks batches: has not 0 to {length - 1}", name=str(place))
    ordered = (tuple(name for _, name in sorted(epochs[e].items())) for e in sorted(epochs))
    return Store(folder, tuple(ordered))


# --- one batch -----------------------------------------------------------------------------------


def read_batch(source: Source, name: str) -> FkdBatch:
    """One stored batch.

    Raises:
        BadInput: not a list of six or seven parts as described, or parts that do not fit.
    """
    source.check_size(name, _LARGEST)
    items = source.load_torch(name)
    if not isinstance(items, list | tuple) or len(items) not in _ITEMS:
        raise source.bad("is no batch of soft labels (a list of 6 or 7 parts)", name=name)
    try:
        return _checked(list(items))
    except (ValueError, TypeError, OverflowError) as error:
        raise source.bad(f"is no valid batch of soft labels: {error}", name=name) from None


def _checked(items: list[Any]) -> FkdBatch:
    crop, flip, partner, lam, box, logits = items[:6]
    if not _is(logits, 2) or logits.dtype not in (torch.float16, torch.float32):
        raise ValueError(f"logits are {_kind(logits)}, not float16 or float32 [B, K]")
    rows = len(logits)
    if not _is(crop, 2) or crop.shape != (rows, 4) or not crop.is_floating_point():
        raise ValueError(f"crop boxes are {_kind(crop)}, not float32 [{rows}, 4]")
    if not _is(flip, 1) or flip.shape != (rows,) or flip.dtype != torch.bool:
        raise ValueError(f"flips are {_kind(flip)}, not bool [{rows}]")
    low, high = crop[:, :2], crop[:, 2:]
    inside = (low >= 0).all() and (high > 0).all() and (low + high <= 1 + _OVERHANG).all()
    if not bool(inside) or not bool(torch.isfinite(logits).all()):
        raise ValueError("a crop box leaves the image, or a logit is not finite")
    index = items[6] if len(items) == max(_ITEMS) else None
    if partner is not None and _integers(partner, rows).sort().values.tolist() != [*range(rows)]:
        raise ValueError("the mix partners are no permutation")
    if index is not None and rows and int(_integers(index, rows).min()) < 0:
        raise ValueError("an image has a negative index")
    lam = None if lam is None else float(lam)
    if lam is not None and not (math.isfinite(lam) and 0 <= lam <= 1):
        raise ValueError(f"lambda is {lam}, not within 0 and 1")
    if (partner is None) != (lam is None) or (partner is None and box is not None):
        raise ValueError("partners, lambda and box do not come together")
    return FkdBatch(crop.float(), flip, partner, lam, _box(box), logits, index)


def _box(box: Any) -> tuple[int, int, int, int] | None:
    if box is None:
        return None
    corners = tuple(int(corner) for corner in box)
    if len(corners) != 4 or any(c != b for c, b in zip(corners, box, strict=True)):
        raise ValueError("the mix box is not four integers")
    x1, y1, x2, y2 = corners
    if not (0 <= x1 <= x2 and 0 <= y1 <= y2):
        raise ValueError(f"the mix box {list(corners)} is turned around")
    return x1, y1, x2, y2


def _is(value: Any, dims: int) -> bool:
    return isinstance(value, Tensor) and value.dim() == dims


def _integers(value: Any, rows: int) -> Tensor:
    if not _is(value, 1) or value.shape != (rows,) or value.dtype != torch.int64:
        raise ValueError(f"{_kind(value)} stands where int64 [{rows}] should")
    return value


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__


# --- which image each row shows ------------------------------------------------------------------


def sampler_order(images: int, epochs: int, schedule: Schedule, seed: int = SEED) -> Tensor:
    """The images that torch's seeded random sampler gives, int64 [epochs, images].

    Present samplers draw a second permutation at the end of every epoch and throw it away, older
    ones did not: the same seed gives other orders from the second epoch on.
    """
    generator = torch.Generator().manual_seed(seed)
    step = 2 if schedule == "two_per_epoch" else 1
    drawn = [torch.randperm(images, generator=generator) for _ in range(step * epochs)]
    return torch.stack(drawn[::step])


def resolve_schedule(
    epochs: Sequence[Sequence[FkdBatch]], labels: Tensor
) -> tuple[Schedule | None, dict[str, float]]:
    """By which schedule the rows of a store without indices were drawn, told by their labels.

    The teachers' largest logit names the folder's class far more often than by chance only in the
    right order. Views that show less than half of their own image do not count.

    Args:
        epochs: the batches of the first epochs; two tell the schedules apart.
        labels: int64 [N], class of each image of the sorted folder.

    Returns:
        The one schedule whose every epoch agrees clearly; None where there is none, or two. And the
        least agreement over the epochs, as a fraction, per schedule.
    """
    known: tuple[Schedule, ...] = get_args(Schedule)
    agreement: dict[str, float] = {}
    clear: list[Schedule] = []
    for schedule in known if len(epochs) > 1 else known[:1]:  # they part after the first epoch
        order = sampler_order(len(labels), len(epochs), schedule)
        found = [_agreement(e, labels[row]) for e, row in zip(epochs, order, strict=True)]
        agreement[schedule] = min(share for share, _ in found)
        if all(above for _, above in found):
            clear.append(schedule)
    return (clear[0] if len(clear) == 1 else None), agreement


def _agreement(batches: Sequence[FkdBatch], labels: Tensor) -> tuple[float, bool]:
    """Share of rows whose largest logit is their label, and whether that is no chance."""
    counted = torch.cat([_shows_itself(batch) for batch in batches])
    said = torch.cat([batch.logits.float().argmax(1) for batch in batches])[counted]
    meant = labels[: len(counted)][counted]
    if not len(meant):
        return 0.0, False
    classes = int(max(said.max(), meant.max())) + 1
    shares = [torch.bincount(v, minlength=classes).double() / len(v) for v in (said, meant)]
    chance = float((shares[0] * shares[1]).sum())
    agreement = float((said == meant).double().mean())
    spread = math.sqrt(chance * (1 - chance) / len(meant))
    return agreement, agreement > chance + max(_CLEAR * spread, _PART * (1 - chance))


def _shows_itself(batch: FkdBatch) -> Tensor:
    """Bool [B], the views that show their own image for the larger part."""
    own = batch.mix_lambda is None or batch.mix_lambda >= 0.5
    shows = torch.full((len(batch),), own)
    if batch.mix_partner is not None:
        shows |= batch.mix_partner == torch.arange(len(batch))
    return shows
