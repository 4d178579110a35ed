"""Methods, one public file each, found by location. The method class is its own configuration.

A method says only what is its own. It never evaluates, saves, prints, chooses a seed or a device,
and does not know what is learned: the ``Task`` gives it real batches, fresh networks and the
synthetic variables, whose one ``step`` updates whatever that is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ddbench import plugins
from ddbench.errors import BadInput, unknown
from ddbench.networks import Network, Shape
from ddbench.protocols import TrainedOn
from ddbench.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.task import Task

InitName = Literal["noise", "real"]


@dataclass(frozen=True)
class Step:
    """A finished iteration and what to log of it: scalar tensors, still on the device."""

    iteration: int
    scalars: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Workload:
    """What a run of a method costs, for estimates: images through a network, and peak batches.

    Attributes:
        passes: images times (forward + backward) of the recipe's network, over the whole run;
            a second-order backward counts as two.
        graph_images: images whose activations are kept at once.
    """

    passes: float
    graph_images: int


class Method(Spec):
    """Base of every method's file; a subclass is exported as ``METHOD``."""

    trains_on_synthetic: ClassVar[bool] = False
    """Whether networks train on the set while it is made: all that they train on can be learned."""
    inits: ClassVar[tuple[InitName, ...]] = ()
    """Where x may start, the default first; empty = the method itself gives x."""
    has_set: ClassVar[bool] = True
    """False for ``full``, which trains on the real training set."""
    given: ClassVar[bool] = False
    """Whether the set is a file's (``external``): imported as it is, with its own labels."""
    toy: ClassVar[dict[str, Any]] = {}
    """Field values that make a run take seconds (``--toy``)."""
    title: ClassVar[str] = ""
    bibtex: ClassVar[str] = ""

    name: str

    @classmethod
    def __pydantic_init_subclass__(cls, **named: Any) -> None:
        """A method that steps must say how often, and how far: the defaults would be silent."""
        if cls.distill is Method.distill:
            return
        for needed in ("iterations_of", "pixel_sgd"):
            if getattr(cls, needed) is getattr(Method, needed):
                raise TypeError(f"{cls.__name__} has distill, so it must define {needed}")

    @property
    def heading(self) -> str:
        """The method's name in tables."""
        return self.title or self.name

    def check(self, ipc: int, smallest_class: int | None) -> None:
        """Raise ``BadInput`` if the method cannot make ``ipc`` images per class."""

    def resolved(self, ipc: int) -> Method:
        """The method with everything that depends on the IPC made explicit; enters the key."""
        return self

    def identity(self) -> dict[str, Any]:
        """What enters the key: what differs from the defaults, as plain data."""
        return {"name": self.name, **self.model_dump(mode="json", exclude_defaults=True)}

    def iterations_of(self, ipc: int) -> int:
        """Number of steps that ``distill`` will take."""
        return 0

    def workload(self, ipc: int, classes: int, train_size: int) -> Workload:
        """Cost of making a set; see ``Workload``."""
        return Workload(passes=0.0, graph_images=classes * ipc)

    @property
    def formation(self) -> int:
        """f: a stored image holds f x f of those that networks see (IDC's multi-formation)."""
        return 1

    @property
    def pixel_sgd(self) -> tuple[float, float]:
        """Learning rate and momentum of SGD on the pixels; zeros where none are learned."""
        return 0.0, 0.0

    @property
    def allow_tf32(self) -> bool:
        """Whether convolutions on a GPU may round to TF32, as the references' did."""
        return True

    def networks_needed(self, network: Network) -> list[TrainedOn]:
        """Networks trained on the real data beforehand (the ``experts`` stage)."""
        return []

    def images(self, task: Task) -> Tensor:
        """The images of a method without an ``init``: float32 [N, C, H, W], class by class."""
        raise AssertionError(f"{self.name} starts from an init")  # pragma: no cover

    def distill(self, task: Task) -> Iterator[Step]:
        """Improve ``task.variables``, yielding after every iteration.

        Starts at ``task.start`` and draws every random number from ``task.streams`` by iteration,
        so that a run resumed from the variables alone continues with the same bits.
        """
        return iter(())


class Selecting(Method):
    """A method that picks or builds its images from the real data and learns nothing."""

    def check(self, ipc: int, smallest_class: int | None) -> None:
        if smallest_class is not None and ipc > smallest_class:
            raise BadInput(
                f"found {ipc}, but the smallest class has {smallest_class} training images",
                field="ipc", allowed=f"1 to {smallest_class} for method {self.name}",
            )  # fmt: skip

    @abstractmethod
    def images(self, task: Task) -> Tensor: ...


def names() -> tuple[str, ...]:
    """All methods."""
    return plugins.names(__name__)


def method_class(name: str) -> type[Method]:
    """The class of one method; raises ``KeyError``."""
    found: type[Method] = plugins.load(__name__, name).METHOD
    return found


def resolve(data: object) -> Method:
    """A method from its name or from a mapping with ``name`` and its knobs; raises ``BadInput``."""
    if isinstance(data, Method):
        return data
    fields = {"name": data} if isinstance(data, str) else data
    if not isinstance(fields, Mapping):
        raise BadInput(f"expected a method's name or fields, found {data!r}")
    name = fields.get("name")
    if not isinstance(name, str):
        raise BadInput("is required and missing", field="name", allowed=names())
    if name not in names():
        raise unknown("method", name, names(), field="name")
    return method_class(name).parse(fields)


__all__ = [
    "InitName", "Method", "Selecting", "Shape", "Step", "TrainedOn", "Workload", "method_class",
    "names", "resolve",
]  # fmt: skip
