"""VGG (Simonyan & Zisserman, ICLR 2015) as the dataset-distillation literature has it."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field

from ddbench.networks import Shape
from ddbench.networks._adaptation import first_padding, pools, reduction
from ddbench.networks._described import Described
from ddbench.networks._layers import AvgPool, Chain, Conv, Layer, MaxPool, Norm, chain, conv_norm

Depth = Literal[11, 13, 16, 19]

_NAME = re.compile(r"VGG(?P<depth>11|13|16|19)(?P<norm>BN)?(?:_Tiny)?")
_CONVOLUTIONS: dict[Depth, tuple[int, ...]] = {
    11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4),
}  # fmt: skip
_WIDTHS = (1, 2, 4, 8, 8)


class VGG(Described):
    """Five stages of 3x3 convolutions, each normalised and rectified; max pooling ends a stage.

    VICO-UoE/DatasetCondensation ``networks.py:211-260``: instance normalisation unless the name
    says ``BN``, one linear layer. One block per stage. Large images are reduced at the end, by
    taking every s-th pixel of the last map (DATM's ``VGG11_Tiny``: a 1x1 average pool of stride 2).
    """

    examples: ClassVar[tuple[str, ...]] = tuple(
        f"VGG{depth}{norm}" for depth in _CONVOLUTIONS for norm in ("", "BN")
    )

    depth: Depth = Field(11, description="layers with weights")
    norm: Norm = Field("instance", description="normalisation after each convolution")
    width: int = Field(64, ge=1, le=1024, description="channels of the first stage")

    @classmethod
    def spelling(cls, name: str) -> dict[str, Any] | None:
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        return {"depth": int(match["depth"]), "norm": "batch" if match["norm"] else "instance"}

    @property
    def label(self) -> str:
        suffix = {"instance": "", "batch": "BN", "none": "-nonorm"}[self.norm]
        width = "" if self.width == 64 else f"-W{self.width}"
        return f"VGG{self.depth}{suffix}{width}"

    @property
    def batch_norm(self) -> bool:
        return self.norm == "batch"

    def narrow(self) -> VGG:
        return VGG.parse({**self.model_dump(), "width": 4})

    def blocks(self, shape: Shape) -> list[Chain]:
        step = reduction(shape)
        padding = first_padding(shape, usual=1, for_28=3)
        blocks: list[Chain] = []
        for stage, count in enumerate(_CONVOLUTIONS[self.depth]):
            layers: list[Layer] = []
            for _ in range(count):
                conv = Conv(self.width * _WIDTHS[stage], 3, padding=padding)
                layers += conv_norm(conv, self.norm)
                padding = 1
            last = stage == len(_WIDTHS) - 1
            pooled = last or pools(chain(*layers).out(shape))
            reduced = AvgPool(1, step) if last and step > 1 else None
            blocks.append(chain(*layers, MaxPool() if pooled else None, reduced))
            shape = blocks[-1].out(shape)
        return blocks


NETWORK = VGG
