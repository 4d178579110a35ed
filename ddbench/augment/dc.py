"""The augmentation with which DC trains its evaluation networks (Zhao et al., ICLR 2021).

Axes: B images, K members of a stack, C channels, H, W. For DC's recipes: ``crop_scale_rotate`` on
MNIST, ``crop_noise`` for networks with batch norm, none elsewhere.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from ddbench.augment import (
    Augmentation,
    Record,
    Shape,
    integers,
    parse_strategy,
    per_image,
    shift,
    spread,
    take,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OPERATIONS = ("crop", "scale", "rotate", "noise")
_SLOTS = {"crop": 2, "scale": 2, "rotate": 1}


class DC(Augmentation):
    """One operation of the strategy per image.

    - crop: pad by ``crop`` pixels with the channel means of the batch, cut out at an offset in
      0..2 crop - 1;
    - scale: nearest-neighbour resize to (int(f H), int(g H)), f and g in [1 - scale, 1 + scale),
      centred on a zero square and cut back to (H, W);
    - rotate: by a whole number of degrees in [-rotate, rotate), cubic spline, as
      ``scipy.ndimage.rotate`` and then a centre crop; outside of the image stands the mean of the
      channel means of the batch;
    - noise: x + noise z, z standard normal per pixel.

    "The batch" is the un-augmented batch of one member. The record holds int64 [B, K] ``choice``
    (position in the strategy) and, of the strategy's operations, int64 [B, K, 2] ``crop_offset``
    (row, column), float [B, K, 2] ``scale_hw``, int64 [B, K] ``angle_deg``, float [B, K, C, H, W]
    ``noise``.
    """

    name: Literal["dc"] = "dc"
    strategy: str = Field(
        default="crop_scale_rotate",
        description="operations joined by '_', each of crop, scale, rotate, noise",
    )
    crop: int = Field(default=4, ge=1, le=64, description="padding before the crop, in pixels")
    scale: float = Field(default=0.2, ge=0, lt=1, description="largest relative change of a side")
    rotate: int = Field(default=45, ge=1, le=180, description="largest angle in degrees")
    noise: float = Field(default=0.001, ge=0, description="standard deviation of the noise")

    @field_validator("strategy")
    @classmethod
    def _known(cls, strategy: str) -> str:
        parse_strategy(strategy, OPERATIONS)
        return strategy

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations of the strategy, in its order."""
        return tuple(self.strategy.split("_"))

    def uniforms(self, shape: Shape) -> int:
        """One for the choice, then those of each operation; noise needs one per pixel."""
        return 1 + sum(_slots(operation, shape) for operation in self.operations)

    def record(self, u: Tensor, shape: Shape) -> Record:
        record = {"choice": integers(u[..., 0], len(self.operations))}
        start = 1
        for operation in self.operations:
            stop = start + _slots(operation, shape)
            part = u[..., start:stop]
            start = stop
            match operation:
                case "crop":
                    record["crop_offset"] = integers(part, 2 * self.crop)
                case "scale":
                    record["scale_hw"] = 1 + self.scale * (2 * part - 1)
                case "rotate":
                    record["angle_deg"] = integers(part[..., 0], 2 * self.rotate) - self.rotate
                case "noise":
                    record["noise"] = _normal(part, shape)
        return record

    def apply(self, x: Tensor, record: Record) -> Tensor:
        import torch

        x = spread(x, record["choice"])
        means = x.mean((0, 3, 4), keepdim=True)
        out = x
        for position, operation in enumerate(self.operations):
            chosen = per_image(record["choice"] == position)
            out = torch.where(chosen, self._changed(x, record, operation, means), out)
        return out

    def _changed(self, x: Tensor, record: Record, operation: str, means: Tensor) -> Tensor:
        """x under one operation; ``means`` [1, K, C, 1, 1] of the batch."""
        match operation:
            case "crop":
                rows, columns = (record["crop_offset"] - self.crop).unbind(-1)
                return shift(x, rows, columns, means)
            case "scale":
                return _scale(x, record["scale_hw"])
            case "rotate":
                return _rotate(x, record["angle_deg"], means.mean(2, keepdim=True))
        return x + self.noise * record["noise"].to(x.dtype)


def _slots(operation: str, shape: Shape) -> int:
    """Uniform numbers per image; normal ones are made in pairs, so noise takes an even number."""
    return _SLOTS.get(operation) or 2 * math.ceil(math.prod(shape) / 2)


def _normal(u: Tensor, shape: Shape) -> Tensor:
    """Standard normal [B, K, C, H, W] from uniform [B, K, n] numbers (Box and Muller, 1958)."""
    import torch

    first, second = u.chunk(2, dim=-1)
    radius = (-2 * torch.log1p(-first)).sqrt()  # log(1 - u): u can be 0 but not 1
    angle = 2 * math.pi * second
    both = torch.cat((radius * angle.cos(), radius * angle.sin()), dim=-1)
    return both[..., : math.prod(shape)].reshape(*u.shape[:-1], *shape)


def _scale(x: Tensor, factors: Tensor) -> Tensor:
    """Resize to factors [B, K, 2] times H, centred on a zero square, cut back to (H, W)."""
    import torch

    height, width = x.shape[-2:]
    # Both sides come from the height: VICO-UoE/DatasetCondensation utils.py:365-445.
    sizes = (factors * height).floor().clamp(min=1).to(torch.int64)
    square = sizes.amax(-1).clamp(min=max(height, width))
    rows = _resized(sizes[..., 0], square, height)
    columns = _resized(sizes[..., 1], square, width)
    return take(x, rows, columns, 0.0)


def _resized(size: Tensor, square: Tensor, side: int) -> Tensor:
    """The source index of each output pixel along one axis, int64 [B, K, side]; -1: outside.

    Args:
        size: [B, K] the side after the resize.
        square: [B, K] the side of the canvas on which it is centred.
        side: the side before the resize and of the output.
    """
    import torch

    size, square = size[..., None], square[..., None]
    cut, placed = (square - side) // 2, (square - size) // 2
    target = torch.arange(side, device=size.device) + cut - placed
    # interpolate(mode="nearest") forms its index in float32, which decides exact ratios.
    divisor = size.to(torch.float32)
    # A number over a tensor would be rounded twice: as the number times the reciprocal.
    ratio = torch.full_like(divisor, side) / divisor
    source = (target * ratio).floor().to(torch.int64).clamp(max=side - 1)
    return torch.where((target >= 0) & (target < size), source, -1)


def _rotate(x: Tensor, degrees: Tensor, fill: Tensor) -> Tensor:
    """``scipy.ndimage.rotate(order=3, reshape=True)`` of x, centre-cropped to (H, W).

    x is turned into cubic B-spline coefficients (a fixed linear map along each axis), which the 4x4
    B-spline weights at the rotated positions turn back into pixels. ``fill`` [1, K, 1, 1, 1] stands
    where a position falls outside of [0, H-1] x [0, W-1].
    """
    import torch

    height, width = x.shape[-2:]
    # As scipy, in float64: exact, never rounded to TF32, and cheap at image sizes.
    filters = (_prefilter(height, x.device), _prefilter(width, x.device))
    coefficients = (filters[0] @ x.double() @ filters[1].mT).to(x.dtype).flatten(-2)
    row, column = _positions(degrees, height, width)
    inside = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
    rows, row_weights = _neighbours(row.clamp(0, height - 1), height, x.dtype)
    columns, column_weights = _neighbours(column.clamp(0, width - 1), width, x.dtype)
    out = torch.zeros_like(coefficients)
    for i in range(4):
        for j in range(4):
            index = (rows[i] * width + columns[j]).flatten(-2)[:, :, None]
            weight = (row_weights[i] * column_weights[j]).flatten(-2)[:, :, None]
            out = out + weight * coefficients.gather(-1, index.expand(coefficients.shape))
    return torch.where(inside[:, :, None], out.reshape(x.shape), fill)


def _positions(degrees: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Input (row, column) shown by each output pixel, float64 [B, K, H, W] each.

    float64 whatever the images' dtype: the comparison with the image border must not depend on
    rounding.
    """
    import torch

    angle = torch.deg2rad(degrees.double())[..., None, None]
    cos, sin = angle.cos(), angle.sin()
    down = _from_centre(cos.abs() * height + sin.abs() * width, height)[..., :, None]
    right = _from_centre(sin.abs() * height + cos.abs() * width, width)[..., None, :]
    row = cos * down + sin * right + (height - 1) / 2
    column = -sin * down + cos * right + (width - 1) / 2
    return row, column


def _from_centre(extent: Tensor, side: int) -> Tensor:
    """Distance of the kept pixels from the centre of the full-size output, [B, K, side].

    ``extent`` [B, K, 1, 1] is the exact side of the rotated image; scipy rounds it to whole pixels,
    so the kept part is off centre by half a pixel where the parities of the two sides differ.
    """
    import torch

    full = (extent[..., 0] + 0.5).floor()
    start = ((full - side) / 2).trunc()
    return torch.arange(side, device=extent.device) + start - (full - 1) / 2


def _neighbours(
    position: Tensor, side: int, dtype: torch.dtype
) -> tuple[list[Tensor], list[Tensor]]:
    """The four spline knots around each position in [0, side-1], and their B-spline weights.

    Knots beyond the border are mirrored about the outermost pixel.
    """
    import torch

    base = position.floor()
    t = (position - base).to(dtype)
    first = base.to(torch.int64) - 1
    last = side - 1
    # clamp: on images of 1 or 2 pixels a knot of weight 0 would still be outside.
    knots = [(last - (last - (first + k).abs()).abs()).clamp(0, last) for k in range(4)]
    s = 1 - t
    weights = [
        s**3 / 6,
        (4 - 6 * t**2 + 3 * t**3) / 6,
        (4 - 6 * s**2 + 3 * s**3) / 6,
        t**3 / 6,
    ]
    return knots, weights


@cache
def _prefilter(side: int, device: torch.device) -> Tensor:
    """The map from pixels to cubic B-spline coefficients of one axis, float64 [side, side]."""
    import numpy
    import torch
    from scipy.ndimage import spline_filter1d

    matrix = spline_filter1d(numpy.eye(side), order=3, axis=0, output=numpy.float64, mode="mirror")
    with torch.inference_mode(False):  # cached: a tensor of inference mode could not be trained on
        return torch.from_numpy(matrix).to(device)


AUGMENTATION = DC
