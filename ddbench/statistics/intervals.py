"""Confidence intervals for the accuracy of a method.

Which one is shown depends on the number of sets D (see ``interval_of``):

    t:          mean -+ t(D - 1) * s / sqrt(D)                      s over the means of the sets
    bootstrap:  [mean - q_high * s / sqrt(D), mean - q_low * s / sqrt(D)]

q are quantiles of (mean* - mean) / (s* / sqrt(D)) over resamples (the bootstrap-t of Efron and
Tibshirani 1993, chapter 12): sets are drawn with replacement, then networks within each. The
plain percentile interval would be too narrow at ten sets. Ends are not clipped to [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ddbench.statistics.components import Sets, Values, checked, mean, standard_deviation

MIN_SETS = 3
"""Sets that a row needs to be ranked."""
MIN_NETWORKS = 5
"""Networks that each of them needs."""
BOOTSTRAP_FROM = 10
"""Sets from which the bootstrap is used; with fewer it has too little to draw from."""

Method = Literal[
    "t over sets", "bootstrap over sets", "t over networks of one set", "t over test images"
]
METHODS: tuple[Method, ...] = get_args(Method)
"""What an interval can be; the last two are conditional on the sets or networks that are there."""


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval of probability ``level``, ends as fractions."""

    low: float
    high: float
    method: Method
    level: float = 0.95


def interval_of(sets: Sets, level: float = 0.95) -> Interval | None:
    """The interval that is shown for a row.

    Ten or more sets: the hierarchical bootstrap. Two to nine: t over the means of the sets. One:
    t over its networks, which says nothing of other sets of the method. None for a single score.
    The result does not depend on the order of sets and networks.

    Args:
        sets: accuracies, or differences of them, as fractions; one sequence of networks per set.
        level: probability that the interval covers the mean.

    Raises:
        ValueError: no set, an empty set, a value that is no fraction, or a level outside (0, 1).
    """
    parts = checked(sets)
    if len(parts) >= BOOTSTRAP_FROM:
        return hierarchical_bootstrap(sets, level)
    if len(parts) > 1:
        return t_interval([mean(values) for values in parts], level)
    if parts[0].size > 1:
        return t_interval(parts[0], level, method="t over networks of one set")
    return None


def t_interval(
    values: Sequence[float] | Values, level: float = 0.95, *, method: Method = "t over sets"
) -> Interval:
    """Student's interval for the mean of independent, about normal ``values`` [n].

    Equal values give an interval of no width. Raises ValueError with fewer than two values, or
    one that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < 2:
        raise ValueError("a t-interval needs two or more values, one per independent unit")
    if not np.isfinite(array).all():
        raise ValueError("a t-interval needs finite values")
    numbers = array.tolist()
    centre, error = mean(numbers), standard_deviation(numbers) / math.sqrt(array.size)
    half = t_quantile(level, array.size - 1) * error
    return Interval(centre - half, centre + half, method, level)


@lru_cache(maxsize=256)
def t_quantile(level: float, freedom: int) -> float:
    """The quantile t with P(|T| <= t) = ``level`` for ``freedom`` degrees of freedom."""
    from scipy.special import stdtrit

    if not 0 < level < 1:
        raise ValueError(f"the level is {level:g}; it is between 0 and 1")
    return float(stdtrit(freedom, (1 + level) / 2))


def hierarchical_bootstrap(
    sets: Sets, level: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Interval:
    """The studentised bootstrap over sets, and over networks within each set.

    A resample whose sets have equal means has s* = 0: its t* counts as infinite, on the side of
    its mean (as 0 if that is the mean itself). Where an end would be infinite, or all sets have
    the same mean, the t-interval over the sets is returned, and its ``method`` says so. The draws
    for sets of a given shape are the same in every call.

    Args:
        sets: scores as fractions, two or more sets.
        level: probability that the interval covers the mean over sets.
        resamples: number of resamples.
        seed: of the draws.

    Raises:
        ValueError: as ``interval_of``; a single set; too few resamples for the level.
    """
    parts = checked(sets)
    means = np.array([mean(values) for values in parts])
    if means.size < 2:
        raise ValueError("a bootstrap over sets needs two or more of them")
    tail = int((resamples + 1) * (1 - level) / 2)  # an order statistic: nothing is interpolated
    if tail < 1:
        raise ValueError(f"{resamples} resamples are too few for the level {level:g}")
    t_based = t_interval(means, level)
    centre, error = mean(means), standard_deviation(means) / math.sqrt(means.size)
    if error == 0:
        return t_based
    t = np.sort(_studentised([values - centre for values in parts], error, resamples, seed))
    low, high = centre - float(t[-tail]) * error, centre - float(t[tail - 1]) * error
    if not math.isfinite(high - low):
        return t_based
    return Interval(low, high, "bootstrap over sets", level)


def _studentised(parts: Sequence[Values], error: float, resamples: int, seed: int) -> Values:
    """(mean* - mean) / (s* / sqrt(sets)) of every resample, for centred scores; +-inf if s* is 0.

    Args:
        parts: scores minus their mean over sets, one array of networks per set.
        error: standard error of that mean, which tells what is no more than rounding.
        resamples: number of resamples.
        seed: of the draws.
    """
    draws = _draws(tuple(len(values) for values in parts), resamples, seed)
    pool = np.append(np.concatenate(parts), 0.0)  # ends with what a missing network adds
    drawn = pool.take(draws.networks).sum(0) / draws.counts
    shift = drawn.mean(0)
    errors = np.sqrt(((drawn - shift) ** 2).sum(0) / (len(parts) - 1) / len(parts))
    rounding = 1e-9 * error
    none = errors < rounding
    outside = np.where(np.abs(shift) < rounding, 0.0, np.copysign(np.inf, shift))
    return np.where(none, outside, shift / np.where(none, 1.0, errors))


@dataclass(frozen=True, eq=False)
class _Draws:
    networks: NDArray[np.intp]  # [largest n, sets, resamples], places in the pool of all networks
    counts: NDArray[np.float64]  # [sets, resamples], the networks of each drawn set


@lru_cache(maxsize=4)  # 6 MB for 20 sets of 10 networks
def _draws(shape: tuple[int, ...], resamples: int, seed: int) -> _Draws:
    """Which networks every resample has, for sets with ``shape`` networks.

    A drawn set keeps its number of networks; places beyond it point at the end of the pool.
    """
    generator = np.random.default_rng(seed)
    sizes = np.array(shape)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    drawn = generator.integers(len(shape), size=(len(shape), resamples))
    uniform = generator.random((int(sizes.max()), len(shape), resamples))
    place = (uniform * sizes[drawn]).astype(np.intp)
    missing = np.arange(sizes.max())[:, None, None] >= sizes[drawn]
    networks = np.where(missing, sizes.sum(), starts[drawn] + place)
    return _Draws(networks.astype(np.intp), sizes[drawn].astype(np.float64))


def wilson(correct_fraction: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for an accuracy p on ``n`` test images, as fractions.

        (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    The error of the test set itself. It is the same images for all methods: it belongs into a
    footer, not into a comparison. Written out, because every table would wait half a second for
    statsmodels. Raises ValueError for what is no fraction, or without images.
    """
    from scipy.special import ndtri

    if not 0 <= correct_fraction <= 1:
        raise ValueError(f"the accuracy {correct_fraction:g} is no fraction from 0 to 1")
    if n < 1:
        raise ValueError("there are no test images")
    p, z = correct_fraction, float(ndtri(0.5 + level / 2))
    half = z * math.sqrt(p * (1 - p) / n + (z / n) ** 2 / 4)
    middle, scale = p + z**2 / (2 * n), 1 + z**2 / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
