"""IDC's multi-formation: one stored image holds f x f images at lower resolution.

After Kim et al. 2022, "Dataset Condensation via Efficient Synthetic-Data Parameterization",
section 4 (snu-mllab/Efficient-Dataset-Condensation condense.py:24-181). Differentiable.
Axes: N stored images, C, H, W, f the factor.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Decoding = Literal["single", "multi", "bound"]
_PADDING = 0.5  # grey, where f does not divide the side


def decode(x: Tensor, y: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The f^2 crops of every image of one class, each resized to the whole size.

    Args:
        x: float [N, C, H, W] in [0, 1] or close to it.
        y: labels, [N] or [N, K].
        factor: f >= 1; 1 gives the input.

    Returns:
        images [f^2 N, C, H, W] and their labels, crop-major: all images' first crop, then all
        second ones, crops row by row.
    """
    if factor == 1:
        return x, y
    height, width = x.shape[2:]
    step_h, step_w = -(-height // factor), -(-width // factor)
    margins = (0, factor * step_w - width, 0, factor * step_h - height)
    padded = torch.nn.functional.pad(x, margins, value=_PADDING)
    crops = torch.cat([
        padded[:, :, i * step_h : (i + 1) * step_h, j * step_w : (j + 1) * step_w]
        for i in range(factor) for j in range(factor)
    ])  # fmt: skip
    grown = torch.nn.functional.interpolate(
        crops, size=(height, width), mode="bilinear", align_corners=False
    )
    return grown, y.repeat(factor**2, *[1] * (y.dim() - 1))


def decode_multi(x: Tensor, y: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Factors 1 to ``factor``, one after the other."""
    return _joined([decode(x, y, f) for f in range(1, factor + 1)])


def decode_bound(x: Tensor, y: Tensor, factor: int, bound: int) -> tuple[Tensor, Tensor]:
    """Every image of one class by one factor: the largest first, while no more than ``bound``.

    Room for one image each is kept for those that are left.
    """
    parts, made, done = [], 0, 0
    for f in range(factor, 0, -1):
        left = len(x) - done
        count = left if f == 1 else max(0, min((bound - made - left) // f**2, left))
        if count:
            parts.append(decode(x[done : done + count], y[done : done + count], f))
        done, made = done + count, made + count * f**2
    return _joined(parts)


def decode_set(
    x: Tensor, y: Tensor, factor: int, kind: Decoding = "single", bound: int = 128
) -> tuple[Tensor, Tensor]:
    """Class by class, classes in ascending order; y int64 [N]."""
    parts = []
    for label in y.unique().tolist():
        rows = y == label
        if kind == "multi":
            parts.append(decode_multi(x[rows], y[rows], factor))
        elif kind == "bound":
            parts.append(decode_bound(x[rows], y[rows], factor, bound))
        else:
            parts.append(decode(x[rows], y[rows], factor))
    return _joined(parts)


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])
