"""The rows of numbers.csv, typed, and the ones that belong to a cell of a table."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from ddbench import networks
from ddbench.errors import BadInput
from ddbench.published._references import references

Kind = Literal["original", "reprinted", "rerun", "reproduction", "log"]
Labels = Literal["hard", "soft", "teacher"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LABELS: tuple[Labels, ...] = get_args(Labels)

_FILE = Path(__file__).with_name("numbers.csv")
_LARGEST_STD = 30.0
"""A larger one is a slip of the pen: the widest that is published is 7.2 points."""


@dataclass(frozen=True)
class PublishedNumber:
    """One accuracy as somebody reported it; None where the source does not say.

    Attributes:
        dataset: slug of ddbench, or of ``references().datasets``.
        method: slug of ddbench, or of ``references().methods``.
        features: whether the network was trained with F.
        ipc: images per class; None: the whole dataset.
        network_train: the network that the set was made with; several joined by ``+``.
        network: the network that was trained on the set and tested.
        accuracy: percent, on the test set.
        std: percentage points; over what, and with which ddof, differs between papers.
        zca: whether the set lies in ZCA-whitened space.
        augmentation: that of the training on the set, in the words of the source.
        labels: hard; soft: with the set, or by a teacher where that is not stated; teacher: given
            by a teacher while training.
        paper: the work that the number is ascribed to, or that prints it.
        source: where it was read.
        kind: who measured it, see docs/published.md.
        test_selected: whether it is the best of several evaluations on the test set.
        conflict: shared by the rows that state different numbers for one cell.
        note: what else to know.
    """

    dataset: str
    method: str
    features: bool
    ipc: int | None
    network_train: str | None
    network: str | None
    accuracy: float
    std: float | None
    zca: bool | None
    augmentation: str | None
    labels: Labels | None
    paper: str
    source: str
    kind: Kind
    test_selected: bool | None
    conflict: str | None
    note: str | None

    @property
    def where(self) -> str:
        """Paper and source in one line, for a footnote."""
        return self.source if self.paper in self.source else f"{self.paper}: {self.source}"


# --- reading -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """How a cell is read: ``read`` raises ``ValueError`` for what is not ``allowed``."""

    allowed: str
    read: Callable[[str], Any]
    required: bool = False


def _number(largest: float, *, end: bool) -> Callable[[str], float]:
    """Plain decimals from 0 to ``largest``, which itself counts if ``end``."""

    def read(text: str) -> float:
        value = float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else -1.0
        if 0 <= value < largest or (end and value == largest):
            return value
        raise ValueError

    return read


def _line(text: str) -> str:
    if text.isprintable() and text == text.strip():
        return text
    raise ValueError


def _count(text: str) -> int:
    if re.fullmatch(r"[1-9]\d*", text):
        return int(text)
    raise ValueError


def _one_of(values: Mapping[str, object]) -> _Column:
    def read(text: str) -> object:
        if text not in values:
            raise ValueError
        return values[text]

    return _Column(", ".join(values), read)


def _required(column: _Column) -> _Column:
    return _Column(column.allowed, column.read, required=True)


_TEXT = _Column("text on one line, without spaces around it", _line)
_TRUE_FALSE = _one_of({"true": True, "false": False})
_COLUMNS: Mapping[str, _Column] = MappingProxyType(
    {
        "dataset": _required(_TEXT),
        "method": _required(_TEXT),
        "features": _required(_TRUE_FALSE),
        "ipc": _Column("a positive integer, or nothing for the whole dataset", _count),
        "network_train": _TEXT,
        "network": _TEXT,
        "accuracy": _Column("0 to 100, in percent", _number(100, end=True), required=True),
        "std": _Column(f"0 to below {_LARGEST_STD:g}, in points", _number(_LARGEST_STD, end=False)),
        "zca": _one_of({"yes": True, "no": False}),
        "augmentation": _TEXT,
        "labels": _one_of({name: name for name in LABELS}),
        "paper": _required(_TEXT),
        "source": _required(_TEXT),
        "kind": _required(_one_of({name: name for name in KINDS})),
        "test_selected": _TRUE_FALSE,
        "conflict": _TEXT,
        "note": _TEXT,
    }
)
assert list(_COLUMNS) == [field.name for field in fields(PublishedNumber)]


@cache
def load() -> tuple[PublishedNumber, ...]:
    """All published numbers, in the order of the file."""
    return read(_FILE)


def read(path: Path) -> tuple[PublishedNumber, ...]:
    """The numbers of a file of this form.

    Raises:
        BadInput: a file, line and column that cannot be read, and what would have been.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file, strict=True)
            if next(rows, None) != list(_COLUMNS):
                raise BadInput("has other columns", file=path, field="line 1",
                               allowed=",".join(_COLUMNS))  # fmt: skip
            return tuple(_parsed(row, rows.line_num, path) for row in rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"cannot be read as CSV ({error})", file=path) from None


def _parsed(row: list[str], line: int, path: Path) -> PublishedNumber:
    if len(row) != len(_COLUMNS):
        raise BadInput(f"found {len(row)} cells", file=path, field=f"line {line}",
                       allowed=f"{len(_COLUMNS)} cells")  # fmt: skip
    values: dict[str, Any] = {}
    for (name, column), text in zip(_COLUMNS.items(), row, strict=True):
        place = f"line {line}, {name}"
        if not text.strip():
            if column.required:
                raise BadInput("is required and missing", file=path, field=place,
                               allowed=column.allowed)  # fmt: skip
            values[name] = None
            continue
        try:
            values[name] = column.read(text)
        except ValueError:
            raise BadInput(f"found '{text}'", file=path, field=place,
                           allowed=column.allowed) from None  # fmt: skip
    return PublishedNumber(**values)


# --- finding -----------------------------------------------------------------------------------

_Cell = tuple[str, bool, int | None, str | None]


def find(
    dataset: str, method: str, ipc: int | None, network: str | None, features: bool = False
) -> list[PublishedNumber]:
    """What is published for a cell, the number to compare with first; empty where nothing is.

    In this order: by kind as in ``KINDS`` (the method's own paper first); last what was chosen on
    the test set; with a spread before without; in ZCA space, plainly normalised, not stated; the
    higher accuracy.

    Args:
        dataset: its label in tables. ``imagenet1k`` finds the numbers at every image size.
        ipc: None: training on the whole dataset.
        network: name or label of the network that was tested; None: where it is not stated.
    """
    return list(_index().get((dataset, features, ipc, _label(network)), {}).get(method, ()))


def methods_at(
    dataset: str, ipc: int | None, network: str | None, features: bool = False
) -> tuple[str, ...]:
    """Slugs of the methods that ``find`` knows a number of in a cell, sorted."""
    return tuple(sorted(_index().get((dataset, features, ipc, _label(network)), ())))


@cache
def _index() -> dict[_Cell, dict[str, list[PublishedNumber]]]:
    index: dict[_Cell, dict[str, list[PublishedNumber]]] = defaultdict(lambda: defaultdict(list))
    sizes = references().datasets
    for number in sorted(load(), key=_preference):
        names = {number.dataset}
        if number.dataset in sizes and (other := sizes[number.dataset].at_size):
            names.add(other)
        for name in names:
            cell = (name, number.features, number.ipc, _label(number.network))
            index[cell][number.method].append(number)
    return index


def _preference(number: PublishedNumber) -> tuple[int, bool, bool, int, float, str]:
    return (
        KINDS.index(number.kind), number.test_selected is True, number.std is None,
        (True, False, None).index(number.zca), -number.accuracy, number.where,
    )  # fmt: skip


@cache
def _label(network: str | None) -> str | None:
    """The label that tables give to a network, so that every spelling of it is found."""
    if network is None:
        return None
    try:
        return networks.resolve(network).label
    except BadInput:
        return network  # a label that is no name, or a network that ddbench does not have
