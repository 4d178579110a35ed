"""Published numbers beside measured ones: those that ddbench ships, for the cells of a table.

A published number never becomes an accuracy of a table: it stands in the columns of its own, and a
row that only repeats one is not ``measured``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from ddbench import published
from ddbench.leaderboard.recipe_facts import Row, is_within
from ddbench.leaderboard.summary import frame_of
from ddbench.published import PublishedNumber

_Cell = tuple[str, int | None, str, bool]
"""Dataset, IPC, network, with F or without."""


def with_published(summary: pd.DataFrame) -> pd.DataFrame:
    """``summary`` with the published numbers of its cells.

    Rows whose recipe names none take the first of ``published.find``; a method that has a published
    number in the cell of a measured row, and is not measured there, gets a row of its own.
    """
    rows: list[Row] = [
        {str(name): value for name, value in row.items()}
        for row in summary.to_dict(orient="records")
    ]
    plain = [row for row in rows if _is_plain(row)]
    for row in plain:
        if pd.isna(row["published_percent"]):  # type: ignore[call-overload]
            row.update(_beside(row))
    division = summary.attrs.get("division")
    more = [
        each
        for cell, methods in _measured(plain)
        for each in _others(cell, methods)
        if division in (None, each["division"])
    ]
    return frame_of([*rows, *more], summary.attrs)


def _is_plain(row: Row) -> bool:
    """Whether a row is what papers report: single networks, trained and tested as the recipe says,
    and F used where the set has F.
    """
    as_papers = row["has_features"] == row["used_features"] and row["as_recipe"]
    return bool(as_papers and not row["ensemble"])


def _cell(row: Row) -> _Cell:
    ipc: Any = row["ipc"]
    whole = None if pd.isna(ipc) else int(ipc)
    return str(row["dataset"]), whole, str(row["network"]), bool(row["used_features"])


def _measured(rows: Iterable[Row]) -> Iterator[tuple[_Cell, set[str]]]:
    """The cells, and the methods that were measured in each."""
    cells: dict[_Cell, set[str]] = {}
    for row in rows:
        cells.setdefault(_cell(row), set()).add(str(row["method"]))
    yield from cells.items()


def _beside(row: Row) -> Row:
    """The published columns of a measured row; nothing where nothing is published of its kind."""
    dataset, ipc, network, features = _cell(row)
    found = [
        number
        for number in published.find(dataset, str(row["method"]), ipc, network, features)
        if _division(number) in (None, row["division"])
    ]
    if not found or row["fixed_images"]:
        return {}
    accuracy: Any = row["accuracy_percent"]
    difference, std = accuracy - found[0].accuracy, found[0].std
    return {
        **_columns(found[0]),
        "difference_points": difference,
        "within_published": None if std is None else is_within(difference, std),
    }


def _others(cell: _Cell, measured: set[str]) -> Iterator[Row]:
    """A row for every published method of a cell that was not measured there."""
    dataset, ipc, network, features = cell
    for method in published.methods_at(dataset, ipc, network, features):
        if method in measured:
            continue
        number = published.find(dataset, method, ipc, network, features)[0]
        title = published.title_of(method)
        yield {
            "dataset": dataset,
            "method": method,
            "name": f"{title} + F" if features else title,
            "ipc": ipc,
            "network": network,
            "division": _division(number),
            **_columns(number),
            **dict.fromkeys(("used_features", "has_features"), features),
            **dict.fromkeys(("fixed_images", "ensemble", "as_recipe"), False),
            **dict.fromkeys(("ranked", "best", "measured"), False),
            "test_selected": bool(number.test_selected),
        }


def _division(number: PublishedNumber) -> str | None:
    """What its networks learned from; None where the source does not say."""
    return "features" if number.features else number.labels


def _columns(number: PublishedNumber) -> Row:
    details = [
        text
        for holds, text in (
            (number.kind != "original", number.kind),
            (number.zca, "ZCA"),
            (number.test_selected, "best of several evaluations on the test set"),
            (number.conflict, "other sources state other numbers"),
        )
        if holds
    ]
    source = f"{number.where} ({', '.join(details)})" if details else number.where
    return {
        "published_percent": number.accuracy,
        "published_std_percent": math.nan if number.std is None else number.std,
        "published_source": source,
    }
