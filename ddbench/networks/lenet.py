"""LeNet (LeCun et al., 1998) as the dataset-distillation literature has it."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from ddbench.networks import Shape
from ddbench.networks._adaptation import first_padding, reduction
from ddbench.networks._described import Described
from ddbench.networks._layers import Chain, Conv, Dense, MaxPool, Rectify, chain

_NAME = re.compile(r"LeNet(?:_Tiny)?")


class LeNet(Described):
    """5x5 convolutions of 6 and 16 channels, each with ReLU and max pooling; 120 and 84 units.

    VICO-UoE/DatasetCondensation ``networks.py:115-137``. The first convolution pads by 2 for
    1-channel images 28 wide, else by 0, and reduces large images by its stride. Four blocks; the
    smallest image is 16x16.
    """

    examples: ClassVar[tuple[str, ...]] = ("LeNet",)

    @classmethod
    def spelling(cls, name: str) -> dict[str, Any] | None:
        return {} if _NAME.fullmatch(name) else None

    @property
    def label(self) -> str:
        return "LeNet"

    @property
    def batch_norm(self) -> bool:
        return False

    def narrow(self) -> LeNet:
        return self

    def blocks(self, shape: Shape) -> list[Chain]:
        padding = first_padding(shape, usual=0, for_28=2)
        return [
            chain(Conv(6, 5, reduction(shape), padding), Rectify(), MaxPool()),
            chain(Conv(16, 5), Rectify(), MaxPool()),
            chain(Dense(120)),
            chain(Dense(84)),
        ]


NETWORK = LeNet
