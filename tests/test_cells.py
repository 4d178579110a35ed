"""What a table compares: who meets whom, who is ranked, who is best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ddbench import statistics
from ddbench.leaderboard.cells import ALONE, FEW, NO_SET, TOLERANCE, mark, scores_of
from ddbench.leaderboard.recipe_facts import Row
from ddbench.statistics import Scores

STIR = (0.000, 0.004, -0.003, 0.002, -0.001)


def row(**fields: Any) -> Row:
    plain = {
        "dataset": "digits", "ipc": 1, "division": "hard", "network": "ConvNetD2", "bytes": 100.0,
        "comparable": "c", "test_selected": False, "ensemble": False, "method": "dc",
    }  # fmt: skip
    return {**plain, **fields}


def scores(level: float, seeds: tuple[int, ...] = (0, 1, 2), networks: int = 5) -> Scores:
    """Accuracies around a level: effects of seeds and networks that all share, and own ones."""

    def accuracy(seed: int, e: int) -> float:
        own = seed * e * int(level * 997) % 5
        return level + 0.02 * STIR[seed % 5] + STIR[e] + 1e-4 * own

    return {seed: {e: accuracy(seed, e) for e in range(networks)} for seed in seeds}


def marks(*pairs: tuple[Row, Scores], **options: Any) -> list[Row]:
    return mark([each for each, _ in pairs], [each for _, each in pairs], **options)


def best(found: list[Row]) -> list[bool]:
    return [bool(each["best"]) for each in found]


def test_scores_by_seed_and_network() -> None:
    columns: Mapping[str, Any] = {
        "seed": [1, 1, 0], "network_seed": [0, 3, 0], "accuracy": [0.5, 0.25, 1.0],
    }  # fmt: skip
    assert scores_of(columns) == {1: {0: 0.5, 3: 0.25}, 0: {0: 1.0}}


def test_the_best_and_what_cannot_be_told_from_it() -> None:
    noisy = {d: {e: value + (0.02, -0.02, 0.005)[d] for e, value in each.items()}
             for d, each in scores(0.80).items()}  # fmt: skip
    found = marks((row(), scores(0.70)), (row(), scores(0.802)), (row(), noisy))
    assert best(found) == [False, True, True]
    assert [each["rank"] for each in found] == [2, 1, 1] or found[0]["rank"] == 3
    assert {each["cell"] for each in found} == {1} and all(each["ranked"] for each in found)
    ties = statistics.tied_with_best([scores(0.70), scores(0.802), noisy])
    assert [each["p_vs_best"] for each in found] == ties.adjusted_p
    assert found[1]["p_vs_best"] is None


def test_a_row_alone_is_ranked_but_not_best() -> None:
    (found,) = marks((row(), scores(0.7)))
    assert (found["ranked"], found["rank"], found["best"]) == (True, 1, False)


@pytest.mark.parametrize(
    "field, value",
    [
        ("dataset", "mnist"), ("ipc", 2), ("division", "features"), ("network", "MLP"),
        ("comparable", "d"), ("test_selected", True), ("ensemble", True),
    ],
)  # fmt: skip
def test_rows_that_do_not_meet(field: str, value: object) -> None:
    found = marks((row(), scores(0.7)), (row(**{field: value}), scores(0.9)))
    assert [each["cell"] for each in found] == [1, 2] and best(found) == [False, False]


def test_test_selected_rows_are_ranked_among_themselves() -> None:
    chosen = row(test_selected=True)
    found = marks((chosen, scores(0.9)), (row(), scores(0.7)), (chosen, scores(0.8)))
    assert [each["cell"] for each in found] == [1, 2, 1]
    assert [each["rank"] for each in found] == [1, 1, 2]


@pytest.mark.parametrize(
    "fields, given, reason",
    [
        ({}, scores(0.9, (0, 1)), FEW),
        ({}, scores(0.9, (0, 1, 2), 4), FEW),
        ({"ensemble": True}, scores(0.9, (0, 1, 2), 1), ""),
        ({"ensemble": True}, scores(0.9, (0, 1), 1), FEW),
        ({"method": "full", "ipc": None}, scores(0.9), NO_SET),
        ({}, {**scores(0.9), 2: {0: 0.9}}, FEW),
    ],
)
def test_who_is_not_ranked(fields: dict[str, Any], given: Scores, reason: str) -> None:
    (found,) = marks((row(**fields), given))
    assert found["unranked"] == reason and found["ranked"] is (reason == "")
    if reason:
        assert found["rank"] is None and not found["best"] and found["cell"] == 1


def test_a_row_that_shares_no_seeds_with_the_others_is_left_out() -> None:
    found = marks(
        (row(), scores(0.7)), (row(), scores(0.9, (7, 8, 9))), (row(), scores(0.8, (1, 2, 3))),
    )  # fmt: skip
    assert [each["unranked"] for each in found] == ["", ALONE, ""]
    assert best(found) == [False, False, True]


def test_of_two_strangers_the_one_with_more_seeds_stays() -> None:
    found = marks((row(), scores(0.7)), (row(), scores(0.9, (5, 6, 7, 8))))
    assert [each["unranked"] for each in found] == [ALONE, ""]
    chain = marks(*((row(), scores(0.7, tuple(range(d, d + 3)))) for d in range(4)))
    kept = [d for d, each in enumerate(chain) if each["ranked"]]
    assert len(kept) == 2 and kept[1] - kept[0] == 1  # only neighbours share two seeds


def test_equal_bytes_meet_whatever_their_size_and_division() -> None:
    other = row(ipc=2, division="features", bytes=100 * (1 + TOLERANCE))
    found = marks((row(), scores(0.7)), (other, scores(0.9)), by_bytes=True)
    assert best(found) == [False, True]
    assert best(marks((row(), scores(0.7)), (other, scores(0.9)))) == [False, False]


def test_storage_is_compared_with_the_smallest_of_a_cell() -> None:
    sizes = 100.0, 101.5, 102.5, 104.0, 99.9
    pairs = [(row(bytes=size), scores(0.7)) for size in sizes]
    cells = [each["cell"] for each in marks(*pairs, by_bytes=True)]
    assert cells == [1, 1, 2, 2, 1]  # 99.9 to 101.898, then 102.5 to 104.55
    apart = [(row(bytes=100.0, comparable=key), scores(0.7)) for key in "cd"]
    assert [each["cell"] for each in marks(*apart, by_bytes=True)] == [1, 2]


def test_what_is_worse_than_another_row_is_not_bold() -> None:
    """A mean over more seeds can be the highest, and lower on all seeds that are shared."""
    high = scores(0.60) | {seed: dict.fromkeys(range(5), 0.95) for seed in range(3, 9)}
    found = marks((row(), high), (row(), scores(0.70)))
    assert best(found) == [False, True]
    assert [each["rank"] for each in found] == [2, 1]


def test_rows_of_other_networks_are_not_compared() -> None:
    moved = {
        seed: {e + 5: value for e, value in networks.items()}
        for seed, networks in scores(0.7).items()
    }
    found = marks((row(), scores(0.8)), (row(), moved))
    assert [each["unranked"] for each in found] == ["", ALONE] and best(found) == [False, False]
