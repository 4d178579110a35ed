"""What a table needs of a result file; without torch, so that many files are opened quickly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ddbench.store.evaluations import Columns, EvaluationRecord, decode_columns, records_of
from ddbench.store.tree import open_tree

_LABELS, _VIEWS, _MANIFEST = "synthetic/y", "synthetic/views/", "synthetic/views/manifest"


@dataclass(frozen=True, eq=False)
class Header:
    """What a table needs: the attributes and the evaluations, without predictions.

    Attributes:
        columns: the table of evaluations.
        label_kind: ``index`` or one of the kinds of soft labels; None without a set.
        label_bytes: of soft labels as they are stored; 0 where the labels are classes.
        has_views: whether soft labels per view are stored, or referenced.
        view_bytes: of those that the file holds, uncompressed.
    """

    attrs: dict[str, Any]
    columns: Columns
    label_kind: str | None = None
    label_bytes: int = 0
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
        kind = file.attribute(_LABELS, "kind") if file.has(_LABELS) else None
        views = [name for name in file.paths() if name.startswith(_VIEWS)]
        return Header(
            attrs=file.attrs,
            columns=decode_columns(file),
            label_kind=kind,
            label_bytes=0 if kind in (None, "index") else file.nbytes(_LABELS),
            has_views=bool(views),
            view_bytes=sum(file.nbytes(name) for name in views if name != _MANIFEST),
        )
