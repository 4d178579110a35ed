"""Comparisons over test images, from the stored bits: was image i classified correctly.

All of them are conditional on the networks that were trained: they say whether these networks
differ on other images, not whether other sets or networks of the methods would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ddbench.statistics.components import mean
from ddbench.statistics.intervals import Interval, t_interval
from ddbench.statistics.paired import paired_t


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two networks on the same images.

    Attributes:
        images: number of test images.
        only_a, only_b: images that only A, only B classifies correctly.
        p: exact, two-sided; conservative.
        mid_p: two-sided, with half the probability of what was seen (Fagerland et al. 2013).
    """

    images: int
    only_a: int
    only_b: int
    p: float
    mid_p: float


@dataclass(frozen=True)
class ImageDifference:
    """Accuracy of A - B over test images, as a fraction, for the networks that were trained."""

    difference: float
    interval: Interval
    p: float
    images: int
    networks: tuple[int, int]


def mcnemar(a: ArrayLike, b: ArrayLike) -> McNemar:
    """Compare two networks by their bits [images] on the same test images, in the same order.

    Raises:
        ValueError: bits of another shape, or values other than 0 and 1.
    """
    from scipy.stats import binom
    from statsmodels.stats.contingency_tables import (  # type: ignore[import-untyped]
        mcnemar as test,
    )

    one, two = _bits(a, 1), _bits(b, 1)
    _same_images(one, two)
    only_a, only_b = int((one & ~two).sum()), int((~one & two).sum())
    p = float(test([[0, only_a], [only_b, 0]], exact=True).pvalue)
    few, discordant = min(only_a, only_b), only_a + only_b
    mid_p = 1.0 if only_a == only_b else p - float(binom.pmf(few, discordant, 0.5))
    return McNemar(one.size, only_a, only_b, min(p, 1.0), mid_p)


def image_difference(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> ImageDifference:
    """Compare networks of A with networks of B by paired t over the test images.

    The value of an image is the fraction of the networks of A that classify it correctly minus
    that of B.

    Args:
        a, b: bits [networks, images]; the images are the same in the same order, the numbers of
            networks may differ.
        level: of the interval.

    Raises:
        ValueError: bits of another shape, values other than 0 and 1, or fewer than two images.
    """
    one, two = _bits(a, 2), _bits(b, 2)
    _same_images(one, two)
    # Of integers, so that equal differences are equal numbers.
    values = (len(two) * one.sum(0) - len(one) * two.sum(0)) / (len(one) * len(two))
    interval = t_interval(values, level, method="t over test images")
    return ImageDifference(
        difference=mean(values),
        interval=interval,
        p=paired_t(values),
        images=values.size,
        networks=(len(one), len(two)),
    )


def _bits(values: ArrayLike, axes: int) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != axes or array.size == 0:
        raise ValueError(f"bits have {axes} axes, not the shape {array.shape}")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ValueError("bits are 0 or 1")
    return array.astype(np.bool_, copy=False)


def _same_images(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> None:
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"A has {a.shape[-1]} test images, B has {b.shape[-1]}")
