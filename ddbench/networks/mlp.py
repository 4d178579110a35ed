"""The multi-layer perceptron of the dataset-distillation literature."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from pydantic import Field

from ddbench.networks import Shape
from ddbench.networks._described import Described
from ddbench.networks._layers import Chain, Dense, chain

_NAME = re.compile(r"MLP(?:_Tiny)?")


class MLP(Described):
    """Two hidden layers with ReLU (VICO-UoE/DatasetCondensation ``networks.py:19-33``).

    Any image size fits: the first layer is as wide as the image. The maps of F are the hidden
    layers, as ``width`` channels of one pixel. ``MLP_Tiny`` is DATM's name at 64x64.
    """

    examples: ClassVar[tuple[str, ...]] = ("MLP",)

    width: int = Field(128, ge=1, le=8192, description="units of each hidden layer")

    @classmethod
    def spelling(cls, name: str) -> dict[str, Any] | None:
        return {} if _NAME.fullmatch(name) else None

    @property
    def label(self) -> str:
        return "MLP" if self.width == 128 else f"MLP-W{self.width}"

    @property
    def batch_norm(self) -> bool:
        return False

    def narrow(self) -> MLP:
        return MLP(name="MLP", width=8)

    def blocks(self, shape: Shape) -> list[Chain]:
        return [chain(Dense(self.width)), chain(Dense(self.width))]


NETWORK = MLP
