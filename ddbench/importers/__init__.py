"""Foreign distilled sets: what an importer says and gives, one file per format, found by location.

An importer looks at a ``Source`` and says why it is its format, or why not; it reads what is there
into ``Found`` sets and leaves open what the file does not say. ``settle`` closes what is open with
the user's ``Options`` or refuses with the question; it never guesses. Torch-free at the top.

Axes: N images, C channels, H, W, K classes, M feature sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from ddbench import plugins
from ddbench.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.importers._source import Source
    from ddbench.store import ViewsManifest

SpaceOption = Literal["unit", "meanstd", "zca", "kip_zca"]
KindOption = Literal["index", "probability", "logit", "centred"]


class Options(Spec):
    """What settles the questions that a foreign file leaves open (FOREIGN OPTIONS).

    Attributes:
        format: ``auto`` detects; else an importer's name.
        space: the value space of the images.
        constants: family of mean and std that the images were normalised with.
        labels_kind: what float labels hold.
        labels: a file with the labels (with F or a step size it is theirs alone).
        lr: the student's step size: a number, several (``0.01,0.02``), or a file.
        class_order: a text file with one class (index, WordNet id or name) per line: line i names
            the dataset's class that the file calls i.
        replicate: which of a file's sets, from 0.
    """

    format: str = "auto"
    space: SpaceOption | None = None
    constants: str | None = None
    labels_kind: KindOption | None = None
    labels: str | None = None
    lr: str | None = None
    class_order: str | None = None
    replicate: int | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """One set as its file holds it. None: the file does not say.

    Attributes:
        x: float32 or uint8 [N, C, H, W], never clamped.
        y: int64 [N], float [N, K], or None.
        F: float32 [N, M, ...] (samples first), or None.
        lr: learned step size, or one per stage.
        space: the value space where the format fixes it.
        constants: family of mean and std where the format fixes it (space ``meanstd``).
        kind: what y holds where the format fixes it.
        class_ids: names that the file gives its classes, in the order of y's indices (WordNet ids
            of folders); empty where it has none.
        selected_on_test: chosen by whoever published it by its test accuracy.
        views: a store of per-view soft labels that belongs to it.
        hints: what else the file or its name says (network, method, lambda, ...); plain data.
    """

    x: Tensor
    y: Tensor | None
    F: Tensor | None = None
    lr: float | tuple[float, ...] | None = None
    space: SpaceOption | None = None
    constants: str | None = None
    kind: KindOption | None = None
    class_ids: tuple[str, ...] = ()
    selected_on_test: bool = False
    views: ViewsManifest | None = None
    hints: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Reading:
    """All sets of a source.

    Attributes:
        format: the importer's name.
        reasons: why it was taken for that, in sentences.
        sets: one per replicate.
        files: name relative to the source to SHA-256, of every file that was read.
        hints: plain data about the whole source (recorded accuracies, what was left unread).
    """

    format: str
    reasons: tuple[str, ...]
    sets: tuple[Found, ...]
    files: dict[str, str]
    hints: dict[str, Any] = field(default_factory=dict)


class Importer(Protocol):
    """A module of this package."""

    SUMMARY: str

    def matches(self, source: Source) -> str | None:
        """Why ``source`` is of this format, in a sentence; None if it is not.

        Looks at names and headers only and never fails on foreign bytes.
        """

    def read(self, source: Source) -> Sequence[Found]:
        """The sets in it, replicate by replicate; raises ``BadInput`` for what cannot be used."""


def names() -> tuple[str, ...]:
    """All importers, sorted."""
    return plugins.names(__name__)


@cache
def importer(name: str) -> Importer:
    """One importer's module."""
    return cast(Importer, plugins.load(__name__, name))
