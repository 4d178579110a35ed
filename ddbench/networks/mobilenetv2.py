"""MobileNetV2 (Sandler et al., CVPR 2018) for small images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from ddbench.networks import Shape
from ddbench.networks._adaptation import strides
from ddbench.networks._described import Described
from ddbench.networks._layers import Chain, Conv, GlobalPool, Layer, Residual, chain, conv_norm

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ddbench.networks._backbone import Backbone

_NAME = re.compile(r"MobileNetV2(?:_(?P<whole>[01])_(?P<part>\d{1,2}))?")
_STAGES = (  # expansion, channels at width 1, units, stride
    (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
_STEM, _HEAD = 32, 1280


class MobileNetV2(Described):
    """Stem of stride 2, inverted residuals with ReLU, 1280 channels, global pool; no dropout.

    G-VBSM ``models/mobilenetv2.py:64-187``: its ``MobileNetV2`` has width 0.5 and, unlike the
    paper's, ReLU instead of ReLU6 and a 1x1 expansion also where the factor is 1. The name may say
    the width: ``MobileNetV2_0_5``, ``MobileNetV2_1_0``. Convolutions start as N(0, 2 / fan_out),
    the classifier as N(0, 0.01^2) with bias 0. Eight blocks: the stem, seven stages; the last one
    has the head.
    """

    examples: ClassVar[tuple[str, ...]] = ("MobileNetV2", "MobileNetV2_1_0")

    width: float = Field(0.5, ge=0.1, le=1.0, description="factor of all channels but the head's")

    @classmethod
    def spelling(cls, name: str) -> dict[str, Any] | None:
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        if match["whole"] is None:
            return {}
        width = float(f"{match['whole']}.{match['part']}")
        return {"width": width} if 0.1 <= width <= 1 else None

    @property
    def label(self) -> str:
        return f"MobileNetV2_{self.width}".replace(".", "_")

    @property
    def batch_norm(self) -> bool:
        return True

    def narrow(self) -> MobileNetV2:
        return MobileNetV2(name="MobileNetV2", width=0.125)

    def blocks(self, shape: Shape) -> list[Chain]:
        stride = 2 if strides(shape) else 1
        blocks = [chain(*_conv(int(_STEM * self.width), 3, stride))]
        shape = blocks[0].out(shape)
        for expansion, channels, count, stage_stride in _STAGES:
            units: list[Layer] = []
            for index in range(count):
                halve = stage_stride == 2 and index == 0 and strides(shape)
                units.append(_unit(shape, int(channels * self.width), expansion, halve))
                shape = units[-1].out(shape)
            blocks.append(chain(*units))
        blocks[-1] = chain(*blocks[-1].layers, *_conv(_HEAD, 1), GlobalPool())
        return blocks

    def initial_state(self, module: Backbone, generator: torch.Generator) -> dict[str, Tensor]:
        from ddbench.networks import _initial

        state = _initial.kaiming_fan_out(module, generator)
        state["classifier.weight"].normal_(std=0.01, generator=generator)
        state["classifier.bias"].zero_()
        return state


def _conv(channels: int, kernel: int, stride: int = 1) -> tuple[Layer, ...]:
    return conv_norm(Conv(channels, kernel, stride, kernel // 2, bias=False), "batch")


def _unit(shape: Shape, channels: int, expansion: int, halve: bool) -> Layer:
    inner = expansion * shape[0]
    depthwise = Conv(inner, 3, 2 if halve else 1, padding=1, bias=False, depthwise=True)
    body = chain(
        *_conv(inner, 1),
        *conv_norm(depthwise, "batch"),
        *conv_norm(Conv(channels, 1, bias=False), "batch", rectify=False),
    )
    return body if halve or channels != shape[0] else Residual(body)


NETWORK = MobileNetV2
