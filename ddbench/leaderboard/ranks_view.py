"""Methods over several cells: average ranks, and what they are worth.

A cell is one dataset, IPC, network and protocol with its settings; divisions (what is learned from
besides the images) are ranked apart, as in the table. Only rows that the table ranks take part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ddbench import statistics
from ddbench.leaderboard.cells import UPPER_BOUND
from ddbench.leaderboard.recipe_facts import DIVISIONS
from ddbench.leaderboard.section import Section
from ddbench.leaderboard.signs import NOTHING
from ddbench.leaderboard.summary import summarise
from ddbench.statistics import RankTable
from ddbench.statistics.ranks import MIN_CELLS, MIN_METHODS

_CELL = ["dataset", "ipc", "network", "protocol", "comparable"]
_COLUMNS = ("method", "average rank", "95 % interval", "best in")
_MOST = 6
"""How many cells a note names."""


def view(frame: pd.DataFrame) -> list[Section]:
    """Average ranks of the methods of every division, over the cells that all of them have.

    Args:
        frame: of ``collect``; baselines of protocols take no part.
    """
    summary = summarise(frame)
    own = summary[
        (summary["method"] != UPPER_BOUND) & ~summary["ensemble"] & ~summary["test_selected"]
    ]
    divisions = [name for name in DIVISIONS if (own["division"] == name).any()]
    return [_section(name, own[own["division"] == name]) for name in divisions]


def _section(division: str, summary: pd.DataFrame) -> Section:
    scores, several = _scores(summary[summary["ranked"]])
    title = f"Average ranks: {DIVISIONS[division]}"
    unranked = sorted({*summary["name"]} - {*scores.index, *several})
    if scores.shape[0] < 2:
        ways = [_several(several)] if several else []
        notes = [f"Fewer than two methods can be ranked.{_left(unranked)}", *ways]
        return Section(title, _COLUMNS, [], [False, True, True, True], notes)
    table = statistics.rank_table(scores.to_numpy(dtype=float).tolist())
    names = [str(name) for name in scores.index]
    wins = _wins(scores, table)
    places = range(len(names)) if table.cells else ()
    order = sorted(places, key=lambda place: (table.average[place], names[place]))
    return Section(
        title=title,
        columns=_COLUMNS,
        rows=[_cells(names[place], place, table, wins) for place in order],
        right=[False, True, True, True],
        notes=_notes(scores, table, several, unranked),
        data=[_record(division, names[place], place, table, wins) for place in order],
    )


def _scores(ranked: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Mean accuracies, methods by cells, and what is missing because it was made in several ways.

    A cell in which a method has several rows (recipes, or settings of F) counts as missing for it:
    which one stands for the method is not for a table to choose.
    """
    repeated = ranked.duplicated(["name", *_CELL], keep=False)
    single = ranked[~repeated].set_index(["name", *_CELL])["accuracy_percent"]
    by_cell = single.unstack(_CELL) if len(single) else pd.DataFrame()
    return by_cell, sorted(ranked["name"][repeated].unique())


def _wins(scores: pd.DataFrame, table: RankTable) -> list[int]:
    """In how many of the used cells each method has the highest mean."""
    used = scores.iloc[:, table.cells]
    return [int(count) for count in (used == used.max()).sum(axis=1)]


def _cells(name: str, place: int, table: RankTable, wins: Sequence[int]) -> list[str]:
    interval = NOTHING
    if table.intervals is not None:
        low, high = table.intervals[place]
        interval = f"[{low:.2f}, {high:.2f}]"
    return [name, f"{table.average[place]:.2f}", interval, f"{wins[place]} of {len(table.cells)}"]


def _record(
    division: str, name: str, place: int, table: RankTable, wins: Sequence[int]
) -> dict[str, object]:
    low, high = table.intervals[place] if table.intervals is not None else (None, None)
    return {
        "division": division,
        "name": name,
        "average_rank": table.average[place],
        "low": low,
        "high": high,
        "best_in": wins[place],
        "cells": len(table.cells),
        "cells_left_out": len(table.left_out),
        "friedman_p": table.friedman_p,
        "critical_difference": table.critical_difference,
    }


def _notes(
    scores: pd.DataFrame, table: RankTable, several: Sequence[str], unranked: Sequence[str]
) -> list[str]:
    """What a reader has to know about the ranks."""
    cells = [_told(dict(zip(_CELL, index, strict=True))) for index in scores.columns]
    used, left = ([cells[place] for place in places] for places in (table.cells, table.left_out))
    if not used:
        return [f"No cell has all of the methods: {', '.join(map(str, scores.index))}. "
                f"Cells: {_some(left)}.{_left(unranked)}"]  # fmt: skip
    notes = [
        f"Ranks by mean accuracy (1 is best, ties share) over the {_count(len(used))} that all "
        f"methods have: {_some(used)}."
    ]
    if left:
        notes.append(f"Left out, because a method is missing there: {_some(left)}.")
    if several:
        notes.append(_several(several))
    if table.friedman_p is not None and table.critical_difference is not None:
        notes.append(
            f"Friedman's test of equal ranks: p = {table.friedman_p:.4f}. Average ranks further "
            f"apart than {table.critical_difference:.2f} differ (Nemenyi, 5 %)."
        )
    else:
        notes.append(
            f"Intervals need {MIN_CELLS} cells, a test {MIN_CELLS} cells and {MIN_METHODS} "
            "methods: with fewer these ranks are a description."
        )
    if table.intervals is not None:
        notes.append("Intervals: bootstrap over cells.")
    notes.append(
        "Cells of one dataset are not independent: they share its images, so intervals and tests "
        f"are too sure of themselves.{_left(unranked)}"
    )
    return notes


def _several(names: Sequence[str]) -> str:
    return f"Missing where it was made in several ways: {', '.join(names)}."


def _left(unranked: Sequence[str]) -> str:
    return f" Not ranked in the table, and so not here: {', '.join(unranked)}." if unranked else ""


def _count(cells: int) -> str:
    return "1 cell" if cells == 1 else f"{cells} cells"


def _told(cell: Mapping[Any, Any]) -> str:
    ipc = "all" if pd.isna(cell["ipc"]) else f"IPC {cell['ipc']}"
    return f"{cell['dataset']} {ipc} {cell['network']} {cell['protocol']}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return "; ".join(names[:_MOST]) + more
