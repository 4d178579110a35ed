"""The leaderboard as the page shows it: cells with what they sort by, rows with what filters them.

The columns are those of ``ddbench table --costs``; a column of ranks comes first where there are
any, and the protocol is a column wherever there are several.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pandas as pd

from ddbench.leaderboard.recipe_facts import DIVISIONS
from ddbench.leaderboard.section import Section
from ddbench.leaderboard.signs import NOTHING, TIMES
from ddbench.leaderboard.view import ipc_text, table_of
from ddbench.report.origins import Origin

Item = TypeVar("Item")

FILTERS = {
    "dataset": "Dataset", "method": "Method", "network": "Network", "ipc": "IPC",
    "protocol": "Protocol", "division": "Division",
}  # fmt: skip
"""What rows are filtered by, and how the choice is called."""

_VALUES = {
    "IPC": "ipc",
    "accuracy (%)": "accuracy_percent",
    "95 % interval": "interval_low_percent",
    f"sets {TIMES} networks": "n_networks",
    "bytes": "bytes",
    "images": "image_equivalents_per_class",
    "published (%)": "published_percent",
    "difference": "difference_points",
    "distillation (s per set)": "distill_seconds_per_set",
    "evaluation (s per network)": "evaluation_seconds_per_network",
    "peak memory": "peak_memory_bytes",
}
"""The numbers that columns are sorted by; the others are sorted by their text."""

_CELLS = (
    "Ranks are among the ranked rows of a cell: one dataset, size, network, protocol with its "
    "settings, and division."
)


@dataclass(frozen=True)
class Cell:
    """One cell: its text, the number it sorts by (None: by the text), whether it stands out."""

    text: str
    value: float | None
    bold: bool


@dataclass(frozen=True)
class BoardRow:
    """One row.

    Attributes:
        filters: its value for each of ``FILTERS``.
        anchor: the id of its provenance.
        unranked: why it has no rank; empty for rows that have one.
    """

    cells: Sequence[Cell]
    filters: Mapping[str, str]
    anchor: str
    unranked: str


@dataclass(frozen=True)
class Board:
    """The table.

    Attributes:
        right: which columns hold numbers.
        row_header: the column that names a row.
        choices: per filter its values, in the order in which they are offered.
        notes: what a reader has to know.
    """

    columns: Sequence[str]
    right: Sequence[bool]
    row_header: int
    rows: Sequence[BoardRow]
    choices: Mapping[str, Sequence[str]]
    notes: Sequence[str]


def board(summary: pd.DataFrame, origins: Mapping[tuple[str, str], Origin]) -> Board:
    """The leaderboard of a summary."""
    section = _with_protocol(table_of(summary, costs=True), summary)
    records = summary.to_dict(orient="records")
    sizes = Counter(row["cell"] for row in records if row["ranked"])
    ranked = bool(sizes)
    rows = [
        BoardRow(
            [*([_rank(row, sizes)] if ranked else []), *_cells(section, place, row)],
            _filters(row),
            origins[str(row["dataset"]), str(row["key"])].anchor,
            "" if row["ranked"] else str(row["unranked"]) or "not ranked",
        )
        for place, row in enumerate(records)
    ]
    choices = {name: _choices([row.filters[name] for row in rows]) for name in FILTERS}
    return Board(
        [*(["rank"] if ranked else []), *section.columns],
        [*([True] if ranked else []), *section.right],
        section.row_header + ranked,
        rows,
        choices,
        [*([_CELLS] if ranked else []), *section.notes],
    )


def _with_protocol(section: Section, summary: pd.DataFrame) -> Section:
    """The table with the protocols after the networks, where there are several to tell apart."""
    if summary["protocol"].nunique() < 2 or "protocol" in section.columns:
        return section
    at = list(section.columns).index("network") + 1
    return replace(
        section,
        columns=_inserted(section.columns, at, "protocol"),
        right=_inserted(section.right, at, False),
        rows=[
            _inserted(cells, at, str(protocol))
            for cells, protocol in zip(section.rows, summary["protocol"], strict=True)
        ],
        bold=frozenset((row, column + (column >= at)) for row, column in section.bold),
    )


def _inserted(items: Sequence[Item], at: int, item: Item) -> list[Item]:
    return [*items[:at], item, *items[at:]]


def _rank(row: Mapping[Any, Any], sizes: Mapping[Any, int]) -> Cell:
    """``1 of 4``: the rank, and how many rows of its cell have one."""
    if not row["ranked"]:
        return Cell(NOTHING, None, False)
    return Cell(f"{row['rank']} of {sizes[row['cell']]}", float(row["rank"]), False)


def _cells(section: Section, place: int, row: Mapping[Any, Any]) -> list[Cell]:
    return [
        Cell(text, _value(row, header), (place, column) in section.bold)
        for column, (header, text) in enumerate(
            zip(section.columns, section.rows[place], strict=True)
        )
    ]


def _value(row: Mapping[Any, Any], header: str) -> float | None:
    if header not in _VALUES:
        return None
    value = row[_VALUES[header]]
    return None if pd.isna(value) else float(value)


def _filters(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        "dataset": str(row["dataset"]),
        "method": str(row["name"]),
        "network": str(row["network"]),
        "ipc": ipc_text(row),
        "protocol": str(row["protocol"]),
        "division": DIVISIONS.get(str(row["division"]), str(row["division"])),
    }


def _choices(values: Sequence[str]) -> list[str]:
    """Each value once: numbers by size, then text."""
    return sorted(set(values), key=lambda text: (float(text) if text.isdigit() else math.inf, text))
