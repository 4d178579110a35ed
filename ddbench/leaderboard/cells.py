"""Which rows of a table may be compared with one another, and which of them are best.

A cell holds the rows that differ in the method alone: one dataset, one size (IPC, or bytes), one
network, trained and tested alike, learned from the same kinds of labels. Network e of seed d is the
same for every method, so rows of a cell are compared in pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from ddbench import statistics
from ddbench.leaderboard.recipe_facts import Row
from ddbench.statistics import Scores

UPPER_BOUND = "full"
SHARED_SEEDS = 2
"""Seeds that two rows must have in common to be compared."""
TOLERANCE = 0.02
"""Rows of one storage cell take at most so much more than the smallest of it."""

FEW = "too few seeds or networks"
ALONE = "no seeds in common with the others"
NO_SET = "trains on the whole dataset"


def scores_of(part: pd.DataFrame | Mapping[str, Any]) -> Scores:
    """Accuracies by the set's seed and the network's: of the rows of a frame, or of its columns."""
    found: dict[int, dict[int, float]] = {}
    columns = (part[name] for name in ("seed", "network_seed", "accuracy"))
    for seed, network_seed, accuracy in zip(*columns, strict=True):
        found.setdefault(int(seed), {})[int(network_seed)] = float(accuracy)
    return found


def mark(rows: Sequence[Row], scores: Sequence[Scores], *, by_bytes: bool = False) -> list[Row]:
    """What the comparison says of each row: ``cell``, ``ranked``, ``unranked``, ``rank``, ``best``
    and ``p_vs_best``.

    Args:
        rows: of a summary, in its order.
        scores: those behind each row.
        by_bytes: rows meet at equal storage instead of equal IPC and division.
    """
    cells: defaultdict[Hashable, list[int]] = defaultdict(list)
    sizes = _storage(rows) if by_bytes else [(row["ipc"], row["division"]) for row in rows]
    for place, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        cells[(size, *(row[name] for name in _ALIKE))].append(place)
    marks: dict[int, Row] = {}
    for number, places in enumerate(cells.values(), 1):
        found = _ranks([rows[place] for place in places], [scores[place] for place in places])
        marks |= {place: {"cell": number, **row} for place, row in zip(places, found, strict=True)}
    return [marks[place] for place in range(len(rows))]


_ALIKE = ("dataset", "network", "comparable", "test_selected", "ensemble")


def _storage(rows: Sequence[Row]) -> list[Hashable]:
    """A number per row, equal where the bytes are equal within ``TOLERANCE``.

    The smallest row that is in no class yet starts one, among the rows of one dataset, network and
    training.
    """
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[tuple(row[name] for name in _ALIKE)].append(place)
    numbers: dict[int, int] = {}
    for places in groups.values():
        limit, number = -1.0, 0
        for place in sorted(places, key=lambda place: float(rows[place]["bytes"])):  # type: ignore[arg-type]
            size = float(rows[place]["bytes"])  # type: ignore[arg-type]
            if not size <= limit:
                limit, number = size * (1 + TOLERANCE), number + 1
            numbers[place] = number
    return [numbers[place] for place in range(len(rows))]


def _ranks(rows: Sequence[Row], scores: Sequence[Scores]) -> list[Row]:
    """The marks of the rows of one cell."""
    reasons = [_reason(row, each) for row, each in zip(rows, scores, strict=True)]
    enough = [place for place, reason in enumerate(reasons) if not reason]
    for place in _strangers({place: scores[place] for place in enough}):
        reasons[place] = ALONE
    ranked = [place for place in enough if not reasons[place]]
    marks: list[Row] = [{**_UNRANKED, "unranked": reason} for reason in reasons]
    if not ranked:
        return marks
    ties = statistics.tied_with_best([scores[place] for place in ranked])
    for position, place in enumerate(ranked):
        marks[place] = {
            "ranked": True,
            "unranked": "",
            "rank": ties.rank[position],
            "best": len(ranked) > 1 and ties.rank[position] == 1,
            "p_vs_best": ties.adjusted_p[position],
        }
    return marks


_UNRANKED: Row = {"ranked": False, "rank": None, "best": False, "p_vs_best": None}


def _reason(row: Row, scores: Scores) -> str:
    """Why a row takes no part; empty if it does."""
    if row["method"] == UPPER_BOUND:
        return NO_SET
    networks = min(map(len, scores.values()))
    few = len(scores) < statistics.MIN_SETS
    if few or (networks < statistics.MIN_NETWORKS and not row["ensemble"]):
        return FEW
    return ""


def _shared(a: Scores, b: Scores) -> int:
    """The number of seeds of which both have a network of the same number."""
    return sum(bool(a[seed].keys() & b[seed].keys()) for seed in a.keys() & b.keys())


def _strangers(scores: Mapping[int, Scores]) -> set[int]:
    """The fewest rows, taken one by one, without which all others share seeds with one another.

    Each time the row that shares seeds with the fewest others goes (of those, the one with the
    fewest seeds, then the last).
    """
    left, gone = dict(scores), set[int]()
    while True:
        apart: defaultdict[int, int] = defaultdict(int)
        for a, b in combinations(left, 2):
            if _shared(left[a], left[b]) < SHARED_SEEDS:
                apart[a] += 1
                apart[b] += 1
        if not apart:
            return gone
        worst = max(apart, key=lambda place: (apart[place], -len(left[place]), place))
        gone.add(worst)
        del left[worst]
