"""AlexNet (Krizhevsky et al., 2012) as the dataset-distillation literature has it."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from pydantic import Field

from ddbench.networks import Shape
from ddbench.networks._adaptation import first_padding, pools, reduction
from ddbench.networks._described import Described
from ddbench.networks._layers import Chain, Conv, Layer, MaxPool, Norm, chain, conv_norm

_NAME = re.compile(r"AlexNet(?P<norm>BN)?(?:_Tiny)?")


class AlexNet(Described):
    """Five convolutions of 128, 192, 256, 192, 192 channels, the first two and the last pooled.

    VICO-UoE/DatasetCondensation ``networks.py:141-209``: no dropout, one linear layer. The first
    convolution is 5x5 with padding 4 for 1-channel images 28 wide, else 2, and reduces large images
    by its stride. One block per convolution.
    """

    examples: ClassVar[tuple[str, ...]] = ("AlexNet", "AlexNetBN")

    norm: Norm = Field("none", description="normalisation after each convolution")
    width: int = Field(128, ge=2, le=4096, multiple_of=2, description="channels of the first block")

    @classmethod
    def spelling(cls, name: str) -> dict[str, Any] | None:
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        return {"norm": "batch"} if match["norm"] else {}

    @property
    def label(self) -> str:
        name = {"none": "AlexNet", "batch": "AlexNetBN", "instance": "AlexNet-instance"}[self.norm]
        return name if self.width == 128 else f"{name}-W{self.width}"

    @property
    def batch_norm(self) -> bool:
        return self.norm == "batch"

    def narrow(self) -> AlexNet:
        return AlexNet(name="AlexNet", norm=self.norm, width=8)

    def blocks(self, shape: Shape) -> list[Chain]:
        half = self.width // 2
        padding = first_padding(shape, usual=2, for_28=4)
        convs = [
            Conv(2 * half, 5, reduction(shape), padding),
            Conv(3 * half, 5, padding=2),
            *(Conv(units * half, 3, padding=1) for units in (4, 3, 3)),
        ]
        blocks: list[Chain] = []
        for index, conv in enumerate(convs):
            layers: tuple[Layer, ...] = conv_norm(conv, self.norm)
            map_ = conv.out(shape)
            pooled = index == 4 or (index < 2 and pools(map_))
            blocks.append(chain(*layers, MaxPool() if pooled else None))
            shape = blocks[-1].out(shape)
        return blocks


NETWORK = AlexNet
