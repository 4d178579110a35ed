"""ResNet (He et al., CVPR 2016) for small images, in the forms that distillation papers use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddbench.networks import Shape
from ddbench.networks._adaptation import pools, reduction, strides
from ddbench.networks._described import Described
from ddbench.networks._layers import (
    AvgPool,
    Chain,
    Conv,
    GlobalPool,
    Layer,
    Norm,
    Rectify,
    Residual,
    chain,
    conv_norm,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ddbench.networks._backbone import Backbone

Depth = Literal[18, 34, 50, 101, 152]

_NAME = re.compile(r"ResNet(?P<depth>18|34|50|101|152)(?P<norm>BN)?(?P<pool>_AP)?(?:_Tiny)?")
_MODIFIED = re.compile(r"resnet(?P<depth>18|34|50|101|152)_modified")
_UNITS: dict[Depth, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3),
}  # fmt: skip
_EXPANSION = 4  # of bottleneck units, which depths from 50 have


class ResNet(Described):
    """A 3x3 stem without pooling and four stages; the stem and each stage are blocks.

    * ``ResNet18``: instance normalisation unless the name says ``BN``, PyTorch's initialisation;
      the stem's stride reduces large images (VICO-UoE/DatasetCondensation ``networks.py:381-497``;
      DATM's ``ResNet18_Tiny``). The last maps are averaged whole, as the reference's 4x4 pool does
      at 28 and 32.
    * ``ResNet18_AP``: halves maps by average pooling instead of strides and has no pool at the end
      (``networks.py:266-378``).
    * ``resnet18_modified``: RDED's and SRe2L's name for torchvision's network with this stem, and
      G-VBSM's ``ResNet18``: batch normalisation, stem of stride 1 at every size, convolutions
      N(0, 2 / fan_out) (G-VBSM ``models/resnetv2.py:76-94``). Its large maps make it slow from 64
      pixels on.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "ResNet18", "ResNet18BN", "ResNet18_AP", "ResNet18BN_AP",
        "ResNet34", "ResNet50", "ResNet101", "ResNet152",
        "resnet18_modified", "resnet50_modified", "resnet101_modified",
    )  # fmt: skip

    depth: Depth = Field(18, description="layers with weights")
    norm: Norm = Field("instance", description="normalisation after each convolution")
    downsample: Literal["stride", "pool"] = Field("stride", description="how stages halve maps")
    stem: Literal["reducing", "plain"] = Field("reducing", description="stride for large images, 1")
    init: Literal["default", "kaiming"] = Field("default", description="initialisation")
    width: int = Field(64, ge=1, le=1024, description="channels of the stem and first stage")

    @classmethod
    def spelling(cls, name: str) -> dict[str, Any] | None:
        if match := _MODIFIED.fullmatch(name):
            return {
                "depth": int(match["depth"]), "norm": "batch", "downsample": "stride",
                "stem": "plain", "init": "kaiming",
            }  # fmt: skip
        if match := _NAME.fullmatch(name):
            return {
                "depth": int(match["depth"]),
                "norm": "batch" if match["norm"] else "instance",
                "downsample": "pool" if match["pool"] else "stride",
            }
        return None

    @property
    def label(self) -> str:
        width = "" if self.width == 64 else f"-W{self.width}"
        form = (self.norm, self.downsample, self.stem, self.init)
        if form == ("batch", "stride", "plain", "kaiming"):
            return f"resnet{self.depth}_modified{width}"
        norm = {"instance": "", "batch": "BN", "none": "-nonorm"}[self.norm]
        pool = "_AP" if self.downsample == "pool" else ""
        stem = "-plain" if self.stem == "plain" else ""
        init = "-kaiming" if self.init == "kaiming" else ""
        return f"ResNet{self.depth}{norm}{pool}{stem}{init}{width}"

    @property
    def batch_norm(self) -> bool:
        return self.norm == "batch"

    def narrow(self) -> ResNet:
        return ResNet.parse({**self.model_dump(), "width": 4})

    def blocks(self, shape: Shape) -> list[Chain]:
        stride = reduction(shape) if self.stem == "reducing" else 1
        blocks = [chain(*self._conv(self.width, 3, stride))]
        for stage, count in enumerate(_UNITS[self.depth]):
            shape = blocks[-1].out(shape)
            blocks.append(self._stage(shape, self.width << stage, count, halve=stage > 0))
        if self.downsample == "stride":
            blocks[-1] = chain(*blocks[-1].layers, GlobalPool())
        return blocks

    def _stage(self, shape: Shape, width: int, count: int, *, halve: bool) -> Chain:
        units: list[Layer] = []
        for index in range(count):
            units.append(self._unit(shape, width, halve=halve and index == 0))
            shape = units[-1].out(shape)
        return chain(*units)

    def _unit(self, shape: Shape, width: int, *, halve: bool) -> Residual:
        """Basic unit (depths 18, 34) or bottleneck; a changed map needs a projection."""
        by_pool = self.downsample == "pool"
        halve = halve and (pools(shape) if by_pool else strides(shape))
        stride = 2 if halve and not by_pool else 1
        pool = (AvgPool(),) if halve and by_pool else ()
        if self.depth < 50:
            out = width
            body = [*self._conv(width, 3, stride), *pool, *self._conv(out, 3, rectify=False)]
        else:
            out = _EXPANSION * width
            body = [*self._conv(width, 1), *self._conv(width, 3, stride), *pool,
                    *self._conv(out, 1, rectify=False)]  # fmt: skip
        conv, *norm = self._conv(out, 1, stride, rectify=False)
        changed = halve or shape[0] != out
        shortcut = chain(conv, *pool, *norm) if changed else Chain()
        return Residual(chain(*body), shortcut, after=chain(Rectify()))

    def _conv(
        self, channels: int, kernel: int, stride: int = 1, *, rectify: bool = True
    ) -> tuple[Layer, ...]:
        conv = Conv(channels, kernel, stride, kernel // 2, bias=False)
        return conv_norm(conv, self.norm, rectify)

    def initial_state(self, module: Backbone, generator: torch.Generator) -> dict[str, Tensor]:
        from ddbench.networks import _initial

        if self.init == "kaiming":
            return _initial.kaiming_fan_out(module, generator)
        return _initial.pytorch_default(module, generator)


NETWORK = ResNet
