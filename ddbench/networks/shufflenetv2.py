"""ShuffleNetV2 (Ma et al., ECCV 2018) for small images."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from pydantic import Field, field_validator

from ddbench.errors import BadInput
from ddbench.networks import Shape
from ddbench.networks._adaptation import strides
from ddbench.networks._described import Described
from ddbench.networks._layers import Chain, Conv, GlobalPool, Layer, TwoPaths, chain, conv_norm

_NAME = re.compile(r"ShuffleNetV2(?:_(?P<width>0_5|1_0|1_5|2_0))?")
_STEM = 24
_CHANNELS = {  # three stages and the head, by width (the paper's table 5)
    0.5: (48, 96, 192, 1024), 1.0: (116, 232, 464, 1024), 1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}  # fmt: skip
_BASIC_UNITS = (3, 7, 3)


class ShuffleNetV2(Described):
    """1x1 stem without pooling, three stages that halve the map, a 1x1 head, global pool.

    G-VBSM ``models/ShuffleNetv2.py:96-206``, whose network has width 0.5 (the default); PyTorch's
    initialisation. The name may say the width: ``ShuffleNetV2_0_5``, ``_1_0``, ``_1_5``, ``_2_0``.
    Four blocks: the stem, three stages; the last one has the head.
    """

    examples: ClassVar[tuple[str, ...]] = ("ShuffleNetV2", "ShuffleNetV2_1_0")

    width: float = Field(0.5, description="0.5, 1, 1.5 or 2: the paper's networks")

    @field_validator("width")
    @classmethod
    def _check_width(cls, width: float) -> float:
        if width not in _CHANNELS:
            raise BadInput(f"found {width:g}", field="width", allowed=_CHANNELS)
        return width

    @classmethod
    def spelling(cls, name: str) -> dict[str, Any] | None:
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        width = match["width"]
        return {"width": float(width.replace("_", "."))} if width else {}

    @property
    def label(self) -> str:
        return f"ShuffleNetV2_{self.width}".replace(".", "_")

    @property
    def batch_norm(self) -> bool:
        return True

    def narrow(self) -> ShuffleNetV2:
        return ShuffleNetV2(name="ShuffleNetV2", width=0.5)

    def blocks(self, shape: Shape) -> list[Chain]:
        *stages, head = _CHANNELS[self.width]
        blocks = [chain(*_conv(_STEM, 1))]
        for channels, count in zip(stages, _BASIC_UNITS, strict=True):
            shape = blocks[-1].out(shape)
            basic = TwoPaths(_path(channels // 2))
            blocks.append(chain(_down_unit(shape, channels // 2), *[basic] * count))
        blocks[-1] = chain(*blocks[-1].layers, *_conv(head, 1), GlobalPool())
        return blocks


def _conv(channels: int, kernel: int) -> tuple[Layer, ...]:
    return conv_norm(Conv(channels, kernel, bias=False), "batch")


def _depthwise(channels: int, stride: int = 1) -> tuple[Layer, ...]:
    conv = Conv(channels, 3, stride, padding=1, bias=False, depthwise=True)
    return conv_norm(conv, "batch", rectify=False)


def _path(channels: int, stride: int = 1) -> Chain:
    return chain(*_conv(channels, 1), *_depthwise(channels, stride), *_conv(channels, 1))


def _down_unit(shape: Shape, half: int) -> TwoPaths:
    """Both paths read every channel and halve the map; ``half`` channels leave each."""
    stride = 2 if strides(shape) else 1
    left = chain(*_depthwise(shape[0], stride), *_conv(half, 1))
    return TwoPaths(_path(half, stride), left)


NETWORK = ShuffleNetV2
