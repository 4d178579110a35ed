"""One table with its title and notes, before it has a format: what a view gives to ``render``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A table as a reader sees it, and the same numbers at full precision.

    Text is plain: every format escapes it in its own way.

    Attributes:
        title: what the table shows; a heading or a caption.
        columns: the headers, [columns].
        rows: the cells as text, [rows][columns].
        right: whether a column is set flush right, [columns].
        notes: what a reader has to know, one sentence or two each.
        data: records for csv and json, in the order of the rows; values are text, numbers, booleans
            or None.
        bold: positions (row, column) of the cells that stand out.
        row_header: the column that names a row.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[bool]
    notes: Sequence[str] = ()
    data: Sequence[Mapping[str, object]] = ()
    bold: frozenset[tuple[int, int]] = frozenset()
    row_header: int = 0

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in (self.right, *self.rows)):
            raise ValueError(f"table '{self.title}': a row has not {len(self.columns)} cells")
