"""Methods over several cells: average ranks, and whether the cells tell them apart.

    Friedman: all methods have the same distribution of ranks
    Nemenyi:  CD = q / sqrt(2) * sqrt(K (K + 1) / (6 N))       K methods, N cells, q of the
                                                               studentised range (Demsar 2006)

The cell is the unit. Cells with the same data at several IPCs are not independent; then all of
this is narrower than it should be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ddbench.statistics.components import Values
from ddbench.statistics.intervals import t_quantile

MIN_CELLS = 6
"""Cells from which there are intervals and tests."""
MIN_METHODS = 3
"""Methods from which there are tests of all of them."""


@dataclass(frozen=True)
class RankTable:
    """Average ranks over the cells that all methods have; lists are in the order of the methods.

    Attributes:
        average: mean rank, 1 is best; ties share the mean of their ranks. NaN without a cell.
        intervals: (low, high) of each by a bootstrap over cells; None with fewer than
            ``MIN_CELLS``. Of no width where all cells agree, which is no proof.
        cells: the columns that were used.
        left_out: the columns in which some method has no score.
        friedman_p: None with fewer than ``MIN_CELLS`` cells or ``MIN_METHODS`` methods.
        critical_difference: two methods whose average ranks are further apart differ
            (Nemenyi); None as ``friedman_p``.
    """

    average: list[float]
    intervals: list[tuple[float, float]] | None
    cells: list[int]
    left_out: list[int]
    friedman_p: float | None
    critical_difference: float | None


def rank_table(
    scores: ArrayLike, *, level: float = 0.95, resamples: int = 4000, seed: int = 0
) -> RankTable:
    """Rank methods in every cell, and average over the cells that all of them have.

    Args:
        scores: [methods, cells], higher is better, NaN where a method has no score.
        level: of the intervals; 1 - level is the error of Nemenyi's difference.
        resamples: number of resamples of the cells.
        seed: of the draws, which are the same for any order of the methods.

    Raises:
        ValueError: no methods or cells, an infinite score, or too few resamples for the level.
    """
    from scipy.stats import rankdata

    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or array.size == 0 or np.isinf(array).any():
        raise ValueError("scores are finite numbers, or NaN where missing, [methods, cells]")
    there = ~np.isnan(array).any(axis=0)
    ranks = rankdata(-array[:, there], axis=0)
    methods, cells = ranks.shape
    enough = cells >= MIN_CELLS
    tested = enough and methods >= MIN_METHODS
    return RankTable(
        average=ranks.mean(axis=1).tolist() if cells else [math.nan] * methods,
        intervals=_intervals(ranks, level, resamples, seed) if enough else None,
        cells=np.flatnonzero(there).tolist(),
        left_out=np.flatnonzero(~there).tolist(),
        friedman_p=_friedman(ranks) if tested else None,
        critical_difference=_nemenyi(methods, cells, level) if tested else None,
    )


def _intervals(ranks: Values, level: float, resamples: int, seed: int) -> list[tuple[float, float]]:
    """Expanded percentile intervals of the average ranks (Hesterberg 2015).

    A percentile interval of N values is narrower than Student's by sqrt((N - 1) / N) and by normal
    for t quantiles; taking it at the level that undoes both keeps its ends within 1 to K.
    """
    from scipy.special import ndtr

    cells = ranks.shape[1]
    wider = math.sqrt(cells / (cells - 1)) * t_quantile(level, cells - 1)
    tail = int((resamples + 1) * ndtr(-wider))
    if tail < 1:
        raise ValueError(f"{resamples} resamples are too few for the level {level:g}")
    drawn = np.random.default_rng(seed).integers(cells, size=(resamples, cells))
    averages = np.sort(ranks[:, drawn].mean(axis=-1), axis=1)
    return list(zip(averages[:, tail - 1].tolist(), averages[:, -tail].tolist(), strict=True))


def _friedman(ranks: Values) -> float:
    from scipy.stats import friedmanchisquare

    if (ranks == ranks[0]).all():
        return 1.0  # a tie in every cell, where the statistic is 0 / 0
    return float(friedmanchisquare(*-ranks).pvalue)


def _nemenyi(methods: int, cells: int, level: float) -> float:
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(level, methods, np.inf))
    return q / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * cells))
