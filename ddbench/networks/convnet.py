"""The ConvNet family of the dataset-distillation literature (Gidaris & Komodakis, 2018).

``depth`` blocks of 3x3 convolution, normalisation, activation, 2x2 pooling; then one linear layer.
Names follow VICO-UoE/DatasetCondensation ``utils.py:124-208``: ``ConvNet`` is ``ConvNetD3``;
``ConvNetW32``, ``ConvNetBN``, ``ConvNetAS``, ``ConvNetNP`` ... change one thing of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ddbench.errors import BadInput
from ddbench.networks import Network, Shape

if TYPE_CHECKING:
    from torch import nn

    from ddbench.networks._backbone import Backbone

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
_GROUPS_OF_GROUPNORM = 4


class ConvNet(Network):
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
    def accepts(cls, name: str) -> bool:
        return _NAME.fullmatch(name) is not None

    @model_validator(mode="before")
    @classmethod
    def _read_name(cls, data: Any) -> Any:
        """Options spelt in the name fill the fields; naming one twice differently is an error."""
        match = _NAME.fullmatch(str(data.get("name", ""))) if isinstance(data, dict) else None
        if match is None:
            return data
        spelt: dict[str, Any] = {
            "depth": int(match["depth"]) if match["depth"] else None,
            "width": int(match["width"]) if match["width"] else None,
            "act": _ACTS.get(match["act"] or ""),
            "norm": _NORMS.get(match["norm"] or ""),
            "pool": _POOLS.get(match["pool"] or ""),
        }
        for field, value in spelt.items():
            if value is not None and data.get(field, value) != value:
                raise BadInput(
                    f"found {data[field]!r}, but the name {data['name']} says {value!r}",
                    field=field,
                )
        return {**{key: value for key, value in spelt.items() if value is not None}, **data}

    @model_validator(mode="after")
    def _check_groups(self) -> ConvNet:
        if self.norm == "group" and self.width % _GROUPS_OF_GROUPNORM:
            raise BadInput(
                f"found {self.width}", field="width",
                allowed=f"a multiple of {_GROUPS_OF_GROUPNORM} with norm group",
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

    def identity(self) -> dict[str, Any]:
        return {"family": "convnet", **self.model_dump(exclude={"name"}, exclude_defaults=True)}

    def narrow(self) -> ConvNet:
        return ConvNet(
            name="ConvNet", depth=self.depth, width=8, act=self.act, norm=self.norm, pool=self.pool
        )

    def _sides(self, shape: Shape) -> list[tuple[int, int]]:
        """Height and width inside each block, before its pooling."""
        pad = self._first_padding(shape)
        side = (shape[1] + 2 * pad - 2, shape[2] + 2 * pad - 2)
        sides = []
        for _ in range(self.depth):
            if min(side) < (1 if self.pool == "none" else 2):
                raise BadInput(
                    f"{self.name} has {self.depth} blocks, too many for images of "
                    f"{shape[1]}x{shape[2]}"
                )
            sides.append(side)
            side = side if self.pool == "none" else (side[0] // 2, side[1] // 2)
        return sides

    @staticmethod
    def _first_padding(shape: Shape) -> int:
        return 3 if shape[0] == 1 and shape[2] == 28 else 1

    def feature_shapes(self, shape: Shape) -> list[Shape]:
        shrink = 1 if self.pool == "none" else 2
        return [(self.width, h // shrink, w // shrink) for h, w in self._sides(shape)]

    def parameter_count(self, shape: Shape, classes: int) -> int:
        total, channels = 0, shape[0]
        for h, w in self._sides(shape):
            affine = {"none": 0, "layer": 2 * self.width * h * w}.get(self.norm, 2 * self.width)
            total += self.width * (9 * channels + 1) + affine
            channels = self.width
        c, h, w = self.feature_shapes(shape)[-1]
        return total + (c * h * w + 1) * classes

    def activation_floats(self, shape: Shape) -> int:
        # Kept for backward: each convolution's input and output (the norm's input), and the
        # normalised, rectified map that pooling reads.
        kept = shape[0] * shape[1] * shape[2]
        shrink = 1 if self.pool == "none" else 4
        for h, w in self._sides(shape):
            area = self.width * h * w
            kept += area * (1 if self.norm == "none" else 2) + area // shrink
        return kept

    def build(self, shape: Shape, classes: int) -> Backbone:
        import torch
        from torch import nn

        from ddbench.networks._backbone import Backbone

        with torch.device("meta"):
            blocks, channels = [], shape[0]
            for index, side in enumerate(self._sides(shape)):
                padding = self._first_padding(shape) if index == 0 else 1
                conv = nn.Conv2d(channels, self.width, kernel_size=3, padding=padding)
                layers = [conv, self._norm(side), self._act(), self._pool()]
                blocks.append(nn.Sequential(*(layer for layer in layers if layer is not None)))
                channels = self.width
            c, h, w = self.feature_shapes(shape)[-1]
            return Backbone(blocks, nn.Linear(c * h * w, classes))

    def _norm(self, side: tuple[int, int]) -> nn.Module | None:
        from torch import nn

        if self.norm == "none":
            return None
        if self.norm == "batch":
            return nn.BatchNorm2d(self.width)
        if self.norm == "layer":
            return nn.LayerNorm([self.width, *side])
        groups = self.width if self.norm == "instance" else _GROUPS_OF_GROUPNORM
        return nn.GroupNorm(groups, self.width)

    def _act(self) -> nn.Module:
        from torch import nn

        if self.act == "leakyrelu":
            return nn.LeakyReLU(0.01, inplace=True)
        if self.act == "relu":
            return nn.ReLU(inplace=True)
        return nn.Sigmoid() if self.act == "sigmoid" else nn.SiLU()

    def _pool(self) -> nn.Module | None:
        from torch import nn

        if self.pool == "none":
            return None
        return nn.AvgPool2d(2) if self.pool == "avg" else nn.MaxPool2d(2)


NETWORK = ConvNet
