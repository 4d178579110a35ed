"""Many methods in one cell: Holm's correction, ties with the best, ranks that can be told.

Every row is compared with each other row of its cell, and Holm's step-down is over these
comparisons. So what is said of a row is wrong with a probability below alpha, whichever row it is
and whichever turned out best: a truly best row is tied with the best, and has rank 1, with
probability 1 - alpha. It does not bound the probability of any error in the whole cell; one family
of all pairs would, and with three sets and ten rows it would tell hardly anything apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ddbench.statistics.components import mean, mean_over_sets
from ddbench.statistics.paired import DIGITS, Scores, check, paired_t, set_differences


@dataclass(frozen=True)
class Ties:
    """The rows of a cell against one another; lists are in the order of the rows.

    Attributes:
        best: the row with the highest mean over sets. Of equal means one is taken by its scores,
            not by its place.
        adjusted_p: of each row against the best; None for the best itself, and for a row that
            shares fewer than two seeds with it.
        tied: not significantly worse than the best; None where that cannot be tested.
        rank: 1 + the number of rows that are significantly better: the best rank that the data
            allow. Rows that cannot be told apart share one, and numbers may be left out.
    """

    best: int
    adjusted_p: list[float | None]
    tied: list[bool | None]
    rank: list[int]


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given: max over j <= i of (n - j + 1) p_(j), at most 1.

    Holm 1979. Written out, because statsmodels' ``multipletests`` collects the interpreter's
    garbage in every call (60 ms), which a table has many of. Raises ValueError for what is no
    probability.
    """
    array = np.asarray(p, dtype=np.float64)
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError("p-values are from 0 to 1")
    order = np.argsort(array, kind="stable")
    steps = np.maximum.accumulate(array[order] * np.arange(array.size, 0, -1))
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(steps, 1.0)
    return [float(value) for value in adjusted]


def tied_with_best(rows: Sequence[Scores], *, alpha: float = 0.05) -> Ties:
    """Which rows of a cell are tied with the best one, and the ranks that can be told.

    Rows are compared over the seeds that both have, as in ``paired``: at least two, else the two
    are not told apart. The means that decide which is best are over all seeds of a row.

    Args:
        rows: the scores of each row, by seed of the set and number of the network.
        alpha: probability of an error that is accepted for each row.

    Raises:
        ValueError: no row, a row without scores, or an accuracy that is no fraction.
    """
    if not rows:
        raise ValueError("there is no row")
    for row in rows:
        check(row)
    best = max(range(len(rows)), key=lambda index: _merit(rows[index]))
    compared = _compared(rows)
    adjusted = [_holm_of(tests) for tests in compared]
    better = [
        {j for j, p in adjusted[i].items() if p <= alpha and tests[j][0] < 0}
        for i, tests in enumerate(compared)
    ]
    return Ties(
        best=best,
        adjusted_p=[tests.get(best) for tests in adjusted],
        tied=[
            best not in better[i] if i == best or best in tests else None
            for i, tests in enumerate(compared)
        ],
        rank=[1 + len(others) for others in better],
    )


def _holm_of(tests: dict[int, tuple[float, float]]) -> dict[int, float]:
    return dict(zip(tests, holm([p for _, p in tests.values()]), strict=True))


def _merit(row: Scores) -> tuple[float, list[tuple[int, list[tuple[int, float]]]]]:
    """What the best row has most of: its mean, then any order that is not that of the rows."""
    average = mean_over_sets([list(networks.values()) for networks in row.values()])
    scores = [(seed, sorted(row[seed].items())) for seed in sorted(row)]
    return round(average, DIGITS), scores


def _compared(rows: Sequence[Scores]) -> list[dict[int, tuple[float, float]]]:
    """Of every row, by the other row: its lead in mean difference, and p of a paired t-test."""
    found: list[dict[int, tuple[float, float]]] = [{} for _ in rows]
    for i, j in combinations(range(len(rows)), 2):
        differences = set_differences(rows[i], rows[j])
        if len(differences) > 1:
            lead, p = mean(differences), paired_t(differences)
            found[i][j], found[j][i] = (lead, p), (-lead, p)
    return found
