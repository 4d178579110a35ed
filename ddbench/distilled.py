"""The distilled set (x, y, F): what every method makes and every protocol trains on.

Axes: N synthetic images, C channels, H, W, K classes, M features per image or class.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

SpaceName = Literal["unit", "meanstd", "zca", "kip_zca"]
LabelKind = Literal["index", "probability", "logit", "centred"]


@dataclass(frozen=True)
class Whitening:
    """A fitted ZCA transform: z = (x_flat - mean) @ matrix, x_flat = z @ inverse + mean.

    ``mean`` float32 [1, P], ``matrix`` and ``inverse`` float32 [P, P], P = C*H*W.
    """

    mean: Tensor
    matrix: Tensor
    inverse: Tensor


@dataclass(frozen=True)
class Space:
    """The value space of x: what was done to pixels in [0, 1] to get it.

    ``unit``: nothing. ``meanstd``: (pixel - mean) / std per channel. ``zca``, ``kip_zca``:
    whitened.
    """

    name: SpaceName
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    whitening: Whitening | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(SpaceName):
            raise ValueError(f"space '{self.name}' is not one of {get_args(SpaceName)}")
        if (self.name == "meanstd") != bool(self.mean and self.std):
            raise ValueError("mean and std belong to space 'meanstd', and only to it")


@dataclass(frozen=True)
class DistilledSet:
    """A synthetic training set.

    Attributes:
        x: float32 [N, C, H, W] in ``space``.
        y: int64 [N] (kind ``index``) or float32 [N, K] (``probability``, ``logit``, ``centred``).
        kind: what y holds.
        space: the value space of x.
        F: privileged features, float32 [N, M, ...] (per image) or [K, M, ...] (per class), or None.
        features: the settings of F as plain data (the resolved ``features`` block, the network that
            F belongs to, the shape of one item); empty without F.
        lr: the learned step size of the student, where a method learns one; several where it
            learns one per stage of the trajectory (STM).

    Raises:
        ValueError: shapes or dtypes that do not fit together.
    """

    x: Tensor
    y: Tensor
    space: Space
    kind: LabelKind = "index"
    F: Tensor | None = None
    features: dict[str, Any] = field(default_factory=dict)
    lr: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.x.dim() != 4 or not self.x.is_floating_point():
            raise ValueError(f"x must be float [N, C, H, W], found {_describe(self.x)}")
        hard = self.kind == "index"
        if self.y.dim() != (1 if hard else 2) or (self.y.dtype == torch.int64) != hard:
            raise ValueError(f"y of kind '{self.kind}' cannot be {_describe(self.y)}")
        if len(self.y) != len(self.x):
            raise ValueError(f"{len(self.x)} images but {len(self.y)} labels")
        if self.F is not None and self.features.get("granularity") != "per_class":
            if len(self.F) != len(self.x):
                raise ValueError(f"{len(self.x)} images but {len(self.F)} feature labels")
        if (self.F is None) != (not self.features):
            raise ValueError("F and its settings come together")

    def __len__(self) -> int:
        return len(self.x)

    def without_features(self) -> DistilledSet:
        """The same set as (x, y)."""
        return replace(self, F=None, features={})

    def to(self, device: torch.device | str) -> DistilledSet:
        """The same set on ``device``."""
        return replace(
            self,
            x=self.x.to(device),
            y=self.y.to(device),
            F=None if self.F is None else self.F.to(device),
        )


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
