"""Storing images and F in fewer bits, so that what is read is what was trained on, bit for bit.

The caller rounds first (``round_features``, ``round_images``) and trains on the rounded values;
encoding these is then exact. Axes: N images, C channels, H, W, K classes, M features.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from torch import Tensor

from ddbench.distilled import Space

FeatureDtype = Literal["float32", "float16", "uint8_affine"]
ImageDtype = Literal["float32", "uint8"]
Array = np.ndarray[Any, Any]

_LEVELS = 255


class Encoded(NamedTuple):
    """F as stored: ``values`` [N or K, M, ...]; ``scale``, ``zero`` float32 [M] or None."""

    values: Array
    scale: Array | None = None
    zero: Array | None = None


def round_features(F: Tensor, dtype: FeatureDtype) -> Tensor:
    """The representable values nearest to F float32 [N or K, M, ...]; detached, same device.

    Raises:
        ValueError: an unknown dtype, values that are not finite or do not fit.
    """
    if dtype == "float32":
        return F.detach().float()
    return torch.from_numpy(decode_features(encode_features(_numpy(F), dtype))).to(F.device)


def round_images(x: Tensor, space: Space, dtype: ImageDtype) -> Tensor:
    """The representable values nearest to x float32 [N, C, H, W]; detached, same device.

    Raises:
        ValueError: ``uint8`` in a whitened space.
    """
    if dtype == "float32":
        return x.detach().float()
    return torch.from_numpy(decode_images(encode_images(_numpy(x), space), space)).to(x.device)


def encode_features(F: Array, dtype: FeatureDtype) -> Encoded:
    """F float32 [N or K, M, ...] as stored.

    ``uint8_affine``: F = q * scale + zero per feature set, q in 0..255, computed in float64 and
    rounded to float32. Idempotent: encoding decoded values gives the same parts.

    Raises:
        ValueError: an unknown dtype, values that are not finite or do not fit.
    """
    if dtype not in get_args(FeatureDtype):
        raise ValueError(f"F cannot be stored as '{dtype}'; allowed: {get_args(FeatureDtype)}")
    if F.ndim < len("NM"):
        raise ValueError(f"F must have the axes [N or K, M, ...], found shape {list(F.shape)}")
    if dtype == "float32":
        return Encoded(F)
    if not np.isfinite(F).all():
        raise ValueError(f"F holds values that are not finite and cannot be stored as {dtype}")
    if dtype == "uint8_affine":
        return _encode_affine(F)
    with np.errstate(over="ignore"):
        half = F.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError("F holds values beyond 65504, which do not fit float16")
    return Encoded(half)


def decode_features(encoded: Encoded) -> Array:
    """The float32 values that were trained on, [N or K, M, ...]."""
    values, scale, zero = encoded
    if scale is None or zero is None:
        return values.astype(np.float32, copy=False)
    decoded = np.empty(values.shape, np.float32)
    for m in range(values.shape[1]):
        decoded[:, m] = _grid(scale[m], zero[m])[values[:, m]]
    return decoded


def encode_images(x: Array, space: Space) -> Array:
    """x float32 [N, C, H, W] as uint8 pixels: the nearest of 0..255.

    Raises:
        ValueError: a whitened space, or values that are not finite.
    """
    if space.name not in ("unit", "meanstd"):
        raise ValueError(f"x in space '{space.name}' cannot be stored as uint8; use float32")
    if not np.isfinite(x).all():
        raise ValueError("x holds values that are not finite and cannot be stored as uint8")
    mean, std = _constants(space)
    pixels = np.rint((x.astype(np.float64) * std + mean) * _LEVELS)
    return cast(Array, np.clip(pixels, 0, _LEVELS).astype(np.uint8))


def decode_images(pixels: Array, space: Space) -> Array:
    """(pixels / 255 - mean) / std, in float32: [N, C, H, W]."""
    unit = pixels.astype(np.float32) / np.float32(_LEVELS)
    if space.name == "unit":
        return cast(Array, unit)
    mean, std = (constant.astype(np.float32) for constant in _constants(space))
    return cast(Array, (unit - mean) / std)


def _constants(space: Space) -> tuple[Array, Array]:
    """Mean and std float64 [C, 1, 1]; 0 and 1 in unit space."""
    mean, std = (space.mean, space.std) if space.mean else ((0.0,), (1.0,))
    return np.asarray(mean).reshape(-1, 1, 1), np.asarray(std).reshape(-1, 1, 1)


def _encode_affine(F: Array) -> Encoded:
    sets = F.shape[1]
    scale, zero = np.zeros(sets, np.float32), np.zeros(sets, np.float32)
    values = np.zeros(F.shape, np.uint8)
    for m in range(sets if F.size else 0):
        part = F[:, m] + np.float32(0.0)  # -0.0 becomes 0.0: the grid has one zero
        scale[m], zero[m] = _fit(part)
        values[:, m] = _nearest(part, _grid(scale[m], zero[m]))
    return Encoded(values, scale, zero)


def _fit(part: Array) -> tuple[np.float32, np.float32]:
    """A scale that the rounded values lead back to.

    Rounding changes the maximum, from which the scale is found again. With the scale rounded
    down the maximum never grows, so repeating ends at one that stays.
    """
    zero, top = part.min(), part.max()
    while True:
        step = (float(top) - float(zero)) / _LEVELS
        scale = np.float32(step)
        if float(scale) > step:
            scale = np.nextafter(scale, np.float32(0.0))
        rounded = _grid(scale, zero)[-1]
        if rounded == top:
            return scale, zero
        top = rounded


def _grid(scale: np.float32, zero: np.float32) -> Array:
    """The 256 values that can be stored, float32, never decreasing."""
    levels = np.arange(_LEVELS + 1, dtype=np.float64)
    return cast(Array, (levels * float(scale) + float(zero)).astype(np.float32))


def _nearest(part: Array, grid: Array) -> Array:
    """The lowest index of the grid value nearest to each element."""
    above = np.clip(np.searchsorted(grid, part), 1, _LEVELS)
    exact, wide = part.astype(np.float64), grid.astype(np.float64)
    below = exact - wide[above - 1] <= wide[above] - exact
    nearest = grid[np.where(below, above - 1, above)]
    return cast(Array, np.searchsorted(grid, nearest).astype(np.uint8))


def _numpy(tensor: Tensor) -> Array:
    return cast(Array, tensor.detach().cpu().float().numpy())
