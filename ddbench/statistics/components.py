"""The mean of a row and the two parts of its spread, kept apart.

    mean    = 1/D sum_d m_d,   m_d = 1/n_d sum_e a_de
    between = sqrt(sum_d (m_d - mean)^2 / (D - 1))
    within  = sqrt(sum_d sum_e (a_de - m_d)^2 / sum_d (n_d - 1))

over D sets with n_d networks each. Every set counts once, whatever its number of networks.
``between`` is that of the means as measured: it still holds within^2 / n_d of the networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Sets = Sequence[Sequence[float]]
"""The scores of a row: one sequence of networks per set."""


def checked(sets: Sets) -> list[Values]:
    """The scores of every set in one order, the same for any order of sets and networks.

    Raises:
        ValueError: no set, a set without networks, or a value that is no fraction. Differences of
            fractions, from -1, are accepted.
    """
    if len(sets) == 0:
        raise ValueError("there is no set")
    return sorted(map(_checked, sets), key=lambda values: (len(values), values.tolist()))


def _checked(networks: Sequence[float]) -> Values:
    values = np.asarray(networks, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError("every set has a sequence of scores, one per network")
    values = np.sort(values)
    for value in (values[-1], values[0]):  # what is not a number is sorted to the end
        if not -1 <= value <= 1:
            raise ValueError(f"the score {value:g} is no fraction; percentages are not accepted")
    return values


def set_means(sets: Sets) -> Values:
    """The mean of every set over its networks, [sets], in the order of ``checked``."""
    return np.array([mean(values) for values in checked(sets)])


def mean(values: Sequence[float] | Values) -> float:
    """The mean, the same for any order of the values; exactly their value where all are equal."""
    low, high = float(min(values)), float(max(values))
    return low if low == high else math.fsum(values) / len(values)


def mean_over_sets(sets: Sets) -> float:
    """The mean over sets of the mean over networks; ValueError as ``checked``."""
    return mean(set_means(sets))


def between_sets_std(sets: Sets) -> float | None:
    """Standard deviation of the means of the sets (ddof 1), None for a single set."""
    means = set_means(sets)
    return standard_deviation(means) if means.size > 1 else None


def within_sets_std(sets: Sets) -> float | None:
    """Standard deviation of networks of the same set, pooled over the sets (ddof 1 in each).

    None where no set has two networks.
    """
    parts = checked(sets)
    freedom = sum(values.size - 1 for values in parts)
    return math.sqrt(math.fsum(map(_squares, parts)) / freedom) if freedom else None


def standard_deviation(values: Sequence[float] | Values) -> float:
    """The sample standard deviation (ddof 1) of two or more values; exactly 0 if all are equal."""
    return math.sqrt(_squares(values) / (len(values) - 1))


def _squares(values: Sequence[float] | Values) -> float:
    centre = mean(values)
    return math.fsum((value - centre) ** 2 for value in values)
