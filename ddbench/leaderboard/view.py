"""What a reader sees of a summary: which columns, how numbers are written, which stand out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ddbench.leaderboard.cells import ALONE, FEW
from ddbench.leaderboard.notes import footer, sources
from ddbench.leaderboard.recipe_facts import DIVISIONS
from ddbench.leaderboard.section import Section
from ddbench.leaderboard.signs import DAGGER, DOUBLE_DAGGER, NOTHING, PLUS_MINUS, TIMES, UNRANKED

SummaryRow = Mapping[str, Any]

_IDENTITY = ["dataset", "name", "ipc", "network", "test_selected", "measured", "published_source"]
_TELLING = {
    "recipe": "recipe",
    "protocol": "protocol",
    "tta": "test-time augmentation",
    "selection": "selection",
    "evaluation_key": "evaluation key",
    "key": "key",
    "iterations": "iteration",
}


@dataclass(frozen=True)
class Column:
    """A column of the table: its header, whether it is set flush right, and the text of a row."""

    header: str
    right: bool
    text: Callable[[SummaryRow], str]


def table_of(summary: pd.DataFrame, *, published: bool = False, costs: bool = False) -> Section:
    """The summary as a table; see ``render`` for ``published`` and ``costs``."""
    columns = _columns(summary, published, costs)
    rows = rows_of(summary)
    accuracy = [column.header for column in columns].index(ACCURACY)
    return Section(
        title="",
        columns=[column.header for column in columns],
        rows=[[column.text(row) for column in columns] for row in rows],
        right=[column.right for column in columns],
        notes=footer(summary),
        data=[plain_record(row) for row in rows],
        bold=frozenset((place, accuracy) for place, row in enumerate(rows) if stands_out(row)),
        row_header=1,
    )


def rows_of(summary: pd.DataFrame) -> list[SummaryRow]:
    """The rows of a summary by column."""
    return [
        {str(name): value for name, value in row.items()}
        for row in summary.to_dict(orient="records")
    ]


def telling_columns(summary: pd.DataFrame) -> list[str]:
    """The further columns without which two rows would look the same."""
    shown = list(_IDENTITY)
    distinct = _distinct(summary, shown)
    for name in _TELLING:
        if distinct == len(summary):
            break
        more = _distinct(summary, [*shown, name])
        if more > distinct:
            shown.append(name)
            distinct = more
    return shown[len(_IDENTITY) :]


def _distinct(summary: pd.DataFrame, columns: list[str]) -> int:
    return len(summary.drop_duplicates(columns))


ACCURACY = "accuracy (%)"


def _columns(summary: pd.DataFrame, published: bool, costs: bool) -> list[Column]:
    columns = [
        *(KEYS[name] for name in ("dataset", "name", "ipc", "network")),
        *telling(summary),
        Column(ACCURACY, True, accuracy_text),
        Column("95 % interval", True, _interval),
        Column(f"sets {TIMES} networks", True, _counts),
        Column("bytes", True, lambda row: bytes_text(row["bytes"])),
        Column("images", True, lambda row: _decimals(row["image_equivalents_per_class"])),
    ]
    if summary["division"].nunique() > 1:
        columns.append(
            Column("division", False, lambda row: DIVISIONS.get(row["division"], NOTHING))
        )
    if published or (summary["measured"] & summary["published_percent"].notna()).any():
        columns += _published_columns(summary)
    return columns + (_COSTS if costs else [])


def telling(summary: pd.DataFrame) -> list[Column]:
    """``telling_columns`` with their headers."""
    return [Column(_TELLING[name], False, _field(name)) for name in telling_columns(summary)]


def _field(name: str) -> Callable[[SummaryRow], str]:
    return lambda row: NOTHING if pd.isna(row[name]) else str(row[name])


# --- cells ---------------------------------------------------------------------------------------


def marked(text: str, row: SummaryRow) -> str:
    """``text`` with the marks of a row: published, chosen on the test set, not ranked."""
    signs = (
        (not row["measured"], DOUBLE_DAGGER),
        (row["test_selected"], DAGGER),
        (row["unranked"] in (FEW, ALONE), UNRANKED),
    )
    return " ".join([text, *(sign for holds, sign in signs if holds)])


def ipc_text(row: SummaryRow) -> str:
    """Images per class; ``all`` for the whole dataset."""
    return "all" if pd.isna(row["ipc"]) else str(row["ipc"])


KEYS = {
    "dataset": Column("dataset", False, _field("dataset")),
    "name": Column("method", False, lambda row: marked(str(row["name"]), row)),
    "ipc": Column("IPC", True, ipc_text),
    "network": Column("network", False, _field("network")),
}
"""The columns that say what a row is of."""


def accuracy_text(row: SummaryRow) -> str:
    """Mean and spread, in percent; a dash for what was not measured."""
    return _spread(row["accuracy_percent"], row["accuracy_std_percent"])


def stands_out(row: SummaryRow) -> bool:
    """Whether the accuracy is set in bold: among the best, and owing nothing to the test set."""
    return bool(row["best"] and not row["test_selected"])


def _spread(mean: float, std: float) -> str:
    if pd.isna(mean):
        return NOTHING
    return f"{mean:.2f}" if pd.isna(std) else f"{mean:.2f} {PLUS_MINUS} {std:.2f}"


def _interval(row: SummaryRow) -> str:
    low, high = row["interval_low_percent"], row["interval_high_percent"]
    return NOTHING if pd.isna(low) else f"[{low:.2f}, {high:.2f}]"


def _counts(row: SummaryRow) -> str:
    """``3 x 20``, or the total where the sets have different numbers of networks."""
    if not row["measured"]:
        return "published"
    if row["ensemble"]:
        return f"{row['n_sets']} ensembles"
    per_set = row["networks_per_set"]
    if pd.isna(per_set):
        return f"{row['n_networks']} on {row['n_sets']} sets"
    return f"{row['n_sets']} {TIMES} {per_set}"


def _published_columns(summary: pd.DataFrame) -> list[Column]:
    numbers = {source: number for number, source in enumerate(sources(summary), 1)}
    return [
        Column("published (%)", True, lambda row: published_text(row, numbers)),
        Column("difference", True, _difference),
        Column("within", False, _within),
    ]


def published_text(row: SummaryRow, numbers: Mapping[str, int]) -> str:
    """The published number, with that of its source."""
    if pd.isna(row["published_percent"]):
        return NOTHING
    value = _spread(row["published_percent"], row["published_std_percent"])
    return f"{value} [{numbers[str(row['published_source'])]}]"


def _difference(row: SummaryRow) -> str:
    points = row["difference_points"]
    if pd.isna(points):
        return NOTHING
    return f"{points:+.2f}" if round(points, 2) else "0.00"


def _within(row: SummaryRow) -> str:
    if pd.isna(row["within_published"]):
        return NOTHING
    return "yes" if row["within_published"] else "no"


def _decimals(value: float) -> str:
    return NOTHING if pd.isna(value) else f"{value:.2f}"


def bytes_text(count: float) -> str:
    """Bytes as ``human_bytes``; a dash where they are not known."""
    return NOTHING if pd.isna(count) else human_bytes(count)


def human_bytes(count: float) -> str:
    """Bytes in units of 1000: ``850 B``, ``25.1 kB``."""
    if count < 1000:
        return f"{math.ceil(count)} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if round(count, 1) < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def _seconds(value: float) -> str:
    """Three significant digits, without an exponent."""
    if pd.isna(value):
        return NOTHING
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:.{min(max(digits, 0), 4)}f}"


_COSTS = [
    Column("distillation (s per set)", True, lambda row: _seconds(row["distill_seconds_per_set"])),
    Column(
        "evaluation (s per network)",
        True,
        lambda row: _seconds(row["evaluation_seconds_per_network"]),
    ),
    Column("peak memory", True, lambda row: bytes_text(row["peak_memory_bytes"])),
    Column("device", False, _field("device")),
]


# --- for programs --------------------------------------------------------------------------------


def plain_record(row: SummaryRow) -> dict[str, object]:
    """A row as values that JSON has; whatever is missing or not finite is None."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: object) -> object:
    item: Callable[[], object] | None = getattr(value, "item", None)
    value = item() if item else value
    if value is None or value is pd.NA:
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value
