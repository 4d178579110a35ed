"""The comparison of two methods on the seeds that both have.

Set d of both methods was made with the same seed, and network e of it has the same initialisation,
data order and augmentation for both (common random numbers). So one difference is formed per set,

    delta_d = 1/n sum_e (a_de - b_de)      over the n networks that both have,

and the test is Student's over the sets. Networks of one set share its images: they are not
independent, and no function here takes them for replicates of a method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ddbench.statistics.components import Values, mean, standard_deviation
from ddbench.statistics.intervals import Interval, t_interval

Scores = Mapping[int, Mapping[int, float]]
"""The accuracies of a row, fractions: seed of the set -> number of the network -> accuracy."""

Unit = Literal["sets", "networks of one set"]
MARGIN = 0.005
"""Half a point: differences below it are taken for none."""
DIGITS = 12
"""Decimals of a difference; accuracies are multiples of one over the number of test images."""
WILCOXON_FROM = 6
"""With five pairs no two-sided signed-rank test can reach 0.05 (least p: 1/16)."""


@dataclass(frozen=True)
class Paired:
    """What two methods differ by, A - B, as fractions.

    Attributes:
        difference: mean over the pairs.
        interval: Student's, of ``level``; None for a single pair.
        p: two-sided, of no difference; None where there is no test (see ``paired``).
        unit: what a pair is. ``networks of one set`` speaks of these two sets, not of the methods.
        pairs: number of pairs.
        equivalent: whether the difference is within the margin by two one-sided tests; None
            without a test. False means not shown, not different.
        unpaired: what only one of the two has, as text; it took no part.
        differences: one per pair, by ascending seed.
        seeds: the seeds of the sets that were compared, ascending.
    """

    difference: float
    interval: Interval | None
    p: float | None
    unit: Unit
    pairs: int
    equivalent: bool | None
    unpaired: tuple[str, ...]
    differences: tuple[float, ...]
    seeds: tuple[int, ...]

    @property
    def wilcoxon_p(self) -> float | None:
        """Two-sided p of the signed-rank test, zeros left out; None with fewer than 6 pairs."""
        if self.p is None or self.pairs < WILCOXON_FROM:
            return None
        if not any(self.differences):
            return 1.0
        from scipy.stats import wilcoxon

        return float(wilcoxon(self.differences).pvalue)


def paired(a: Scores, b: Scores, *, level: float = 0.95, margin: float = MARGIN) -> Paired:
    """Compare A with B over the seeds, and within each the networks, that both have.

    Two or more shared seeds: a paired t-test over the sets. One set on each side, of the same
    seed: over its networks, a statement about these two sets. Otherwise (one shared seed, but
    more sets than it on a side) there is a difference and no test.

    Args:
        a, b: accuracies by seed of the set and number of the network.
        level: of the interval; 1 - level is the error of the test for equivalence.
        margin: of equivalence, as a fraction.

    Raises:
        ValueError: no network in common, scores that are not by set and network, or an accuracy
            that is no fraction from 0 to 1.
    """
    check(a)
    check(b)
    by_set = _differences(a, b)
    if not by_set:
        raise ValueError("A and B have no network of the same seed in common")
    one_set = len(a) == len(b) == 1
    pairs = next(iter(by_set.values())) if one_set else set_differences(a, b)
    interval = p = equivalent = None
    if len(pairs) > 1:
        interval = t_interval(
            pairs, level, method="t over networks of one set" if one_set else "t over sets"
        )
        p = paired_t(pairs)
        within = t_interval(pairs, 2 * level - 1)  # two one-sided tests of error 1 - level each
        equivalent = -margin < within.low and within.high < margin
    return Paired(
        difference=mean(pairs),
        interval=interval,
        p=p,
        unit="networks of one set" if one_set else "sets",
        pairs=len(pairs),
        equivalent=equivalent,
        unpaired=(*_unpaired("A", a, b), *_unpaired("B", b, a)),
        differences=tuple(pairs),
        seeds=tuple(by_set),
    )


def set_differences(a: Scores, b: Scores) -> list[float]:
    """The mean difference A - B of every set that both have, by ascending seed."""
    return [_rounded(mean(networks)) for networks in _differences(a, b).values()]


def _differences(a: Scores, b: Scores) -> dict[int, list[float]]:
    """A - B of the networks that both have, ascending, by seed; only seeds that have any."""
    shared = {seed: sorted(a[seed].keys() & b[seed].keys()) for seed in a.keys() & b.keys()}
    return {
        seed: [_rounded(a[seed][network] - b[seed][network]) for network in shared[seed]]
        for seed in sorted(shared)
        if shared[seed]
    }


def _rounded(difference: float) -> float:
    """Without the rounding error of float64, so that differences that are equal become so."""
    return round(difference, DIGITS) + 0.0  # never -0


def paired_t(differences: Sequence[float] | Values) -> float:
    """Two-sided p of a mean difference of 0, for one difference per independent unit [n].

    Differences that are all equal have p = 0, or 1 if they are 0.

    Raises:
        ValueError: fewer than two differences, one that is not finite, or an array [sets,
            networks]: the networks of a set are not independent.
    """
    from scipy.special import stdtr

    array = np.asarray(differences, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(
            "networks of one set are not independent: give one difference per set, "
            f"not an array of shape {array.shape}"
        )
    if array.size < 2:
        raise ValueError("a paired test needs two or more differences")
    if not np.isfinite(array).all():
        raise ValueError("a paired test needs finite differences")
    numbers = array.tolist()
    centre, spread = mean(numbers), standard_deviation(numbers)
    if spread == 0:
        return 0.0 if centre else 1.0
    return float(2 * stdtr(array.size - 1, -abs(centre) / spread * array.size**0.5))


def check(scores: Scores) -> None:
    """Raise ValueError unless ``scores`` are fractions from 0 to 1, by set and network."""
    for seed, networks in scores.items():
        if not isinstance(seed, int | np.integer) or not isinstance(networks, Mapping):
            raise ValueError("scores are given by the seed of the set, then by its network")
        for value in networks.values():
            if not 0 <= value <= 1:  # also where it is not a number
                raise ValueError(f"the score {value:g} is no fraction from 0 to 1")


def _unpaired(name: str, own: Scores, other: Scores) -> Iterator[str]:
    """What ``own`` has and ``other`` lacks."""
    if sets := sorted(own.keys() - other.keys()):
        yield f"only {name} has the seeds {_listed(sets)}"
    for seed in sorted(own.keys() & other.keys()):
        if networks := sorted(own[seed].keys() - other[seed].keys()):
            yield f"only {name} has the networks {_listed(networks)} of seed {seed}"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
