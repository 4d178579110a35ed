"""Published numbers in a table: beside measured ones, never among them."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from tables_fixture import RESULTS

from ddbench import published
from ddbench.leaderboard import collect, render, summarise, table
from ddbench.leaderboard.published_rows import with_published
from ddbench.leaderboard.signs import DOUBLE_DAGGER


@pytest.fixture(scope="module")
def summary() -> pd.DataFrame:
    return summarise(collect([RESULTS]))


def test_published_rows_are_marked_and_never_ranked() -> None:
    records = json.loads(table([RESULTS], published=True, fmt="json"))
    only = [record for record in records if not record["measured"]]
    assert only and {record["dataset"] for record in only} == {"mnist"}
    for record in only:
        assert record["accuracy_percent"] is None and record["rank"] is None
        assert record["published_percent"] is not None and record["published_source"]
        assert not record["best"] and not record["ranked"]
        known = published.find("mnist", record["method"], 1, "ConvNetD3", record["used_features"])
        assert record["published_percent"] == known[0].accuracy
    lines = [line for line in table([RESULTS], published=True).splitlines() if "‡" in line]
    assert len(lines) == len(only) + 1
    assert all("published" in line and "**" not in line for line in lines)


def test_the_recipe_s_own_published_number_comes_first() -> None:
    records = json.loads(table([RESULTS], published=True, fmt="json"))
    (own,) = (record for record in records if record["recipe"] == "mnist_dc_ipc1")
    assert (own["published_percent"], own["within_published"]) == (91.7, True)
    assert own["difference_points"] == own["accuracy_percent"] - 91.7
    assert own["published_source"] == "Zhao et al. 2021, table 1"


def test_published_numbers_stand_beside_rows_whose_recipe_names_none(
    summary: pd.DataFrame,
) -> None:
    assert len(with_published(summary[summary["dataset"] == "digits"])) == 19
    bare = summary[summary["recipe"] == "mnist_dc_ipc1"].assign(
        published_percent=float("nan"), published_std_percent=float("nan"), published_source=None
    )
    bare.attrs = summary.attrs
    own = with_published(bare).query("measured").iloc[0]
    (first, *_) = published.find("mnist", "dc", 1, "ConvNetD3")
    assert own["published_percent"] == first.accuracy and first.where in own["published_source"]


def test_without_the_option_nothing_shipped_appears(summary: pd.DataFrame) -> None:
    assert summary["measured"].all() and DOUBLE_DAGGER not in render(summary, "github")
    assert summary["published_percent"].notna().sum() == 1


@pytest.mark.parametrize(
    "other",
    [
        {"has_features": True},  # a set with F, trained without it
        {"has_features": True, "used_features": True, "fixed_images": True},
        {"ensemble": True},
        {"ipc": 2},
        {"network": "a network of nobody"},
    ],
)
def test_rows_that_no_paper_reports(summary: pd.DataFrame, other: dict[str, Any]) -> None:
    nothing = {"published_percent": float("nan"), "published_source": None}
    row = summary[summary["recipe"] == "mnist_dc_ipc1"].assign(**nothing, **other)
    row.attrs = summary.attrs
    found = with_published(row).query("measured")
    assert len(found) == 1 and found["published_percent"].isna().all()


def test_a_division_has_only_published_rows_of_its_labels() -> None:
    records = json.loads(table([RESULTS], published=True, division="hard", fmt="json"))
    only = [record for record in records if not record["measured"]]
    assert only and {record["division"] for record in only} == {"hard"}


def test_a_published_number_of_other_labels_does_not_stand_beside_a_row(
    summary: pd.DataFrame,
) -> None:
    taught = summary[summary["recipe"] == "mnist_dc_ipc1"].assign(
        published_percent=float("nan"), published_std_percent=float("nan"),
        published_source=None, division="teacher",
    )  # fmt: skip
    taught.attrs = summary.attrs
    assert with_published(taught).query("measured")["published_percent"].isna().all()
