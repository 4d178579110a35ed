"""Architectures of other libraries, without weights: ``torchvision:NAME`` and ``timm:NAME``.

The library builds and initialises the network; its last linear layer becomes the classifier and all
before it one block, whose map [d, 1, 1] is the embedding. K members run at once under
``torch.func.vmap`` over stacked parameters and buffers. Noise (dropout, stochastic depth) stays as
the library sets it, but each member draws its own (``_noise``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ddbench.errors import BadInput, unknown
from ddbench.networks import Network, Shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ddbench.networks._backbone import Backbone
    from ddbench.networks._opaque import LibraryBackbone, Structure

Stem = Literal["original", "small"]


class LibraryNetwork(Network):
    """An architecture of a library, by its name there.

    What the library knows of names and sizes is asked when the structure is first needed, not when
    a recipe is read, so that listing imports no library.
    """

    library: ClassVar[str]
    one_by_one: ClassVar[Mapping[str, str]] = {}
    """Beginnings of names whose members cannot run at once, and why."""

    stem: Stem = Field(
        "original",
        description="small: the first convolution has stride 1 and at most 3x3, without the max "
        "pool beside it; patches have a quarter of their side",
    )
    patch_size: int | None = Field(
        None, ge=1, description="side of the patches of a transformer; null = the library's"
    )
    image_size: int | None = Field(
        None, ge=1, le=1024, description="images are resized (bilinearly) to this side; null = not"
    )

    @classmethod
    def accepts(cls, name: str) -> bool:
        return name.startswith(f"{cls.library}:")

    @property
    def architecture(self) -> str:
        """The name in the library."""
        return self.name.removeprefix(f"{self.library}:")

    @property
    def label(self) -> str:
        stem = "" if self.stem == "original" else f"-{self.stem}"
        patch = "" if self.patch_size is None else f"-P{self.patch_size}"
        size = "" if self.image_size is None else f"-{self.image_size}px"
        return f"{self.name}{stem}{patch}{size}"

    def identity(self) -> dict[str, Any]:
        return {"family": self.library, **self.model_dump(exclude_defaults=True)}

    @property
    def sequential(self) -> str | None:
        reasons = (
            reason for start, reason in self.one_by_one.items()
            if self.architecture.startswith(start)
        )  # fmt: skip
        return next(reasons, None)

    # --- what a library has to say ---------------------------------------------------------------

    @abstractmethod
    def known(self) -> Sequence[str]:
        """Names of all architectures of the library."""

    @abstractmethod
    def own_size(self) -> int:
        """Side of the images that the architecture was made for."""

    @abstractmethod
    def make(self, shape: Shape, classes: int) -> tuple[nn.Module, str]:
        """The library's module, initialised by it, and the name of its classifier in it.

        Drawn from torch's global generator, on torch's default device.

        Raises:
            BadInput: a field asks for what the architecture has not.
            Exception: of any kind, if the library refuses the shape.
        """

    # --- structure -------------------------------------------------------------------------------

    def check_name(self) -> None:
        """Raises ``BadInput`` with the nearest names for one that the library does not have."""
        name, known = self.architecture, self.known()
        if name not in known:
            plain = name.partition(".")[0]  # without the tag of timm's weights
            near = [plain] if plain in known else get_close_matches(plain, known, n=6, cutoff=0.5)
            raise unknown(f"architecture of {self.library}", name, near, field="name")

    @property
    def batch_norm(self) -> bool:
        self.check_name()
        side = self.own_size()
        module = _structure(type(self)(name=self.name), (3, side, side)).module
        return any(name.endswith("running_var") for name, _ in module.named_buffers())

    def feature_shapes(self, shape: Shape) -> list[Shape]:
        return [(_structure(self, shape).module.width, 1, 1)]

    def parameter_count(self, shape: Shape, classes: int) -> int:
        module = _structure(self, shape).module
        encoder = sum(p.numel() for p in module.blocks.parameters())
        return encoder + (module.width + module.has_bias) * classes

    def multiply_adds(self, shape: Shape, classes: int) -> int:
        found = _structure(self, shape)
        return found.multiply_adds + found.module.width * classes

    def activation_floats(self, shape: Shape) -> int:
        return _structure(self, shape).activation_floats

    def build(self, shape: Shape, classes: int) -> Backbone:
        return _structure(self, shape).with_classes(classes)

    def initial_state(self, module: Backbone, generator: torch.Generator) -> dict[str, Tensor]:
        """Numbers as the library draws them on a CPU, from the generator's seed alone."""
        from ddbench.networks import _opaque

        assert isinstance(module, _opaque.LibraryBackbone)
        shape, classes = module.shape, module.classes
        return _opaque.initial_state(lambda: self.assemble(shape, classes), generator)

    def assemble(self, shape: Shape, classes: int) -> LibraryBackbone:
        """The library's module in this project's form."""
        from ddbench.networks._noise import own_noise
        from ddbench.networks._opaque import LibraryBackbone

        side = self.image_size
        inside = shape if side is None else (shape[0], side, side)
        net, classifier = self.make(inside, classes)
        own_noise(net)
        return LibraryBackbone(net, classifier, shape, None if side is None else (side, side))


def imported(library: str, module: str) -> Any:
    """A module of a library; one that cannot be imported is a ``BadInput``."""
    try:
        return import_module(module)
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        raise BadInput(f"needs the package {library} ({error})", field="name") from None


_TRIAL_CLASSES = 2


@lru_cache(maxsize=64)
def _structure(network: LibraryNetwork, shape: Shape) -> Structure:
    """Raises ``BadInput`` for an unknown name, and for images that the network cannot take."""
    network.check_name()
    try:
        return _made(network, shape)
    except BadInput as error:
        raise BadInput(
            f"{network.name}: {error.problem}", field=error.field, allowed=error.allowed
        ) from None
    except Exception as error:  # a library's own: of any kind
        said = " ".join(str(error).split())
        raise BadInput(
            f"{network.name} cannot take images of {shape[1]}x{shape[2]} ({said[:160]})",
            allowed=_remedies(network, shape),
        ) from None


def _made(network: LibraryNetwork, shape: Shape) -> Structure:
    from ddbench.networks import _opaque

    return _opaque.structure(lambda: network.assemble(shape, _TRIAL_CLASSES))


def _remedies(network: LibraryNetwork, shape: Shape) -> list[str]:
    """Fields with which the network does take images of ``shape``."""
    working = []
    for field, value in (("stem", "small"), ("image_size", network.own_size())):
        try:
            _made(network.model_copy(update={field: value}), shape)
        except Exception:  # noqa: S112 - no remedy
            continue
        working.append(f"{field}: {value}")
    return working
