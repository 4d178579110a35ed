"""The ConvNet family of the dataset-distillation literature (Gidaris & Komodakis, 2018).

``depth`` blocks of 3x3 convolution, normalisation, activation, 2x2 pooling; then one linear layer.
Names follow VICO-UoE/DatasetCondensation ``utils.py:124-208``: ``ConvNet`` is ``ConvNetD3``;
``ConvNetW32``, ``ConvNetBN``, ``ConvNetAS``, ``ConvNetNP`` ... change one thing of it.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ddbench.errors import BadInput
from ddbench.networks import Shape
from ddbench.networks._adaptation import first_padding
from ddbench.networks._described import Described
from ddbench.networks._layers import (
    GROUPS,
    AvgPool,
    Chain,
    Conv,
    Layer,
    MaxPool,
    Rectify,
    Smooth,
    chain,
    conv_norm,
)

Act = Literal["relu", "sigmoid", "leakyrelu", "swish"]
Norm = Literal["instance", "batch", "layer", "group", "none"]
Pool = Literal["avg", "max", "none"]

_ACTS: dict[str, Act] = {"S": "sigmoid", "R": "relu", "L": "leakyrelu", "Swish": "swish"}
_NORMS: dict[str, Norm] = {
    "NN": "none", "BN": "batch", "LN": "layer", "IN": "instance", "GN": "group",
}  # fmt: skip
_POOLS: dict[str, Pool] = {"NP": "none", "MP": "max", "AP": "avg"}
_NAME = re.compile(
    r"ConvNet(?:D(?P<depth>[1-8]))?(?:W(?P<width>[1-9]\d{0,3}))?(?:A(?P<act>Swish|S|R|L))?"
    r"(?P<norm>NN|BN|LN|IN|GN)?(?P<pool>NP|MP|AP)?"
)
_ACTIVATIONS: dict[Act, Layer] = {
    "relu": Rectify(), "leakyrelu": Rectify(0.01), "sigmoid": Smooth("sigmoid"),
    "swish": Smooth("swish"),
}  # fmt: skip
_POOLINGS: dict[Pool, Layer | None] = {"avg": AvgPool(), "max": MaxPool(), "none": None}


class ConvNet(Described):
    """ConvNet: ``instance`` normalisation is GroupNorm with one channel per group, affine.

    A 1-channel image of width 28 is padded by 3 in the first convolution (28 becomes 32), every
    other image by 1. The reference chooses the padding by channels alone, which breaks 1x32x32.
    """

    examples: ClassVar[tuple[str, ...]] = (
        *(f"ConvNetD{depth}" for depth in range(1, 9)),
        "ConvNet", "ConvNetW32", "ConvNetW64", "ConvNetW128", "ConvNetW256",
        "ConvNetAS", "ConvNetAR", "ConvNetAL", "ConvNetASwish", "ConvNetASwishBN",
        "ConvNetNN", "ConvNetBN", "ConvNetLN", "ConvNetIN", "ConvNetGN",
        "ConvNetNP", "ConvNetMP", "ConvNetAP",
    )  # fmt: skip

    depth: int = Field(3, ge=1, le=8, description="number of blocks")
    width: int = Field(128, ge=1, le=4096, description="channels of every convolution")
    act: Act = Field("relu", description="activation")
    norm: Norm = Field("instance", description="normalisation after each convolution")
    pool: Pool = Field("avg", description="2x2 pooling that ends each block")

    @classmethod
    def spelling(cls, name: str) -> dict[str, Any] | None:
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        spelt = {
            "depth": int(match["depth"] or 0), "width": int(match["width"] or 0),
            "act": _ACTS.get(match["act"]), "norm": _NORMS.get(match["norm"]),
            "pool": _POOLS.get(match["pool"]),
        }  # fmt: skip
        return {field: value for field, value in spelt.items() if value}

    @model_validator(mode="after")
    def _check_groups(self) -> ConvNet:
        if self.norm == "group" and self.width % GROUPS:
            raise BadInput(
                f"found {self.width}", field="width",
                allowed=f"a multiple of {GROUPS} with norm group",
            )  # fmt: skip
        return self

    @property
    def label(self) -> str:
        defaults = {"width": 128, "act": "relu", "norm": "instance", "pool": "avg"}
        spelt = {"width": f"W{self.width}", "norm": "nonorm", "pool": "nopool"}
        changed = [
            spelt[field] if field == "width" or own == "none" else str(own)
            for field, value in defaults.items()
            if (own := getattr(self, field)) != value
        ]
        return "-".join([f"ConvNetD{self.depth}", *changed])

    @property
    def batch_norm(self) -> bool:
        return self.norm == "batch"

    def narrow(self) -> ConvNet:
        return ConvNet(
            name="ConvNet", depth=self.depth, width=8, act=self.act, norm=self.norm, pool=self.pool
        )

    def blocks(self, shape: Shape) -> list[Chain]:
        first = Conv(self.width, 3, padding=first_padding(shape, usual=1, for_28=3))
        convs = [first, *[Conv(self.width, 3, padding=1)] * (self.depth - 1)]
        end = (_ACTIVATIONS[self.act], _POOLINGS[self.pool])
        return [chain(*conv_norm(conv, self.norm, rectify=False), *end) for conv in convs]


NETWORK = ConvNet
