"""Blocks with branches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ddbench.networks._backbone import Composite, Run


class Residual(Composite):
    """``after(body(x) + shortcut(x))``; an empty chain is the identity."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.after = body, shortcut, after

    def combine(self, run: Run, x: Tensor) -> Tensor:
        return run("after", run("body", x) + run("shortcut", x))


class TwoPaths(Composite):
    """Two paths whose channels are interleaved: concatenation and a shuffle of two groups.

    Without ``left`` the input is split: its first half passes unchanged (ShuffleNetV2, Ma et al.,
    ECCV 2018, figure 3c), else both paths read all of it (figure 3d).
    """

    def __init__(self, left: nn.Module | None, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def combine(self, run: Run, x: Tensor) -> Tensor:
        if self.left is None:
            left, half = x.chunk(2, dim=-3)
            right = run("right", half)
        else:
            left, right = run("left", x), run("right", x)
        return torch.stack((left, right), dim=-3).flatten(-4, -3)
