"""Intervals, tests and ranks: against hand-computed values, scipy, statsmodels and their laws."""

from __future__ import annotations

import itertools
import math
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from ddbench import statistics
from ddbench.statistics import (
    BOOTSTRAP_FROM,
    Interval,
    Scores,
    between_sets_std,
    hierarchical_bootstrap,
    holm,
    image_difference,
    interval_of,
    mcnemar,
    mean_over_sets,
    paired,
    paired_t,
    rank_table,
    t_interval,
    tied_with_best,
    wilson,
    within_sets_std,
)

few = settings(max_examples=40)
accuracies = st.integers(0, 360).map(lambda correct: correct / 360)
ragged = st.lists(st.lists(accuracies, min_size=1, max_size=4), min_size=1, max_size=12)
tables = st.lists(
    st.dictionaries(
        st.integers(0, 4),
        st.dictionaries(st.integers(0, 3), accuracies, min_size=1),
        min_size=1,
    ),
    min_size=1,
    max_size=6,
)
RAGGED = [[0.2, 0.4], [0.5], [0.3, 0.6, 0.9]]


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """Neither scipy's loss of precision nor a 0 / 0 may reach a user."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def close(found: Any, wanted: Any, rtol: float = 1e-12) -> None:
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=1e-14)


def ends(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


def scores(*sets: Sequence[float]) -> dict[int, dict[int, float]]:
    return {seed: dict(enumerate(networks)) for seed, networks in enumerate(sets)}


def normal(shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(0.5, 0.02, shape)


# --- the parts of the spread ---------------------------------------------------------------------


def test_every_set_counts_once() -> None:
    close(mean_over_sets(RAGGED), (0.3 + 0.5 + 0.6) / 3)


def test_the_parts_of_the_spread_by_hand() -> None:
    means = np.array([0.3, 0.5, 0.6])
    close(between_sets_std(RAGGED), math.sqrt(((means - 1.4 / 3) ** 2).sum() / 2))
    close(within_sets_std(RAGGED), math.sqrt((0.02 + 0 + 0.18) / (1 + 0 + 2)))


def test_what_has_no_spread_has_none() -> None:
    assert between_sets_std([[0.1, 0.2]]) is None
    assert within_sets_std([[0.1], [0.2]]) is None
    assert between_sets_std([[0.1] * 3, [0.1] * 3]) == 0 == within_sets_std([[0.1] * 3])


@pytest.mark.parametrize(
    ("sets", "problem"),
    [
        ([], "there is no set"),
        ([[0.5], []], "every set has a sequence of scores"),
        ([0.5, 0.6], "every set has a sequence of scores"),
        ([[0.5, 56.5]], "the score 56.5 is no fraction; percentages are not accepted"),
        ([[0.5], [1.0001]], "the score 1.0001 is no fraction"),
        ([[0.5, -1.5]], "the score -1.5 is no fraction"),
        ([[0.5, math.nan]], "the score nan is no fraction"),
        ([[-math.inf, 0.5]], "the score -inf is no fraction"),
    ],
)
def test_what_is_no_fraction_is_refused(sets: Any, problem: str) -> None:
    for call in (mean_over_sets, between_sets_std, within_sets_std, interval_of):
        with pytest.raises(ValueError, match=problem):
            call(sets)


# --- intervals -----------------------------------------------------------------------------------


def test_the_t_interval_by_hand() -> None:
    """Mean 0.2, s = 0.1, t(0.975, 2) = 4.302653 of the tables."""
    half = 4.302652729749464 * 0.1 / math.sqrt(3)
    close(ends(t_interval([0.1, 0.2, 0.3])), (0.2 - half, 0.2 + half))


@pytest.mark.parametrize("n", [2, 3, 9, 100])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_t_interval_is_that_of_statsmodels(n: int, level: float) -> None:
    values = normal((n,))
    wanted = DescrStatsW(values).tconfint_mean(alpha=1 - level)
    close(ends(t_interval(values, level)), wanted, rtol=1e-10)


@pytest.mark.parametrize(
    ("sets", "networks", "method"),
    [
        (1, 5, "t over networks of one set"),
        (2, 1, "t over sets"),
        (9, 5, "t over sets"),
        (10, 5, "bootstrap over sets"),
        (10, 1, "bootstrap over sets"),
    ],
)
def test_which_interval_is_shown(sets: int, networks: int, method: str) -> None:
    values = normal((sets, networks))
    interval = interval_of(values.tolist())
    assert interval is not None and interval.method == method and method in statistics.METHODS
    if method == "t over sets":
        assert interval == t_interval(values.mean(1).tolist())
    if method == "t over networks of one set":
        close(ends(interval), ends(t_interval(values[0])))


def test_a_single_score_has_no_interval() -> None:
    assert interval_of([[0.5]]) is None


def test_more_networks_of_a_set_are_no_more_sets() -> None:
    few_, many = (normal((3, 1)) + np.zeros((3, networks)) for networks in (5, 500))
    close(ends(interval_of(few_.tolist())), ends(interval_of(many.tolist())))


@pytest.mark.parametrize("sets", [3, 12])
def test_equal_scores_have_an_interval_of_no_width(sets: int) -> None:
    assert ends(interval_of([[0.1] * 5] * sets)) == (0.1, 0.1)
    assert ends(interval_of([[0.1, 0.3]] * sets)) == (0.2, 0.2)


def test_values_that_are_refused() -> None:
    for values in ([0.5], [], [[0.1, 0.2], [0.3, 0.4]]):
        with pytest.raises(ValueError, match="two or more values, one per independent unit"):
            t_interval(values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite"):
        t_interval([0.5, math.nan])
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match=r"the level is .*between 0 and 1"):
            t_interval([0.5, 0.6], level)


@few
@given(sets=ragged, seed=st.integers(0, 99))
def test_no_interval_depends_on_an_order(sets: list[list[float]], seed: int) -> None:
    mixed = random.Random(seed)
    other = [mixed.sample(networks, len(networks)) for networks in mixed.sample(sets, len(sets))]
    assert interval_of(other) == interval_of(sets)
    assert mean_over_sets(other) == mean_over_sets(sets)


@few
@given(sets=ragged)
def test_an_interval_moves_and_stretches_with_its_scores(sets: list[list[float]]) -> None:
    interval = interval_of(sets)
    other = interval_of([[0.25 + value / 2 for value in networks] for networks in sets])
    if interval is None:
        assert other is None
        return
    close(ends(other), [0.25 + end / 2 for end in ends(interval)], rtol=1e-9)
    assert interval.low - 1e-12 <= mean_over_sets(sets) <= interval.high + 1e-12


# --- the bootstrap -------------------------------------------------------------------------------


def every_t(sets: Sequence[Sequence[float]]) -> np.ndarray[Any, Any]:
    """t* of all resamples there are, each as likely, written out in loops."""
    n = len(sets)
    centre = sum(sum(each) / len(each) for each in sets) / n
    drawn_means = [
        [sum(networks) / len(each) for networks in itertools.product(each, repeat=len(each))]
        for each in sets
    ]
    found = []
    for chosen in itertools.product(range(n), repeat=n):
        for means in itertools.product(*(drawn_means[d] for d in chosen)):
            shift = sum(means) / n - centre
            error = math.sqrt(sum((m - sum(means) / n) ** 2 for m in means) / (n - 1) / n)
            far = math.copysign(math.inf, shift) if abs(shift) > 1e-12 else 0.0
            found.append(shift / error if error > 1e-12 else far)
    return np.sort(found)


@pytest.mark.parametrize(
    "sets",
    [
        [[0.31, 0.35], [0.42, 0.48], [0.55, 0.37], [0.61, 0.66]],
        [[0.31], [0.42], [0.48], [0.55], [0.75]],
    ],
    ids=["networks and sets", "one network each"],
)
def test_the_bootstrap_is_that_of_all_resamples(sets: list[list[float]]) -> None:
    """Random resamples approach the quantiles of the complete enumeration."""
    level = 0.8
    t = every_t(sets)
    means = [sum(each) / len(each) for each in sets]
    centre, error = sum(means) / len(sets), scipy.stats.sem(means)
    found = hierarchical_bootstrap(sets, level, resamples=200_000)
    assert found.method == "bootstrap over sets"
    for end, share in ((found.low, 0.9), (found.high, 0.1)):
        near = [t[int((share + slack) * (len(t) - 1))] for slack in (-0.005, 0.005)]
        low, high = sorted(centre - value * error for value in near)
        assert low - 1e-9 <= end <= high + 1e-9


def test_the_bootstrap_of_equal_and_of_padded_shapes_agree() -> None:
    """A set with more networks goes through the padding; twice the same networks change nothing."""
    values = normal((10, 4)).tolist()
    plain = hierarchical_bootstrap([*values[:9], [0.5]], resamples=40_000)
    doubled = hierarchical_bootstrap([*values[:9], [0.5] * 8], resamples=40_000)
    close(ends(doubled), ends(plain), rtol=2e-3)


def test_the_bootstrap_draws_the_same_numbers_every_time() -> None:
    sets = normal((12, 5)).tolist()
    first = hierarchical_bootstrap(sets)
    statistics.intervals._draws.cache_clear()
    assert hierarchical_bootstrap(sets) == first
    assert hierarchical_bootstrap(sets, seed=1) != first


def test_a_bootstrap_with_skewed_sets_is_no_mirror_image() -> None:
    """One failed set in twelve: the interval reaches further on its side."""
    sets = [*normal((11, 5)).tolist(), [0.3] * 5]
    low, high = ends(hierarchical_bootstrap(sets))
    assert mean_over_sets(sets) - low > 1.5 * (high - mean_over_sets(sets))


def test_resamples_without_spread_lead_to_the_t_interval_by_name() -> None:
    """With nine equal sets of ten, one resample in three has s* = 0."""
    sets = [[0.5]] * 9 + [[0.6]]
    found = hierarchical_bootstrap(sets)
    assert found == t_interval([value for (value,) in sets])
    assert found.method == "t over sets"


def test_a_bootstrap_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more"):
        hierarchical_bootstrap([[0.1, 0.2]])
    with pytest.raises(ValueError, match=r"30 resamples are too few for the level 0\.95"):
        hierarchical_bootstrap([[0.1], [0.2]], resamples=30)


# --- the test set --------------------------------------------------------------------------------


@pytest.mark.parametrize("accuracy, n", [(0.0, 100), (0.3, 1000), (0.9142, 10_000), (1.0, 360)])
def test_wilson_is_that_of_statsmodels(accuracy: float, n: int) -> None:
    from statsmodels.stats.proportion import proportion_confint

    close(wilson(accuracy, n), proportion_confint(accuracy * n, n, method="wilson"), rtol=1e-9)


def test_wilson_by_hand() -> None:
    z = 1.959963984540054
    middle, half = (0.3 + z**2 / 2000) / (1 + z**2 / 1000), z / (1 + z**2 / 1000)
    half *= math.sqrt(0.3 * 0.7 / 1000 + z**2 / 4e6)
    close(wilson(0.3, 1000), (middle - half, middle + half), rtol=1e-9)


def test_ten_thousand_images_are_worth_a_point() -> None:
    for accuracy in (0.3, 0.5, 0.7):
        low, high = wilson(accuracy, 10_000)
        assert 0.008 < (high - low) / 2 < 0.010
    close((wilson(0.0, 100)[0], wilson(1.0, 100)[1]), (0, 1))


@pytest.mark.parametrize(("accuracy", "n"), [(56.5, 100), (math.nan, 100), (0.5, 0)])
def test_wilson_needs_a_fraction_of_images(accuracy: float, n: int) -> None:
    with pytest.raises(ValueError, match=r"no fraction|no test images"):
        wilson(accuracy, n)


# --- two methods ---------------------------------------------------------------------------------


def test_two_methods_by_hand() -> None:
    """Differences of the sets 1, 2 and 3 points: t = 2 / (1 / sqrt 3), p of its tables."""
    a = scores([0.52, 0.50], [0.53, 0.53], [0.50, 0.56])
    b = scores([0.50, 0.50], [0.50, 0.52], [0.50, 0.50])
    found = paired(a, b)
    close(found.differences, (0.01, 0.02, 0.03))
    close(found.difference, 0.02)
    close(found.p, 1 - math.sqrt(12 / (12 + 2)))  # of t with two degrees of freedom
    close(ends(found.interval), ends(t_interval([0.01, 0.02, 0.03])))
    assert (found.unit, found.pairs, found.seeds, found.unpaired) == ("sets", 3, (0, 1, 2), ())
    assert found.interval is not None and found.interval.method == "t over sets"
    assert found.equivalent is False and found.wilcoxon_p is None


@pytest.mark.parametrize("sets", [2, 3, 10])
def test_two_methods_are_compared_as_by_scipy(sets: int) -> None:
    a, b = normal((sets, 5)), normal((sets, 5), seed=1)
    found = paired(scores(*a.tolist()), scores(*b.tolist()))
    wanted = scipy.stats.ttest_rel(a.mean(1), b.mean(1))
    close(found.p, wanted.pvalue, rtol=1e-7)
    close(ends(found.interval), wanted.confidence_interval(), rtol=1e-7)


@pytest.mark.parametrize("margin", [0.002, 0.005, 0.02])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_equivalence_is_that_of_statsmodels(margin: float, level: float) -> None:
    a = normal((8, 5))
    b = a + np.random.default_rng(1).normal(0.001, 0.004, a.shape)
    found = paired(scores(*a.tolist()), scores(*b.tolist()), level=level, margin=margin)
    p = ttost_paired(a.mean(1), b.mean(1), -margin, margin)[0]
    assert found.equivalent is bool(p < 1 - level)


def test_the_margin_is_half_a_point() -> None:
    a = scores(*([0.5] * 5 for _ in range(3)))
    for points, equivalent in ((0.49, True), (0.51, False)):
        b = scores(*([0.5 + points / 100] * 5 for _ in range(3)))
        assert paired(a, b).equivalent is equivalent


@few
@given(row=tables)
def test_a_method_does_not_differ_from_itself(row: list[Scores]) -> None:
    found = paired(row[0], row[0])
    assert found.difference == 0 and found.unpaired == ()
    if found.pairs > 1:
        assert found.p == 1 and found.equivalent and ends(found.interval) == (0, 0)
    if found.pairs >= 6:
        assert found.wilcoxon_p == 1


def test_equal_differences_leave_no_doubt() -> None:
    """No spread: t is infinite. Rounding of float64 does not count as spread."""
    a = scores([0.3, 0.7], [0.1, 0.2], [0.8, 0.9])
    b = scores([0.2, 0.6], [0.0, 0.1], [0.7, 0.8])
    found = paired(a, b)
    assert found.differences == (0.1, 0.1, 0.1)
    assert found.p == 0 and ends(found.interval) == (0.1, 0.1) and found.equivalent is False


@few
@given(rows=tables, seed=st.integers(0, 99))
def test_a_comparison_has_two_sides_and_no_order(rows: list[Scores], seed: int) -> None:
    a, b = rows[0], rows[-1]
    if not any(a[d].keys() & b[d].keys() for d in a.keys() & b.keys()):
        with pytest.raises(ValueError, match="no network of the same seed in common"):
            paired(a, b)
        return
    found, back = paired(a, b), paired(b, a)
    assert (back.difference, back.p) == (-found.difference, found.p)
    assert back.differences == tuple(-value + 0.0 for value in found.differences)
    mixed = random.Random(seed)
    assert paired({d: a[d] for d in mixed.sample(sorted(a), len(a))}, b) == found


def test_only_what_both_have_is_compared() -> None:
    a = scores([0.5, 0.6, 0.7], [0.5], [0.4])
    b = {0: {0: 0.4, 2: 0.5}, 1: {0: 0.3}, 3: {0: 0.9}, 5: {0: 0.9}}
    found = paired(a, b)
    close(found.differences, (0.15, 0.2))
    assert found.seeds == (0, 1)
    assert found.unpaired == (
        "only A has the seeds 2",
        "only A has the networks 1 of seed 0",
        "only B has the seeds 3, 5",
    )


def test_one_set_on_each_side_speaks_of_these_sets() -> None:
    a, b = normal((1, 6)), normal((1, 6), seed=1)
    found = paired(scores(*a.tolist()), scores(*b.tolist()))
    assert (found.unit, found.pairs, found.seeds) == ("networks of one set", 6, (0,))
    assert found.interval is not None
    assert found.interval.method == "t over networks of one set"
    close(found.p, scipy.stats.ttest_rel(a[0], b[0]).pvalue, rtol=1e-8)
    close(found.wilcoxon_p, scipy.stats.wilcoxon(a[0] - b[0]).pvalue)


def test_one_shared_set_of_many_is_no_test_of_the_methods() -> None:
    found = paired(scores([0.5, 0.6], [0.7, 0.7]), {1: {0: 0.6, 1: 0.5}, 2: {0: 0.1}})
    assert (found.unit, found.pairs) == ("sets", 1)
    close(found.difference, 0.15)
    assert found.p is found.interval is found.equivalent is found.wilcoxon_p is None
    assert found.unpaired == ("only A has the seeds 0", "only B has the seeds 2")


def test_a_single_pair_of_networks_is_no_test() -> None:
    found = paired(scores([0.5]), scores([0.4]))
    assert found.p is found.interval is None and found.pairs == 1


@pytest.mark.parametrize("sets", [5, 6, 20])
def test_signed_ranks_from_six_pairs(sets: int) -> None:
    a, b = normal((sets, 2)), normal((sets, 2), seed=1)
    found = paired(scores(*a.tolist()), scores(*b.tolist())).wilcoxon_p
    if sets < 6:
        assert found is None
    else:
        close(found, scipy.stats.wilcoxon(a.mean(1), b.mean(1)).pvalue)


def test_sets_crossed_with_networks_are_refused() -> None:
    """The e-th network of every set is no independent pair, in whatever form it comes."""
    crossed = normal((3, 5)) - 0.5
    with pytest.raises(ValueError, match="networks of one set are not independent"):
        paired_t(crossed)  # type: ignore[arg-type]
    keyed = {(d, e): {0: 0.5} for d in range(3) for e in range(5)}
    flat = dict(enumerate([0.5] * 15))
    for wrong in (keyed, flat):
        with pytest.raises(ValueError, match="by the seed of the set, then by its network"):
            paired(wrong, wrong)  # type: ignore[arg-type]


def test_more_networks_make_no_difference_more_certain() -> None:
    """The same differences of three sets, by one network each or by a hundred."""
    one, hundred = (
        paired(scores(*([0.5 + d / 100] * n for d in range(3))), scores(*[[0.5] * n] * 3))
        for n in (1, 100)
    )
    assert (one.p, one.pairs) == (hundred.p, hundred.pairs) == (pytest.approx(0.2254033), 3)


@pytest.mark.parametrize("value", [56.5, -0.01, math.nan, math.inf])
def test_a_comparison_of_percentages_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="is no fraction from 0 to 1"):
        paired(scores([0.5], [0.5]), scores([0.5], [value]))


def test_differences_that_cannot_be_tested() -> None:
    with pytest.raises(ValueError, match="two or more differences"):
        paired_t([0.1])
    with pytest.raises(ValueError, match="finite"):
        paired_t([0.1, math.nan])


# --- many methods --------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    close(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    close(holm([0.5, 0.9]), [1.0, 1.0])
    assert holm([0.2]) == [0.2] and holm([]) == []


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_holm_is_that_of_statsmodels(n: int) -> None:
    p = np.random.default_rng(n).integers(0, 20, n) / 200  # with ties and zeros
    close(holm(p.tolist()), multipletests(p, method="holm")[1])


@pytest.mark.parametrize("p", [[0.5, 1.1], [-0.1], [math.nan]])
def test_holm_needs_probabilities(p: list[float]) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm(p)


CELL: list[Scores] = [
    scores([0.700], [0.702], [0.701]),
    scores([0.690], [0.704], [0.700]),
    scores([0.501], [0.500], [0.499]),
]


def test_a_cell_by_hand() -> None:
    ties = tied_with_best(CELL)
    p01, p02, p12 = (float(paired(*pair).p or 0) for pair in itertools.combinations(CELL, 2))
    assert p02 < p12 < p01
    close(ties.adjusted_p[1], max(2 * p12, p01))
    close(ties.adjusted_p[2], 2 * p02)
    assert (ties.best, ties.adjusted_p[0]) == (0, None)
    assert ties.tied == [True, True, False] and ties.rank == [1, 1, 3]


def test_two_rows_are_told_apart_as_compare_does() -> None:
    for shift in (0.0, 0.01, 0.05):
        a, b = (scores(*values.tolist()) for values in (normal((3, 5)) + shift, normal((3, 5), 1)))
        found, ties = paired(a, b), tied_with_best([a, b])
        worse = 1 - ties.best
        assert ties.adjusted_p[worse] == found.p and found.p is not None
        assert ties.tied[worse] is (found.p > 0.05)
        assert ties.rank[worse] == (1 if found.p > 0.05 else 2)


def test_a_row_alone_is_the_best() -> None:
    ties = tied_with_best([scores([0.5])])
    assert (ties.best, ties.adjusted_p, ties.tied, ties.rank) == (0, [None], [True], [1])


def test_rows_without_shared_seeds_are_not_told_apart() -> None:
    stranger: Scores = {7: {0: 0.3}, 8: {0: 0.3}, 0: {0: 0.3}}
    ties = tied_with_best([*CELL, stranger])
    assert ties.adjusted_p[3] is None and ties.tied[3] is None and ties.rank[3] == 1
    assert tied_with_best(CELL).adjusted_p == ties.adjusted_p[:3]


def test_equal_means_have_one_best_whatever_the_order() -> None:
    steady, other = scores([0.5], [0.5], [0.5]), scores([0.4], [0.5], [0.6])
    for rows in ([steady, other], [other, steady]):
        ties = tied_with_best(rows)
        assert rows[ties.best] is steady
        assert ties.tied == [True, True] and ties.rank == [1, 1]
        assert ties.adjusted_p[1 - ties.best] == 1


@few
@given(rows=tables, seed=st.integers(0, 99))
def test_a_cell_does_not_depend_on_the_order_of_its_rows(rows: list[Scores], seed: int) -> None:
    rows = [row for index, row in enumerate(rows) if row not in rows[:index]]
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    ties, mixed = tied_with_best(rows), tied_with_best([rows[index] for index in order])
    assert order[mixed.best] == ties.best
    for name in ("adjusted_p", "tied", "rank"):
        assert getattr(mixed, name) == [getattr(ties, name)[index] for index in order]


@few
@given(rows=tables)
def test_laws_of_a_cell(rows: list[Scores]) -> None:
    ties = tied_with_best(rows)
    means = [mean_over_sets([list(n.values()) for n in row.values()]) for row in rows]
    assert means[ties.best] == pytest.approx(max(means)) and ties.tied[ties.best] is True
    for tied, rank, p in zip(ties.tied, ties.rank, ties.adjusted_p, strict=True):
        assert 1 <= rank <= len(rows)
        assert tied is not False or rank > 1  # who is worse than the best is not the first
        assert tied is not False or (p is not None and p <= 0.05)


def test_a_cell_needs_rows_of_fractions() -> None:
    with pytest.raises(ValueError, match="there is no row"):
        tied_with_best([])
    with pytest.raises(ValueError, match="there is no set"):
        tied_with_best([{}])
    with pytest.raises(ValueError, match="no fraction"):
        tied_with_best([scores([0.5]), scores([50.0])])


# --- several cells -------------------------------------------------------------------------------


def test_average_ranks_by_hand() -> None:
    found = rank_table([[0.9, 0.5, 0.7], [0.8, 0.5, 0.9], [0.1, 0.2, 0.3]])
    close(found.average, [(1 + 1.5 + 2) / 3, (2 + 1.5 + 1) / 3, 3])
    assert found.cells == [0, 1, 2] and found.left_out == []
    assert found.intervals is found.friedman_p is found.critical_difference is None


def test_a_cell_that_lacks_a_method_is_left_out_and_named() -> None:
    nan = math.nan
    found = rank_table([[0.9, nan, 0.7, 0.1], [0.8, 0.5, 0.9, nan]])
    assert (found.cells, found.left_out, found.average) == ([0, 2], [1, 3], [1.5, 1.5])
    none = rank_table([[nan, 0.5], [0.5, nan]])
    assert none.cells == [] and all(map(math.isnan, none.average)) and none.intervals is None


@pytest.mark.parametrize(("methods", "cells", "wanted"), [(4, 14, 1.25), (5, 30, 1.11)])
def test_nemenyi_is_that_of_demsar(methods: int, cells: int, wanted: float) -> None:
    """q(0.05) of his table 5: 2.569 for four methods, 2.728 for five."""
    q = {4: 2.569, 5: 2.728}[methods]
    found = rank_table(normal((methods, cells))).critical_difference
    close(found, q * math.sqrt(methods * (methods + 1) / (6 * cells)), rtol=3e-4)
    assert found == pytest.approx(wanted, abs=0.005)


@pytest.mark.parametrize(
    ("methods", "cells", "intervals", "tests"),
    [(3, 6, True, True), (3, 5, False, False), (2, 6, True, False)],
)
def test_tests_need_enough_cells_and_methods(
    methods: int, cells: int, intervals: bool, tests: bool
) -> None:
    found = rank_table(normal((methods, cells)))
    assert (found.intervals is not None) is intervals
    assert (found.friedman_p is not None) is tests is (found.critical_difference is not None)


def test_friedman_is_that_of_scipy() -> None:
    values = normal((4, 9))
    found = rank_table(values)
    close(found.friedman_p, scipy.stats.friedmanchisquare(*values).pvalue)
    assert rank_table(np.full((3, 6), 0.5)).friedman_p == 1.0


def test_rank_intervals_are_wider_than_percentiles_and_stay_in_range() -> None:
    values = normal((5, 8))
    found = rank_table(values)
    ranks = scipy.stats.rankdata(-values, axis=0)
    drawn = np.random.default_rng(5).integers(8, size=(20_000, 8))
    assert found.intervals is not None
    for own, average, (low, high) in zip(ranks, found.average, found.intervals, strict=True):
        narrow = np.quantile(own[drawn].mean(1), [0.025, 0.975])
        assert 1 <= low <= narrow[0] <= average <= narrow[1] <= high <= 5
        tail = scipy.stats.norm.cdf(-math.sqrt(8 / 7) * scipy.stats.t.ppf(0.975, 7))
        wide = np.quantile(own[drawn].mean(1), [tail, 1 - tail])
        close((low, high), wide, rtol=0.12)


def test_the_order_of_methods_does_not_matter() -> None:
    values = normal((4, 7))
    found, back = rank_table(values), rank_table(values[::-1])
    assert back.average == found.average[::-1] and back.friedman_p == pytest.approx(
        found.friedman_p
    )
    assert found.intervals is not None and back.intervals == found.intervals[::-1]
    assert rank_table(values) == found


@pytest.mark.parametrize("values", [[], [0.5, 0.6], [[0.5, math.inf]]])
def test_a_rank_table_needs_methods_and_cells(values: Any) -> None:
    with pytest.raises(ValueError, match=r"\[methods, cells\]"):
        rank_table(values)
    with pytest.raises(ValueError, match="resamples are too few"):
        rank_table(normal((3, 6)), resamples=100)


# --- test images ---------------------------------------------------------------------------------


def test_mcnemar_by_hand() -> None:
    """Three images for A, one for B: p = 2 (1 + 4) / 16; half of P(1) = 4 / 16 twice is 0.25."""
    found = mcnemar([1, 0, 1, 1, 0, 1], [0, 0, 0, 1, 1, 0])
    assert (found.images, found.only_a, found.only_b) == (6, 3, 1)
    close((found.p, found.mid_p), (0.625, 0.375))


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.1])
def test_mcnemar_is_the_binomial_test_of_the_discordant_images(shift: float) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random(2000) < 0.6, generator.random(2000) < 0.6 - shift
    found, back = mcnemar(a, b), mcnemar(b, a)
    discordant = found.only_a + found.only_b
    close(found.p, scipy.stats.binomtest(found.only_a, discordant).pvalue, rtol=1e-9)
    one_side = scipy.stats.binom.cdf(min(found.only_a, found.only_b), discordant, 0.5)
    half = scipy.stats.binom.pmf(found.only_a, discordant, 0.5) / 2
    close(found.mid_p, 2 * (one_side - half), rtol=1e-9)
    assert (back.p, back.mid_p, back.only_a) == (found.p, found.mid_p, found.only_b)


def test_networks_that_agree_or_balance_do_not_differ() -> None:
    for a, b in (([1, 0, 1], [1, 0, 1]), ([1, 0], [0, 1])):
        found = mcnemar(a, b)
        assert found.p == found.mid_p == 1


def test_images_are_compared_as_by_scipy() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random((5, 500)) < 0.6, generator.random((3, 500)) < 0.5
    found = image_difference(a, b)
    wanted = scipy.stats.ttest_rel(a.mean(0), b.mean(0))
    close(found.difference, a.mean() - b.mean())
    close(found.p, wanted.pvalue, rtol=1e-9)
    close(ends(found.interval), wanted.confidence_interval(), rtol=1e-9)
    assert (found.images, found.networks) == (500, (5, 3))
    assert found.interval.method == "t over test images"


def test_the_same_networks_do_not_differ_on_any_image() -> None:
    bits = np.random.default_rng(0).random((5, 500)) < 0.6
    twice = image_difference(bits, np.concatenate([bits, bits]))
    assert (twice.difference, twice.p, ends(twice.interval)) == (0, 1, (0, 0))


@pytest.mark.parametrize(
    ("call", "a", "b", "problem"),
    [
        (mcnemar, [1, 0], [1, 0, 1], "A has 2 test images, B has 3"),
        (mcnemar, [1, 0.5], [1, 0], "bits are 0 or 1"),
        (mcnemar, [1, math.nan], [1, 0], "bits are 0 or 1"),
        (mcnemar, [[1, 0]], [[1, 0]], "bits have 1 axes"),
        (mcnemar, [], [], "bits have 1 axes"),
        (image_difference, [[1, 0]], [[1, 0, 1]], "A has 2 test images, B has 3"),
        (image_difference, [1, 0], [1, 0], "bits have 2 axes"),
        (image_difference, [[1]], [[0]], "two or more"),
    ],
)
def test_bits_that_are_refused(call: Callable[..., object], a: Any, b: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        call(a, b)


# --- the package ---------------------------------------------------------------------------------


def test_the_package_and_a_row_import_no_heavy_module() -> None:
    code = (
        "import sys; from ddbench.statistics import *; interval_of([[0.1], [0.2]]);"
        "tied_with_best([{0: {0: 0.1}, 1: {0: 0.2}}] * 3);"
        "print(sorted({'scipy.stats', 'statsmodels', 'torch', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_public_names_are_there() -> None:
    assert all(hasattr(statistics, name) for name in statistics.__all__)
    assert statistics.MIN_SETS == 3 and statistics.MIN_NETWORKS == 5 and BOOTSTRAP_FROM == 10
