"""Differentiable siamese augmentation (Zhao and Bilen, ICML 2021, arXiv 2102.08259).

Axes: B images, K members of a stack, C channels, H, W. Works on normalised or whitened images;
nothing is clamped afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from ddbench.augment import (
    Augmentation,
    Record,
    Shape,
    integers,
    mirror,
    parse_strategy,
    per_image,
    shift,
    spread,
)

if TYPE_CHECKING:
    from torch import Tensor

PARAMETERS: dict[str, tuple[str, ...]] = {
    "color": ("brightness_u", "saturation_u", "contrast_u"),
    "crop": ("crop_dx", "crop_dy"),
    "cutout": ("cutout_ox", "cutout_oy"),
    "flip": ("flip_u",),
    "scale": ("scale_sx", "scale_sy"),
    "rotate": ("rotate_rad",),
}
RESAMPLED = ("scale", "rotate")


class DSA(Augmentation):
    """Color, crop, cutout, flip, scale and rotate, each differentiable in x.

    With u uniform in [0, 1), one per image, and m a mean:

    - color: x + (u - 0.5) brightness; then (x - m) (u saturation) + m, m over C of each pixel; then
      (x - m) (u + contrast) + m, m over C, H, W;
    - crop: out[i, j] = x[i + dx, j + dy], zero outside; |dx| <= int(ratio_crop_pad H + 0.5);
    - cutout: a box with sides s = int(ratio_cutout size + 0.5), rows o - s//2 ... o - s//2 + s - 1,
      set to zero; the centre o is in 0..size for an even s, in 0..size-1 for an odd one;
    - flip: left to right where u < prob_flip;
    - scale: sampling coordinates times (sx, sy), each in [1/ratio_scale, ratio_scale];
    - rotate: sampling coordinates turned by at most ratio_rotate degrees; a positive angle turns
      the picture counter-clockwise.

    Scale and rotate sample bilinearly with zero padding and ``align_corners=True``, which was the
    default of the PyTorch 1.2 that VICO-UoE/DatasetCondensation pins and is not today's.

    Mode ``single`` draws one operation per batch and member, as the paper, or with ``per_image``
    one per image; mode ``multiple`` applies all in the order of the strategy. The record holds
    float [B or 1, K] ``brightness_u``, ``saturation_u``, ``contrast_u``, ``flip_u``, ``scale_sx``,
    ``scale_sy`` (horizontal, vertical), ``rotate_rad``, int64 [B or 1, K] ``crop_dx``,
    ``cutout_ox`` (rows), ``crop_dy``, ``cutout_oy`` (columns) and, in mode ``single``, int64
    [1, K] (``per_image``: [B, K]) ``op``, the position in the strategy.
    """

    name: Literal["dsa"] = "dsa"
    strategy: str = Field(
        default="color_crop_cutout_flip_scale_rotate",
        description="operations joined by '_', each of color, crop, cutout, flip, scale, rotate",
    )
    mode: Literal["single", "multiple"] = Field(
        default="single", description="one operation per batch, or all of them in order"
    )
    per_image: bool = Field(
        default=False, description="mode single: draw the operation for every image"
    )
    prob_flip: float = Field(
        default=0.5, ge=0, le=1, description="probability of a horizontal flip"
    )
    ratio_scale: float = Field(default=1.2, ge=1, le=10, description="largest scale factor")
    ratio_rotate: float = Field(default=15.0, ge=0, le=180, description="largest angle in degrees")
    ratio_crop_pad: float = Field(
        default=0.125, ge=0, le=1, description="largest shift over image side"
    )
    ratio_cutout: float = Field(
        default=0.5, ge=0, le=1, description="side of the box over image side"
    )
    brightness: float = Field(default=1.0, ge=0, description="range of the brightness offset")
    saturation: float = Field(default=2.0, ge=0, description="largest saturation factor")
    contrast: float = Field(default=0.5, ge=0, description="smallest contrast factor; range is 1")

    @field_validator("strategy")
    @classmethod
    def _known(cls, strategy: str) -> str:
        parse_strategy(strategy, tuple(PARAMETERS))
        return strategy

    @model_validator(mode="after")
    def _one_choice(self) -> DSA:
        if self.per_image and self.mode == "multiple":
            raise ValueError("per_image chooses one operation; mode multiple applies them all")
        return self

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations of the strategy, in its order."""
        return tuple(self.strategy.split("_"))

    def uniforms(self, shape: Shape) -> int:
        """One for the choice of the operation, then one per parameter of the strategy."""
        return 1 + sum(len(PARAMETERS[operation]) for operation in self.operations)

    def record(self, u: Tensor, shape: Shape) -> Record:
        parameters = [name for operation in self.operations for name in PARAMETERS[operation]]
        record = {
            name: self._parameter(name, u[..., column], shape)
            for column, name in enumerate(parameters, start=1)
        }
        if self.mode == "single":
            chosen = u[..., 0] if self.per_image else u[:1, :, 0]
            record["op"] = integers(chosen, len(self.operations))
        return record

    def _parameter(self, name: str, u: Tensor, shape: Shape) -> Tensor:
        """The value of one parameter, [B, K], from its uniform numbers."""
        side = shape[2] if name in ("crop_dy", "cutout_oy") else shape[1]
        match name:
            case "crop_dx" | "crop_dy":
                reach = _rounded(self.ratio_crop_pad, side)
                return integers(u, 2 * reach + 1) - reach
            case "cutout_ox" | "cutout_oy":
                box = _rounded(self.ratio_cutout, side)
                return integers(u, side + 1 - box % 2)
            case "scale_sx" | "scale_sy":
                return u * (self.ratio_scale - 1 / self.ratio_scale) + 1 / self.ratio_scale
            case "rotate_rad":
                return (u - 0.5) * (2 * math.radians(self.ratio_rotate))
        return u

    def apply(self, x: Tensor, record: Record) -> Tensor:
        some = next(value for name, value in record.items() if name != "op")
        x = spread(x, some)
        if self.mode == "single":
            return self._apply_one(x, record)
        for operation in self.operations:
            x = self._changed(x, record, operation)
        return x

    def _apply_one(self, x: Tensor, record: Record) -> Tensor:
        """Every operation of x itself, selected by ``op``: an idle one cannot touch a bit."""
        import torch

        out = x
        for operation in self.operations:
            if operation not in RESAMPLED:
                changed = self._changed(x, record, operation)
                out = torch.where(self._active(operation, record), changed, out)
        return self._resample_active(x, record, out)

    def _resample_active(self, x: Tensor, record: Record, out: Tensor) -> Tensor:
        """Scale or rotate x where that is the active operation, ``out`` elsewhere.

        One sampling serves both: it is the dearest operation, and at most one of them is active.
        """
        import torch

        present = [operation for operation in RESAMPLED if operation in self.operations]
        if not present:
            return out
        matrix = _matrix(present[0], record, x)
        active = self._active(present[0], record)
        for operation in present[1:]:
            other = _matrix(operation, record, x)
            here = self._active(operation, record)
            pairs = zip(other, matrix, strict=True)
            matrix = tuple(torch.where(here[..., 0], new, old) for new, old in pairs)
            active = active | here
        return torch.where(active, _resample(x, matrix), out)

    def _active(self, operation: str, record: Record) -> Tensor:
        """Where ``operation`` is applied: bool [1 or B, K, 1, 1, 1]."""
        return per_image(record["op"] == self.operations.index(operation))

    def _changed(self, x: Tensor, record: Record, operation: str) -> Tensor:
        if operation in RESAMPLED:
            return _resample(x, _matrix(operation, record, x))
        return _CHANGES[operation](self, x, record)


def _rounded(ratio: float, side: int) -> int:
    return int(ratio * side + 0.5)


def _color(spec: DSA, x: Tensor, record: Record) -> Tensor:
    brightness, saturation, contrast = (
        per_image(record[name]).to(x.dtype) for name in PARAMETERS["color"]
    )
    x = x + (brightness - 0.5) * spec.brightness
    mean = x.mean(2, keepdim=True)
    x = (x - mean) * (saturation * spec.saturation) + mean
    mean = x.mean((2, 3, 4), keepdim=True)
    return (x - mean) * (contrast + spec.contrast) + mean


def _crop(spec: DSA, x: Tensor, record: Record) -> Tensor:
    return shift(x, record["crop_dx"], record["crop_dy"], 0.0)


def _cutout(spec: DSA, x: Tensor, record: Record) -> Tensor:
    rows = _within(record["cutout_ox"], x.shape[-2], spec.ratio_cutout)
    columns = _within(record["cutout_oy"], x.shape[-1], spec.ratio_cutout)
    return x.masked_fill(rows[:, :, None, :, None] & columns[:, :, None, None, :], 0.0)


def _within(centre: Tensor, side: int, ratio: float) -> Tensor:
    """Which pixels of one axis the box covers: bool [B, K, side] from its centre [B, K]."""
    import torch

    box = _rounded(ratio, side)
    offset = torch.arange(side, device=centre.device) - (centre[..., None] - box // 2)
    return (offset >= 0) & (offset < box)


def _flip(spec: DSA, x: Tensor, record: Record) -> Tensor:
    return mirror(x, record["flip_u"] < spec.prob_flip)


_CHANGES: dict[str, Callable[[DSA, Tensor, Record], Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
}


def _matrix(operation: str, record: Record, x: Tensor) -> tuple[Tensor, ...]:
    """The sampling matrix (a, b; c, d) as four tensors [B or 1, K, 1, 1].

    Output pixel (horizontal h, vertical v) in [-1, 1] shows the input at (a h + b v, c h + d v).
    """
    if operation == "scale":
        sx, sy = (record[name][..., None, None].to(x.dtype) for name in PARAMETERS["scale"])
        none = sx * 0
        return sx, none, none, sy
    angle = record["rotate_rad"][..., None, None].to(x.dtype)
    return angle.cos(), -angle.sin(), angle.sin(), angle.cos()


def _resample(x: Tensor, matrix: tuple[Tensor, ...]) -> Tensor:
    """Bilinear sampling of x [B, K, C, H, W] at linearly mapped pixel positions."""
    import torch
    from torch.nn.functional import grid_sample

    batch, members, channels, height, width = x.shape
    a, b, c, d = matrix
    # Written out, because affine_grid multiplies matrices, which a GPU may round to TF32.
    vertical = torch.linspace(-1, 1, height, dtype=x.dtype, device=x.device)[:, None]
    horizontal = torch.linspace(-1, 1, width, dtype=x.dtype, device=x.device)
    grid = torch.stack((a * horizontal + b * vertical, c * horizontal + d * vertical), dim=-1)
    grid = grid.expand(batch, members, -1, -1, -1).reshape(-1, height, width, 2)
    images = x.reshape(-1, channels, height, width)
    return grid_sample(images, grid, align_corners=True).reshape(x.shape)


AUGMENTATION = DSA
