"""Wide residual networks (Zagoruyko & Komodakis, BMVC 2016)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from ddbench.networks import Shape
from ddbench.networks._adaptation import strides
from ddbench.networks._described import Described
from ddbench.networks._layers import (
    Chain,
    Conv,
    GlobalPool,
    Layer,
    Normalise,
    Rectify,
    Residual,
    chain,
    conv_norm,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ddbench.networks._backbone import Backbone

_NAME = re.compile(r"WRN[-_]?(?P<depth>\d{2,3})[-_](?P<widen>[1-9]\d?)")
_ACTIVATION: tuple[Layer, Layer] = (Normalise("batch"), Rectify())


class WRN(Described):
    """``WRN-d-k``: d = 6n + 4 layers, three groups of n pre-activation units of 16k, 32k, 64k.

    Batch normalisation, no dropout, 1x1 shortcut where channels change, global pool
    (G-VBSM ``models/wrn.py:60-91``, whose ``WRN_16_2`` is the default). Convolutions start as
    N(0, 2 / fan_out), the classifier's bias at 0. The stem and each group are blocks.
    """

    examples: ClassVar[tuple[str, ...]] = ("WRN-16-2", "WRN-28-10", "WRN-40-2")

    depth: int = Field(16, ge=10, le=100, description="layers with weights, 6n + 4")
    widen: int = Field(2, ge=1, le=20, description="widening factor k")
    width: int = Field(16, ge=1, le=256, description="channels of the stem")

    @classmethod
    def spelling(cls, name: str) -> dict[str, Any] | None:
        match = _NAME.fullmatch(name)
        if match is None or (int(match["depth"]) - 4) % 6 or int(match["depth"]) < 10:
            return None
        return {"depth": int(match["depth"]), "widen": int(match["widen"])}

    @property
    def label(self) -> str:
        width = "" if self.width == 16 else f"-W{self.width}"
        return f"WRN-{self.depth}-{self.widen}{width}"

    @property
    def batch_norm(self) -> bool:
        return True

    def narrow(self) -> WRN:
        return WRN(name=f"WRN-{self.depth}-1", depth=self.depth, widen=1, width=4)

    def blocks(self, shape: Shape) -> list[Chain]:
        blocks = [chain(Conv(self.width, 3, padding=1, bias=False))]
        for group in range(3):
            units: list[Layer] = []
            shape = blocks[-1].out(shape)
            inputs, width = shape[0], self.width * self.widen << group
            stride = 2 if group > 0 and strides(shape) else 1
            for _ in range((self.depth - 4) // 6):
                units += _unit(inputs, width, stride)
                inputs, stride = width, 1
            blocks.append(chain(*units))
        blocks[-1] = chain(*blocks[-1].layers, *_ACTIVATION, GlobalPool())
        return blocks

    def initial_state(self, module: Backbone, generator: torch.Generator) -> dict[str, Tensor]:
        from ddbench.networks import _initial

        state = _initial.kaiming_fan_out(module, generator)
        state["classifier.bias"].zero_()
        return state


def _unit(inputs: int, width: int, stride: int) -> tuple[Layer, ...]:
    """A unit's activation is shared with its shortcut where that is a convolution."""
    first = conv_norm(Conv(width, 3, stride, 1, bias=False), "batch")
    body = (*first, Conv(width, 3, padding=1, bias=False))
    if inputs == width and stride == 1:
        return (Residual(chain(*_ACTIVATION, *body)),)
    return (*_ACTIVATION, Residual(chain(*body), chain(Conv(width, 1, stride, bias=False))))


NETWORK = WRN
