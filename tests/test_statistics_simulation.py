"""Simulated leaderboards with a known truth: how often what a table says is right.

Every draw is a row as it is measured: a deviation per set (a distillation), and one per network of
it. The slow tests measure the tables of docs/statistics.md again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from ddbench.statistics import (
    Interval,
    Scores,
    interval_of,
    paired,
    rank_table,
    t_interval,
    tied_with_best,
)
from ddbench.statistics.intervals import t_quantile

DRAWS = 10_000
TRUTH = 0.5
NETWORKS = 5
COMPONENTS = {"sets differ": (0.01, 0.002), "networks differ": (0.002, 0.01)}
"""Standard deviations of sets and of networks of one set, as fractions."""
Values = np.ndarray[Any, np.dtype[np.float64]]
PAGE = Path(__file__).resolve().parent.parent / "docs" / "statistics.md"


def rows(sets: int, kind: str, draws: int = DRAWS, networks: int = NETWORKS) -> Values:
    """Accuracies [draws, sets, networks] of a method whose mean is ``TRUTH``."""
    generator = np.random.default_rng([sets, len(kind)])
    if kind == "skewed":  # most sets are good, a few are much worse
        of_sets = 0.01 * (1 - generator.exponential(1, (draws, sets, 1)))
        return TRUTH + of_sets + generator.normal(0, 0.002, (draws, sets, networks))
    between, within = COMPONENTS[kind]
    of_sets = generator.normal(0, between, (draws, sets, 1))
    return TRUTH + of_sets + generator.normal(0, within, (draws, sets, networks))


def coverage(drawn: Values, interval: Callable[[Any], Interval | None]) -> float:
    """Share of the draws, in percent, whose interval holds the truth."""
    found = [interval(values) for values in drawn]
    return 100 * float(np.mean([each is not None and each.low <= TRUTH <= each.high
                                for each in found]))  # fmt: skip


def compared(sets: int, methods: int, draws: int = DRAWS, lead: float = 0.0) -> list[list[Scores]]:
    """Methods as they are measured: set d and network e are of the same seed in all of them.

    What they share through it is as large as what is their own. ``lead`` is what the first is
    better by, in standard deviations of the difference of two methods on one set.
    """
    generator = np.random.default_rng([sets, methods])
    between, within = COMPONENTS["sets differ"]
    shape = (draws, methods, sets, NETWORKS)
    values = np.full(shape, TRUTH)
    for count in (1, methods):  # shared, then their own
        values += generator.normal(0, between, (draws, count, sets, 1))
        values += generator.normal(0, within, (draws, count, sets, NETWORKS))
    values[:, 0] += lead * np.sqrt(2 * (between**2 + within**2 / NETWORKS))
    return [
        [{d: dict(enumerate(networks)) for d, networks in enumerate(method)} for method in draw]
        for draw in values.tolist()
    ]


# --- what is shown -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", COMPONENTS)
@pytest.mark.parametrize("sets", range(3, 10))
def test_coverage_of_the_t_interval_over_sets(sets: int, kind: str) -> None:
    drawn = rows(sets, kind)
    assert interval_of(drawn[0]).method == "t over sets"  # type: ignore[union-attr]
    assert abs(coverage(drawn, interval_of) - 95) <= 2


@pytest.mark.parametrize(
    ("sets", "kind", "networks"),
    [(10, "sets differ", 5), (15, "networks differ", 5), (20, "sets differ", 2)],
)
def test_coverage_of_the_bootstrap_over_sets(sets: int, kind: str, networks: int) -> None:
    """Of the interval as shown, with all its resamples; other cases are on the page (slow)."""
    drawn = rows(sets, kind, networks=networks)
    assert interval_of(drawn[0]).method == "bootstrap over sets"  # type: ignore[union-attr]
    assert abs(coverage(drawn, interval_of) - 95) <= 2


@pytest.mark.parametrize("sets", [3, 5, 10])
def test_false_positives_of_a_comparison(sets: int) -> None:
    found = [paired(a, b) for a, b in compared(sets, 2)]
    wrong = np.mean([each.p is not None and each.p <= 0.05 for each in found])
    missed = np.mean([each.interval is None or not each.interval.low <= 0 <= each.interval.high
                      for each in found])  # fmt: skip
    assert 0.045 <= wrong <= 0.055 and missed == wrong


def test_false_positives_of_a_cell() -> None:
    """Equal methods: whichever it is, it keeps its bold and its first rank."""
    found = [tied_with_best(cell) for cell in compared(3, 4)]
    not_bold = np.mean([[tied is False for tied in ties.tied] for ties in found], axis=0)
    not_first = np.mean([[rank > 1 for rank in ties.rank] for ties in found], axis=0)
    assert 0.005 <= not_bold.max() <= not_first.max() <= 0.055


@pytest.mark.parametrize("sets", [3, 5, 10])
def test_leads_that_are_found(sets: int) -> None:
    """A lead of the page is found in four cases of five at the first step of Holm's correction."""
    generator = np.random.default_rng(sets)
    centre = generator.normal(size=100_000) / np.sqrt(sets)
    spread = np.sqrt(generator.chisquare(sets - 1, size=100_000) / (sets - 1))
    for rows, lead in zip((2, 5, 10), documented("Leads")[sets], strict=True):
        limit = t_quantile(1 - 0.05 / (rows - 1), sets - 1)
        found = np.mean(np.abs(centre + lead) > limit * spread / np.sqrt(sets))
        assert 0.78 <= found <= 0.83, (rows, found)  # the page has one decimal


def test_networks_taken_for_sets_would_find_what_is_not_there() -> None:
    """Why crossing them is refused: t over the networks of three sets is right by half."""
    right = coverage(rows(3, "sets differ", 2000), lambda values: t_interval(values.ravel()))
    assert 45 < right < 60


# --- docs/statistics.md --------------------------------------------------------------------------


def percentile(values: Values) -> Interval:
    """The plain percentile interval of the two-stage bootstrap, to compare with."""
    sets, networks = values.shape
    generator = np.random.default_rng(0)
    drawn = generator.integers(sets, size=(sets, 2000))
    means = np.zeros(2000)
    for _ in range(networks):
        means += values[drawn, generator.integers(networks, size=drawn.shape)].mean(0)
    low, high = np.quantile(means / networks, [0.025, 0.975])
    return Interval(float(low), float(high), "bootstrap over sets")


def measured_coverage(sets: int) -> list[float]:
    """A line of the table of coverage."""
    kinds = [rows(sets, kind) for kind in (*COMPONENTS, "skewed")]
    return [*(coverage(drawn, interval_of) for drawn in kinds),
            *(coverage(drawn, percentile) for drawn in kinds)]  # fmt: skip


def measured_power(sets: int) -> list[float]:
    """A line of the table of power: differences found, in percent."""
    leads = (0, 1, 2, 3, 5)
    return [
        100 * float(np.mean([paired(a, b).p <= 0.05 for a, b in compared(sets, 2, lead=lead)]))  # type: ignore[operator]
        for lead in leads
    ]


def measured_cell(methods: int) -> list[float]:
    """A line of the table of cells, in percent."""
    found = []
    for sets in (3, 5, 10):
        ties = [tied_with_best(cell) for cell in compared(sets, methods)]
        not_bold = np.array([[tied is False for tied in each.tied] for each in ties])
        found += [100 * not_bold.mean(0).max(), 100 * not_bold.any(1).mean()]
    return [float(value) for value in found]


def measured_ranks(cells: int) -> list[float]:
    """A line of the table of average ranks: the least coverage of five methods, in percent."""
    found = []
    for apart in (0, 0.5, 1.5):  # standard deviations of a method over cells
        generator = np.random.default_rng([cells, int(10 * apart)])
        scores = generator.normal(size=(200_000, 5)) - apart * np.arange(5)
        truth = rankdata(-scores, axis=1).mean(0)
        inside = np.zeros(5)
        for _ in range(2000):
            drawn = generator.normal(size=(5, cells)) - apart * np.arange(5)[:, None]
            low, high = np.transpose(rank_table(drawn).intervals or [])
            inside += (low - 1e-9 <= truth) & (truth <= high + 1e-9)
        found.append(100 * float(inside.min()) / 2000)
    return found


def documented(title: str) -> dict[int, list[float]]:
    """The numbers of the table below a heading, by the number in the first column."""
    (part,) = re.findall(rf"### {title}\n(.*?)(?=\n##|\Z)", PAGE.read_text(), re.DOTALL)
    lines = [line.strip("| ").split("|") for line in re.findall(r"^\| *\d.*$", part, re.MULTILINE)]
    return {int(first): [float(cell) for cell in rest] for first, *rest in lines}


TABLES = {
    "Coverage": measured_coverage,
    "Power": measured_power,
    "Cells": measured_cell,
    "Average ranks": measured_ranks,
}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("title", TABLES)
def test_the_page_has_what_is_measured(title: str) -> None:
    for first, wanted in documented(title).items():
        found = TABLES[title](first)
        np.testing.assert_allclose(found, wanted, atol=0.3, err_msg=f"{title}, {first}")


def test_the_page_has_all_lines() -> None:
    assert list(documented("Coverage")) == [3, 4, 5, 6, 7, 8, 9, 10, 15, 20]
    assert list(documented("Power")) == [3, 5, 10]
    assert list(documented("Cells")) == [2, 3, 5, 10]
    assert list(documented("Average ranks")) == [6, 10, 20]
    for sets, (by_sets, by_networks, *_) in documented("Coverage").items():
        assert 93 <= min(by_sets, by_networks) and max(by_sets, by_networks) <= 97, sets
