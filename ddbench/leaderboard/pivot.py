"""The table turned: one row per method, one column per architecture, IPC or dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from ddbench.errors import unknown
from ddbench.leaderboard.notes import cell_counts, footer, sources
from ddbench.leaderboard.section import Section
from ddbench.leaderboard.signs import NOTHING
from ddbench.leaderboard.view import (
    KEYS,
    Column,
    SummaryRow,
    accuracy_text,
    bytes_text,
    marked,
    plain_record,
    published_text,
    rows_of,
    stands_out,
    telling,
)

AXES: Mapping[str, str] = {"networks": "network", "ipc": "ipc", "datasets": "dataset"}
"""What can be turned, and the column that holds it."""
VALUES = (
    *("accuracy_percent", "accuracy_std_percent", "n_sets", "n_networks", "rank", "best"),
    *("test_selected", "published_percent", "measured"),
)
"""Columns of a summary that csv and json give for every cell."""

_Cells = dict[str, SummaryRow]


def pivot(summary: pd.DataFrame, axis: str) -> Section:
    """The summary with the values of ``axis`` as columns; a missing cell is a dash.

    Its records have one column ``VALUE[axis value]`` for every value of every cell.

    Args:
        summary: of ``summarise``.
        axis: one of ``AXES``.

    Raises:
        BadInput: an unknown axis.
    """
    if axis not in AXES:
        raise unknown("axis", axis, list(AXES), "--pivot")
    field = AXES[axis]
    summary = summary.assign(recipe=_families(summary, field))
    keys = [*(column for name, column in _KEYS.items() if name != field), *telling(summary)]
    if summary.attrs.get("by_bytes"):
        keys.append(_BYTES)
    rows = _rows(summary, field, keys)
    values = sorted({value for cells in rows.values() for value in cells}, key=_place)
    shown = sources(summary[~summary["measured"]])
    numbers = {source: number for number, source in enumerate(shown, 1)}
    return Section(
        title="",
        columns=[*(key.header for key in keys), *(_header(field, value) for value in values)],
        rows=[
            [*texts[: len(keys)], *(_text(cells.get(value), numbers) for value in values)]
            for texts, cells in rows.items()
        ],
        right=[*(key.right for key in keys), *(True for _ in values)],
        notes=[cell_counts(summary), *footer(summary, turned=True)],
        data=[_record(texts, keys, cells, values) for texts, cells in rows.items()],
        bold=frozenset(
            (place, len(keys) + number)
            for place, cells in enumerate(rows.values())
            for number, value in enumerate(values)
            if value in cells and stands_out(cells[value])
        ),
        row_header=[key.header for key in keys].index("method"),
    )


_BYTES = Column("bytes", True, lambda row: bytes_text(row["bytes"]))
_KEYS = {**KEYS, "name": Column("method", False, lambda row: str(row["name"]))}
"""The columns before the cells; the method without its marks, which are those of cells."""


def _rows(
    summary: pd.DataFrame, field: str, keys: Sequence[Column]
) -> dict[tuple[str, ...], _Cells]:
    """Rows of the summary by the text of ``keys`` (and what keeps rows apart), then by column."""
    rows: dict[tuple[str, ...], _Cells] = {}
    for row in rows_of(summary):
        texts = (*(key.text(row) for key in keys), *_apart(row))
        rows.setdefault(texts, {})[KEYS[field].text(row)] = row
    return rows


def _apart(row: SummaryRow) -> tuple[str, ...]:
    """What the cells of one row have in common without a column that says so: marks say it."""
    repeated = "" if row["measured"] else str(row["published_source"])
    return str(row["test_selected"]), str(row["measured"]), repeated


def _families(summary: pd.DataFrame, field: str) -> pd.Series:
    """The recipes' names without what the columns of the table say."""
    if field == "ipc":
        return summary["recipe"].str.replace(r"_ipc[0-9]+", "", regex=True)
    if field == "dataset":
        pairs = zip(summary["recipe"], summary["dataset"], strict=True)
        names = [str(recipe).removeprefix(f"{dataset}_") for recipe, dataset in pairs]
        return pd.Series(names, index=summary.index, dtype="str")
    return summary["recipe"]


def _place(value: str) -> tuple[bool, list[tuple[int, str]]]:
    """Numbers by size (ConvNetD2 before ConvNetD10), ``all`` behind them."""
    parts = re.findall(r"[0-9]+|[^0-9]+", value)
    return value == "all", [(int(p), "") if p.isdecimal() else (-1, p.lower()) for p in parts]


def _header(field: str, value: str) -> str:
    return f"IPC {value}" if field == "ipc" and value.isdecimal() else value


def _text(row: SummaryRow | None, numbers: Mapping[str, int]) -> str:
    if row is None:
        return NOTHING
    return marked(accuracy_text(row) if row["measured"] else published_text(row, numbers), row)


def _record(
    texts: Sequence[str], keys: Sequence[Column], cells: _Cells, values: Sequence[str]
) -> dict[str, object]:
    """The keys as text, and what is known of every cell."""
    record: dict[str, object] = {key.header: text for key, text in zip(keys, texts, strict=False)}
    for value in values:
        cell = plain_record(cells.get(value, {}))
        record |= {f"{name}[{value}]": cell.get(name) for name in VALUES}
    return record
