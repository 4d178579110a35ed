"""The table turned by architecture, IPC or dataset."""

from __future__ import annotations

import pandas as pd
import pytest
from tables_fixture import RESULTS

from ddbench.leaderboard import collect, summarise
from ddbench.leaderboard.pivot import AXES, pivot
from ddbench.leaderboard.signs import DAGGER, NOTHING


@pytest.fixture(scope="module")
def summary() -> pd.DataFrame:
    return summarise(collect([RESULTS]))


@pytest.mark.parametrize("axis", AXES)
def test_a_pivot_has_every_row_of_the_table_once(summary: pd.DataFrame, axis: str) -> None:
    found = pivot(summary, axis)
    cells = [cell for row in found.rows for cell in row if "±" in cell]
    assert len(cells) == len(summary)
    assert NOTHING in {cell for row in found.rows for cell in row}, "missing cells are dashes"
    values = summary[AXES[axis]].nunique(dropna=False)
    keys = [(*row[:-values], any(DAGGER in cell for cell in row)) for row in found.rows]
    assert len(set(keys)) == len(keys), "rows differ in their keys or in their marks"
    assert len(found.bold) == int((summary["best"] & ~summary["test_selected"]).sum())
    accuracies = {
        record[name]
        for record in found.data
        for name in record
        if name.startswith("accuracy_percent[") and record[name] is not None
    }
    assert accuracies == set(summary["accuracy_percent"])


def test_a_pivot_by_ipc_puts_sizes_of_one_method_in_one_row(summary: pd.DataFrame) -> None:
    found = pivot(summary, "ipc")
    assert [name for name in found.columns if "IPC" in name or name == "all"] == [
        "IPC 1", "IPC 2", "all",
    ]  # fmt: skip
    (row,) = (
        row for row in found.rows
        if row[:4] == ["digits", "DC", "ConvNetD2-W32", "digits_dc"] and "†" not in row[4]
    )  # fmt: skip
    assert row[4].startswith("86.93") and row[5].startswith("89.22") and row[6] == NOTHING


def test_test_selected_rows_stay_in_rows_of_their_own(summary: pd.DataFrame) -> None:
    for row in pivot(summary, "ipc").rows:
        marked = [DAGGER in cell for cell in row if "±" in cell]
        assert all(marked) or not any(marked)


def test_a_mark_keeps_rows_apart_that_look_the_same(summary: pd.DataFrame) -> None:
    alike = summary["recipe"].isin(["digits_dc_ipc1", "digits_dc_best_ipc1"])
    part = summary[alike & (summary["network"] == "ConvNetD2-W32")]
    found = pivot(part, "ipc")
    assert "recipe" not in found.columns
    assert [row[-1] for row in found.rows] == ["89.09 ± 1.15 †", "86.93 ± 1.24"]


def test_networks_are_sorted_by_their_numbers(summary: pd.DataFrame) -> None:
    names = {"ConvNetD2-W32": "ConvNetD10", "MLP": "ConvNetD9", "ConvNetD3": "AlexNet"}
    renamed = summary.assign(network=summary["network"].map(names))
    assert pivot(renamed, "networks").columns[-3:] == ["AlexNet", "ConvNetD9", "ConvNetD10"]


def test_a_published_number_of_one_network_does_not_split_a_row(summary: pd.DataFrame) -> None:
    """It stands on the network that the paper trained; the others are still of the same method."""
    own = summary.index[(summary["name"] == "DC") & (summary["network"] == "ConvNetD2-W32")]
    told = summary.assign(published_source=None)
    told.loc[own, "published_source"] = "A & B, table 1"
    told.attrs = summary.attrs
    assert pivot(told, "networks").rows == pivot(summary, "networks").rows
    assert not any("A & B" in note for note in pivot(told, "networks").notes)
