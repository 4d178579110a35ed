"""The result of one run: writing it as a whole, reading it whole or in part."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ddbench.distilled import DistilledSet
from ddbench.errors import BadInput
from ddbench.store import schema
from ddbench.store.atomic import publish
from ddbench.store.evaluations import EvaluationRecord, decode_evaluations, encode_evaluations
from ddbench.store.precision import ImageDtype
from ddbench.store.sets import SetReader, SetWriter
from ddbench.store.tree import Array, Attribute, Leaf, TreeFile, open_tree, write_tree
from ddbench.store.views import SoftLabelViews, decode_views, encode_views


@dataclass(frozen=True, eq=False)
class Result:
    """One run with one seed.

    Attributes:
        attrs: ``schema.ATTRIBUTES`` and any others; text, numbers, truth values, arrays of numbers.
            None is left out of the file. ``schema`` and ``checksums`` are the writer's.
        synthetic: the distilled set; None for a method that has none (``full``).
        views: soft labels per view.
        snapshots: the set at earlier iterations.
        evaluations: its scores.
        log: per-iteration scalars [T]; ``iteration`` is their common axis.
        x_dtype: how images are stored; ``uint8`` asks for values that are exact in it
            (``round_images``).

    Raises:
        ValueError: views without a set, a log without ``iteration`` or of different lengths.
    """

    attrs: dict[str, Any]
    synthetic: DistilledSet | None = None
    views: SoftLabelViews | None = None
    snapshots: dict[int, DistilledSet] = field(default_factory=dict)
    evaluations: Sequence[EvaluationRecord] = ()
    log: dict[str, Array] = field(default_factory=dict)
    x_dtype: ImageDtype = "float32"

    def __post_init__(self) -> None:
        if self.views is not None and self.synthetic is None:
            raise ValueError("views belong to a synthetic set")
        if any(iteration < 0 for iteration in self.snapshots):
            raise ValueError("a snapshot's iteration cannot be negative")
        if self.log and "iteration" not in self.log:
            raise ValueError("a log needs 'iteration'")
        shapes = {name: np.shape(values) for name, values in self.log.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"the log's columns differ in shape: {shapes}")


def write(path: Path, result: Result) -> None:
    """Publish ``result`` at ``path``; on any failure what was there before stays.

    Raises:
        ValueError: content that the file cannot hold exactly.
        OSError: the file system refused.
    """
    attrs = _attributes(result.attrs)
    leaves = _leaves(result)
    with publish(path) as temporary:
        write_tree(temporary, attrs, leaves)


def read(path: Path) -> Result:
    """The whole result.

    Raises:
        BadInput: missing, not ours, too new, or damaged.
    """
    with open_tree(path) as file:
        sets = SetReader(file)
        has_set = file.has("synthetic/x") or file.has("synthetic/y")
        return Result(
            attrs=file.attrs,
            synthetic=sets.read("synthetic") if has_set else None,
            views=decode_views(file),
            snapshots={number: sets.read(f"snapshots/{number}") for number in _iterations(file)},
            evaluations=decode_evaluations(file),
            log=_log(file),
            x_dtype=_x_dtype(file),
        )


def read_set(path: Path, iteration: int | None = None) -> DistilledSet:
    """The final set, or the snapshot at ``iteration``.

    Raises:
        BadInput: as ``read``; also when the file holds no such set.
    """
    with open_tree(path) as file:
        if iteration is None:
            if not file.has("synthetic/x"):
                raise file.bad("holds no synthetic set")
            return SetReader(file).read("synthetic")
        known = _iterations(file)
        if iteration not in known:
            raise BadInput(
                f"holds no snapshot at iteration {iteration}", file=path, allowed=known or "none"
            )
        return SetReader(file).read(f"snapshots/{iteration}")


def _attributes(attrs: Mapping[str, Any]) -> dict[str, Attribute]:
    """The attributes as stored; raises ``ValueError`` for what is missing or no plain value."""
    given = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in attrs.items()
        if value is not None
    }
    if given.setdefault("schema", schema.VERSION) != schema.VERSION:
        raise ValueError(f"only schema {schema.VERSION} is written, not {given['schema']}")
    missing = [name for name in schema.REQUIRED if name not in given]
    if missing:
        raise ValueError(f"attributes are missing: {', '.join(missing)}")
    if given["status"] not in schema.STATUSES:
        raise ValueError(f"status '{given['status']}' is not one of {schema.STATUSES}")
    if "checksums" in given:
        raise ValueError("attribute 'checksums' is the writer's")
    for name, value in given.items():
        plain = isinstance(value, str | float) or _is_int64(value)
        numbers = isinstance(value, np.ndarray) and value.dtype.kind in "iufb"
        if not (plain or numbers):
            raise ValueError(f"attribute '{name}' cannot hold {value!r}")
    return given


def _is_int64(value: object) -> bool:
    return isinstance(value, int) and -(2**63) <= value < 2**63


def _leaves(result: Result) -> dict[str, Leaf]:
    sets = SetWriter(result.x_dtype)
    if result.synthetic is not None:
        sets.add("synthetic", result.synthetic)
    for iteration, snapshot in sorted(result.snapshots.items()):
        sets.add(f"snapshots/{iteration}", snapshot)
    leaves = sets.leaves | encode_evaluations(result.evaluations)
    if result.views is not None:
        leaves |= encode_views(result.views)
    for name, values in result.log.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"'{name}' cannot name a column of the log")
        leaves[f"log/{name}"] = Leaf(np.asarray(values))
    return leaves


def _iterations(file: TreeFile) -> list[int]:
    found = (re.fullmatch(r"snapshots/([0-9]+)/x", path) for path in file.paths())
    return sorted(int(match[1]) for match in found if match)


def _log(file: TreeFile) -> dict[str, Array]:
    log: dict[str, Array] = {}
    for path in file.paths():
        name = path.removeprefix("log/")
        if name != path:
            log[name] = np.asarray(file.leaf(path).value)
    return log


def _x_dtype(file: TreeFile) -> ImageDtype:
    for path in file.paths():
        if re.fullmatch(r"synthetic/x|snapshots/[0-9]+/x", path):
            return "uint8" if file.dtype(path) == np.uint8 else "float32"
    return "float32"
