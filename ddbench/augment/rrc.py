"""Random resized crop and horizontal flip: ImageNet's augmentation (Szegedy et al., CVPR 2015).

Axes: B images, K members of a stack, C channels, H, W.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ddbench.augment import Augmentation, Record, Shape, mirror, spread

if TYPE_CHECKING:
    from torch import Tensor

ATTEMPTS = 10
"""Boxes that are tried before the centre is taken, as torchvision does."""


class RandomResizedCrop(Augmentation):
    """A box of random area and aspect is resized to the whole image, then mirrored.

    The area is uniform in ``scale`` times H W, the logarithm of width over height uniform between
    those of ``ratio``; sides are rounded to pixels; the first of ten boxes that fits is taken, else
    the largest central one of an allowed aspect. Positions are uniform. This is torchvision's
    ``RandomResizedCrop`` on tensors: bilinear, in the value space of x and in floating point. On
    PIL images (SRe2L, RDED) the result is rounded to 8 bits, which it is not here; the resize only
    ever enlarges, so antialiasing plays no part.

    ``shuffle`` > 1 cuts the image into that many strips along each axis and exchanges them before
    the crop (RDED's ``ShufflePatches``; the last strip takes the remainder, where LINs-lab/RDED
    ``validation/utils.py:169-174`` loses it). RDED with a factor f takes ``scale: [1/f, 1]``.

    The record holds int64 [B, K, 4] ``box`` (top, left, height, width), bool [B, K] ``flip`` and,
    with ``shuffle`` > 1, int64 [B, K, f] ``row_order``, ``column_order``: the strips in the order
    in which they are shown.
    """

    name: Literal["rrc"] = "rrc"
    scale: tuple[float, float] = Field(
        default=(0.08, 1.0), description="smallest and largest share of the area"
    )
    ratio: tuple[float, float] = Field(
        default=(3 / 4, 4 / 3), description="smallest and largest width over height"
    )
    prob_flip: float = Field(
        default=0.5, ge=0, le=1, description="probability of a horizontal flip"
    )
    shuffle: int = Field(default=1, ge=1, le=16, description="strips exchanged along each axis")

    @model_validator(mode="after")
    def _ordered(self) -> RandomResizedCrop:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale is {list(self.scale)}; allowed: 0 < smallest <= largest <= 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio is {list(self.ratio)}; allowed: 0 < smallest <= largest")
        return self

    def uniforms(self, shape: Shape) -> int:
        """Two per attempt, two for the position, one for the flip, two per strip."""
        return 2 * ATTEMPTS + 3 + (2 * self.shuffle if self.shuffle > 1 else 0)

    def record(self, u: Tensor, shape: Shape) -> Record:
        last = 2 * ATTEMPTS
        record = {
            "box": self._box(u[..., :last], u[..., last : last + 2], shape),
            "flip": u[..., last + 2] < self.prob_flip,
        }
        if self.shuffle > 1:
            rows, columns = u[..., last + 3 :].chunk(2, dim=-1)
            record["row_order"] = rows.argsort(dim=-1, stable=True)
            record["column_order"] = columns.argsort(dim=-1, stable=True)
        return record

    def _box(self, tries: Tensor, position: Tensor, shape: Shape) -> Tensor:
        """Top, left, height, width, int64 [B, K, 4]; in float64, because sides are rounded."""
        import torch

        _, height, width = shape
        area, aspect = tries.double().chunk(2, dim=-1)
        area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * area)
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        aspect = (low + (high - low) * aspect).exp()
        widths, heights = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
        fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
        first = fits.to(torch.uint8).argmax(dim=-1, keepdim=True)
        some = fits.any(dim=-1)
        fallback_h, fallback_w = self._largest(height, width)
        h = torch.where(some, heights.gather(-1, first)[..., 0], fallback_h).to(torch.int64)
        w = torch.where(some, widths.gather(-1, first)[..., 0], fallback_w).to(torch.int64)
        top = torch.where(some, _below(position[..., 0], height - h), (height - h) // 2)
        left = torch.where(some, _below(position[..., 1], width - w), (width - w) // 2)
        return torch.stack((top, left, h, w), dim=-1)

    def _largest(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the largest box of an allowed aspect."""
        if width / height < self.ratio[0]:
            return round(width / self.ratio[0]), width
        if width / height > self.ratio[1]:
            return height, round(height * self.ratio[1])
        return height, width

    def apply(self, x: Tensor, record: Record) -> Tensor:
        x = spread(x, record["flip"])
        if self.shuffle > 1:
            x = _gather(x, strips(record["row_order"], x.shape[-2]), -2)
            x = _gather(x, strips(record["column_order"], x.shape[-1]), -1)
        top, left, height, width = record["box"].unbind(-1)
        x = _resized(x, top, height, -2)
        return mirror(_resized(x, left, width, -1), record["flip"])


def _below(u: Tensor, largest: Tensor) -> Tensor:
    """Uniform int64 in 0..largest."""
    import torch

    return torch.minimum((u.double() * (largest + 1)).floor().to(torch.int64), largest)


def strips(order: Tensor, side: int) -> Tensor:
    """Where each output pixel of one axis comes from, int64 [B, K, side].

    Args:
        order: int64 [B, K, f], the strips as they are shown. All have side // f pixels, the last
            one also the remainder.
        side: pixels of the axis, at least f.
    """
    import torch

    count = order.shape[-1]
    size = side // count
    lengths = torch.where(order == count - 1, side - size * (count - 1), size)
    ends = lengths.cumsum(-1)
    target = torch.arange(side, device=order.device).expand(*order.shape[:-1], side)
    place = torch.searchsorted(ends, target.contiguous(), right=True)
    return order.gather(-1, place) * size + target - (ends - lengths).gather(-1, place)


def _resized(x: Tensor, start: Tensor, length: Tensor, axis: int) -> Tensor:
    """The pixels start .. start + length - 1 of one axis, resized bilinearly to the whole axis.

    Args:
        x: [B, K, C, H, W].
        start, length: int64 [B or 1, K].
        axis: -2 or -1.
    """
    import torch

    side = x.shape[axis]
    target = torch.arange(side, device=x.device, dtype=x.dtype) + 0.5
    ratio = length.to(x.dtype) / side
    source = (ratio[..., None] * target - 0.5).clamp(min=0)
    lower = source.floor().to(torch.int64).minimum(length[..., None] - 1)
    upper = (lower + 1).minimum(length[..., None] - 1)
    share = source - lower
    share = share[:, :, None, :, None] if axis == -2 else share[:, :, None, None, :]
    first, second = (_gather(x, start[..., None] + index, axis) for index in (lower, upper))
    return first + share * (second - first)


def _gather(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """x [B, K, C, H, W] at ``index`` int64 [B or 1, K, side] of one axis."""
    index = index[:, :, None, :, None] if axis == -2 else index[:, :, None, None, :]
    return x.gather(axis, index.expand(x.shape))


AUGMENTATION = RandomResizedCrop
