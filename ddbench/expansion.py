"""Turned and mirrored copies appended to a set before it is trained on.

STM (HaowenGuan/Galaxy-Dataset-Distillation ``utils.py:837-869``): meant for images without an
upright, such as galaxies. Axes: N images, C channels, H, W.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ddbench.errors import BadInput

_COPIES = {
    "hflip": lambda x: x.flip(-1),
    "vflip": lambda x: x.flip(-2),
    "transpose": lambda x: x.transpose(-1, -2),
}


def factor(copies: Sequence[str]) -> int:
    """How many times as many images there are afterwards."""
    return (1 + sum(copy != "rotate" for copy in copies)) * (4 if "rotate" in copies else 1)


def expanded(x: Tensor, copies: Sequence[str]) -> Tensor:
    """x [N, C, H, W] with its copies behind it, [factor N, C, H, W].

    ``hflip``, ``vflip`` and ``transpose`` each append a copy of the original set; ``rotate`` then
    appends all of that turned by 90, 180 and 270 degrees. Labels repeat as a whole.

    Raises:
        BadInput: images that are not square are to be turned.
    """
    if {"transpose", "rotate"} & set(copies) and x.shape[-1] != x.shape[-2]:
        raise BadInput(f"images of {x.shape[-2]}x{x.shape[-1]} cannot be turned",
                       field="evaluation.expand", allowed="hflip, vflip")  # fmt: skip
    every = torch.cat([x, *(_COPIES[copy](x) for copy in copies if copy != "rotate")])
    if "rotate" not in copies:
        return every
    return torch.cat([every, *(every.rot90(turns, (-2, -1)) for turns in (1, 2, 3))])
