"""What a table needs of a result file; without torch, so that many files are opened quickly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ddbench.store.evaluations import Columns, EvaluationRecord, decode_columns, records_of
from ddbench.store.tree import TreeFile, open_tree

_LABELS, _VIEWS = "synthetic/y", "synthetic/views/"


@dataclass(frozen=True)
class StoredLabels:
    """The labels of a set as they are stored; ``kind`` is ``index`` or one of soft labels."""

    kind: str
    shape: tuple[int, ...]
    itemsize: int


@dataclass(frozen=True, eq=False)
class Header:
    """What a table needs: the attributes and the evaluations, without predictions.

    Attributes:
        columns: the table of evaluations.
        labels: how the set is labelled; None without a set.
        has_views: whether soft labels per view are stored, or referenced.
        view_bytes: bytes of those that the file holds, uncompressed.
    """

    attrs: dict[str, Any]
    columns: Columns
    labels: StoredLabels | None = None
    has_views: bool = False
    view_bytes: int = 0

    @cached_property
    def evaluations(self) -> tuple[EvaluationRecord, ...]:
        """The rows of ``columns``."""
        return tuple(records_of(self.columns))


def read_header(path: Path) -> Header:
    """The attributes and evaluations; reads no tensors, so that a table can open many files.

    Raises:
        BadInput: missing, not ours, too new, or damaged (what is not read is not checked).
    """
    with open_tree(path) as file:
        views = [name for name in file.paths() if name.startswith(_VIEWS)]
        return Header(
            file.attrs,
            decode_columns(file),
            _stored_labels(file) if file.has(_LABELS) else None,
            bool(views),
            sum(file.outline(name).nbytes for name in views),
        )


def _stored_labels(file: TreeFile) -> StoredLabels:
    outline = file.outline(_LABELS)
    return StoredLabels(str(outline.attrs.get("kind")), outline.shape, outline.dtype.itemsize)
