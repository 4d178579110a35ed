"""Families whose networks are given as descriptions: blocks of layers, then a linear classifier."""

from __future__ import annotations

from abc import abstractmethod
from math import prod
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from ddbench.errors import BadInput
from ddbench.networks import Network, Shape
from ddbench.networks._layers import Chain, TooSmall

if TYPE_CHECKING:
    from ddbench.networks._backbone import Backbone


class Described(Network):
    """Shapes, counts and the module, all from ``blocks``."""

    @classmethod
    @abstractmethod
    def spelling(cls, name: str) -> dict[str, Any] | None:
        """The options that ``name`` spells; None if it is no name of this family."""

    @abstractmethod
    def blocks(self, shape: Shape) -> list[Chain]:
        """The description for images of ``shape``; may raise ``TooSmall``."""

    @classmethod
    def accepts(cls, name: str) -> bool:
        return cls.spelling(name) is not None

    @model_validator(mode="before")
    @classmethod
    def _read_name(cls, data: Any) -> Any:
        """Options spelt in the name fill the fields; naming one twice differently is an error."""
        spelt = cls.spelling(str(data.get("name", ""))) if isinstance(data, dict) else None
        for field, value in (spelt or {}).items():
            if data.get(field, value) != value:
                raise BadInput(
                    f"found {data[field]!r}, but the name {data['name']} says {value!r}",
                    field=field,
                )
        return data if spelt is None else {**spelt, **data}

    def identity(self) -> dict[str, Any]:
        options = self.model_dump(exclude={"name"}, exclude_defaults=True)
        return {"family": type(self).__name__.lower(), **options}

    def _whole(self, shape: Shape) -> Chain:
        """All blocks; raises ``BadInput`` with the smallest size that would do."""
        try:
            whole = Chain(tuple(self.blocks(shape)))
            whole.out(shape)
        except TooSmall:
            smallest = next(side for side in range(1, 1025) if self._fits((shape[0], side, side)))
            raise BadInput(
                f"{self.name} cannot take images of {shape[1]}x{shape[2]}: they are too small",
                allowed=f"{smallest}x{smallest} and larger",
            ) from None
        return whole

    def _fits(self, shape: Shape) -> bool:
        try:
            Chain(tuple(self.blocks(shape))).out(shape)
        except TooSmall:
            return False
        return True

    def feature_shapes(self, shape: Shape) -> list[Shape]:
        return self._whole(shape).shapes(shape)

    def parameter_count(self, shape: Shape, classes: int) -> int:
        whole = self._whole(shape)
        encoder = sum(leaf.parameters(entering) for leaf, entering in whole.leaves(shape))
        return encoder + (prod(whole.out(shape)) + 1) * classes

    def multiply_adds(self, shape: Shape, classes: int) -> int:
        whole = self._whole(shape)
        encoder = sum(leaf.multiply_adds(entering) for leaf, entering in whole.leaves(shape))
        return encoder + prod(whole.out(shape)) * classes

    def activation_floats(self, shape: Shape) -> int:
        whole = self._whole(shape)
        floats, held = whole.kept(shape, held=False)
        return floats + (0 if held else prod(whole.out(shape)))  # the classifier's input

    def build(self, shape: Shape, classes: int) -> Backbone:
        import torch
        from torch import nn

        from ddbench.networks._backbone import Backbone

        whole = self._whole(shape)
        with torch.device("meta"):
            classifier = nn.Linear(prod(whole.out(shape)), classes)
            return Backbone(whole.modules(shape), classifier)
