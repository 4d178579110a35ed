"""Architectures, one file per family, found by location.

A family is a torch-free description (so that recipes are checked without torch) that can build the
module. Every architecture is a chain of blocks followed by a classifier; "layer l" is the map that
leaves block l (1-based), "last" the one that enters the classifier.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ddbench import plugins
from ddbench.errors import BadInput, unknown
from ddbench.spec import Spec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ddbench.networks._backbone import Backbone

Shape = tuple[int, int, int]
Layer = int | Literal["last"]


class Network(Spec):
    """One architecture with its options; the ``network`` block of a recipe.

    A family file defines a subclass and exports it as ``NETWORK``.
    """

    examples: ClassVar[tuple[str, ...]] = ()
    """Names shown to the user; a family may accept more (``accepts``)."""

    name: str

    @classmethod
    @abstractmethod
    def accepts(cls, name: str) -> bool:
        """Whether ``name`` is an architecture of this family."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The name in tables; says every option that is not the default."""

    @property
    @abstractmethod
    def batch_norm(self) -> bool:
        """Whether statistics of the batch enter the output (forbids micro-batches)."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What the architecture is, as plain data: two spellings of one network agree."""

    @abstractmethod
    def feature_shapes(self, shape: Shape) -> list[Shape]:
        """The map [c, h, w] that leaves each block for one image of ``shape``.

        Raises:
            BadInput: the image is too small for the network.
        """

    @abstractmethod
    def parameter_count(self, shape: Shape, classes: int) -> int:
        """Number of trainable parameters."""

    @abstractmethod
    def multiply_adds(self, shape: Shape, classes: int) -> int:
        """Those of the matrix products and convolutions of one forward pass of one image."""

    @abstractmethod
    def activation_floats(self, shape: Shape) -> int:
        """Numbers that one forward pass keeps for the backward pass, per image."""

    @abstractmethod
    def narrow(self) -> Network:
        """A small version of the same structure, for ``--toy``."""

    @abstractmethod
    def build(self, shape: Shape, classes: int) -> Backbone:
        """The module on the meta device (structure only; ``Stack`` holds the numbers)."""

    def initial_state(self, module: Backbone, generator: torch.Generator) -> dict[str, Tensor]:
        """Parameters and buffers of a fresh network by name, on the generator's device.

        PyTorch's defaults, unless the family's reference has its own.
        """
        from ddbench.networks import _initial

        return _initial.pytorch_default(module, generator)

    @property
    def sequential(self) -> str | None:
        """Why the members of a stack are run one after the other; None where they run at once."""
        return None

    def layer_index(self, layer: Layer, shape: Shape) -> int:
        """1-based block of ``layer``; raises ``BadInput`` for a block the network lacks."""
        depth = len(self.feature_shapes(shape))
        if layer == "last":
            return depth
        if not 1 <= layer <= depth:
            raise BadInput(f"{self.name} has no layer {layer}", allowed=f"1 to {depth}, or last")
        return layer


@cache
def _families() -> tuple[type[Network], ...]:
    package = "ddbench.networks"
    return tuple(plugins.load(package, name).NETWORK for name in plugins.names(package))


def names() -> list[str]:
    """Example names of every family, for listings and error messages."""
    return [name for family in _families() for name in family.examples]


def resolve(data: object) -> Network:
    """A ``Network`` from a name or a mapping with ``name`` and options.

    Raises:
        BadInput: unknown name or option.
    """
    if isinstance(data, Network):
        return data
    fields = {"name": data} if isinstance(data, str) else data
    if not isinstance(fields, Mapping):
        raise BadInput(f"expected a network's name or fields, found {data!r}")
    name = fields.get("name")
    if not isinstance(name, str):
        raise BadInput("is required and missing", field="name", allowed=names())
    for family in _families():
        if family.accepts(name):
            return family.parse(fields)
    raise unknown("network", name, names(), field="name")
