"""Mixing the images of a batch with one another: MixUp and CutMix, as pure functions.

Axes: B images of a batch, K members of a stack, C channels, H, W. Each member has one permutation,
one share and one box per batch, as the references do. Nothing here waits for the device.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ddbench import augment
from ddbench.protocols import Mix

_POINTS = 4096
Record = dict[str, Tensor]


def uniforms(batch: int) -> int:
    """How many numbers from [0, 1) a member needs for a batch: partners, share and centre."""
    return batch + 3


def record(mix: Mix, u: Tensor, height: int, width: int) -> Record:
    """Parameters from uniform numbers u [B + 3, K].

    ``partner`` int64 [B, K]: whom each image is mixed with; ``share`` [K]: lambda ~ Beta(a, a), the
    part of the own image; with CutMix ``box`` int64 [4, K]: the rows and columns x1, x2, y1, y2
    that show the partner. The box has sides int(side * sqrt(1 - lambda)), a uniform centre, and is
    cut off at the edges without lambda being corrected (VILA-Lab/SRe2L and
    shaoshitong/G_VBSM_Dataset_Condensation ``relabel/utils_fkd.py:195-228``).
    """
    partner, (share, row, column) = u[:-3].argsort(dim=0, stable=True), u[-3:]
    found = {"partner": partner, "share": beta_quantile(share, mix.alpha)}
    if mix.name == "cutmix":
        centre = torch.stack([augment.integers(row, height), augment.integers(column, width)])
        found["box"] = cutmix_box(found["share"], centre, height, width)
    return found


def cutmix_box(share: Tensor, centre: Tensor, height: int, width: int) -> Tensor:
    """int64 [4, K] (x1, x2, y1, y2; x along H) from shares [K] and centres int64 [2, K]."""
    cut = (1 - share.double()).sqrt()
    half_h, half_w = ((cut * side).long() // 2 for side in (height, width))
    row, column = centre
    rows = torch.stack([row - half_h, row + half_h]).clamp(0, height)
    columns = torch.stack([column - half_w, column + half_w]).clamp(0, width)
    return torch.cat([rows, columns])


def apply(x: Tensor, how: Record) -> Tensor:
    """Mixed images [B, K, C, H, W]; x is unchanged and gradients flow to it.

    MixUp: lambda x + (1 - lambda) x[partner]. CutMix: x[partner] inside the box, x outside.
    """
    partner = how["partner"]
    x = x.expand(-1, partner.shape[1], -1, -1, -1)
    other = x.gather(0, partner[:, :, None, None, None].expand_as(x))
    if "box" not in how:
        share = how["share"].to(x.dtype)[None, :, None, None, None]
        return share * x + (1 - share) * other
    x1, x2, y1, y2 = how["box"][:, None, :, None]
    rows = torch.arange(x.shape[-2], device=x.device)
    columns = torch.arange(x.shape[-1], device=x.device)
    inside_rows, inside_columns = (rows >= x1) & (rows < x2), (columns >= y1) & (columns < y2)
    inside = inside_rows[..., :, None] & inside_columns[..., None, :]
    return torch.where(inside[:, :, None], other, x)


def beta_quantile(u: Tensor, alpha: float) -> Tensor:
    """The quantiles of Beta(alpha, alpha) at u in [0, 1), by interpolation in a table.

    The table has 4096 equal steps of u; alpha 1 is the uniform distribution.
    """
    table = _quantiles(alpha, u.device)
    place = u.double() * _POINTS
    index = place.long().clamp(max=_POINTS - 1)
    low, high = table[index], table[index + 1]
    return (low + (place - index) * (high - low)).to(u.dtype)


@cache
def _quantiles(alpha: float, device: torch.device) -> Tensor:
    from scipy.special import betaincinv

    steps = torch.linspace(0, 1, _POINTS + 1, dtype=torch.float64)
    return torch.from_numpy(betaincinv(alpha, alpha, steps.numpy())).to(device)
