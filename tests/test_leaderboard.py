"""From files to rows: hand-computed numbers, and what must never be averaged."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scored_files import PUBLISHED, members, recipe_of, record_of, write

from ddbench.arms import recipe_arms
from ddbench.errors import BadInput
from ddbench.leaderboard import FORMATS, collect, footer, render, summarise
from ddbench.leaderboard.recipe_facts import is_within
from ddbench.leaderboard.view import telling_columns


def rows(*folders: Path, **options: Any) -> list[dict[Any, Any]]:
    return summarise(collect(folders), **options).to_dict(orient="records")


def six_records(folder: Path) -> None:
    """DC: two networks, their ensemble, an unfinished run; a set with F, used and not; damage."""
    plain = recipe_of("digits_dc_ipc2", published=PUBLISHED)
    write(folder, plain, 0, record_of(0.6, 0), record_of(0.7, 1), record_of(0.75, -1))
    with_f = recipe_of("digits_dc_f_ipc2", features={})
    write(
        folder, with_f, 0,
        record_of(0.8, used_features=True, evaluation_key="f" * 12), record_of(0.65),
    )  # fmt: skip
    write(folder, plain, 1, record_of(0.9), status="distilled")
    damaged = write(folder, recipe_of("digits_damaged"), 0, record_of(0.99))
    damaged.write_bytes(damaged.read_bytes()[:-3000])


def test_mean_and_spread_by_hand(tmp_path: Path) -> None:
    recipe = recipe_of("digits_dc_ipc2")
    write(tmp_path, recipe, 0, *members(0.50, 0.60))
    write(tmp_path, recipe, 1, *members(0.70, 0.80))
    (row,) = rows(tmp_path)
    assert row["accuracy_percent"] == pytest.approx(65)
    # deviations -15, -5, 5, 15: sum of squares 500, over n - 1 = 3
    assert row["accuracy_std_percent"] == pytest.approx((500 / 3) ** 0.5)
    # means per set 55 and 75: half of 20^2 over 1
    assert row["between_sets_std_percent"] == pytest.approx(200**0.5)
    assert (row["n_sets"], row["n_networks"], row["networks_per_set"]) == (2, 4, 2)
    assert row["bytes"] == 10 * 2 * 64 * 4 + 10  # 20 labels of 4 bits
    assert row["image_equivalents_per_class"] == 2
    assert row["distill_seconds_per_set"] == 15
    assert row["measured"] is True


def test_one_network_has_no_spread(tmp_path: Path) -> None:
    write(tmp_path, recipe_of("digits_dc_ipc2"), 0, record_of(0.5))
    summary = summarise(collect([tmp_path]))
    assert summary["accuracy_std_percent"].isna().all()
    assert "| 50.00 |" in " ".join(render(summary, "github").split())


def test_sets_with_different_numbers_of_networks(tmp_path: Path) -> None:
    recipe = recipe_of("digits_dc_ipc2")
    write(tmp_path, recipe, 0, *members(0.5, 0.6))
    write(tmp_path, recipe, 1, *members(0.7))
    assert "3 on 2 sets" in render(summarise(collect([tmp_path])), "github")


@pytest.mark.parametrize(
    "field, value",
    [
        ("evaluation_key", "d" * 12),
        ("tta", "hflip"),
        ("selection", "best_on_validation"),
        ("network", "ConvNetD1"),
        ("used_features", True),
        ("network_seed", -1),
        ("iteration", 500),
    ],
)
def test_never_averages_over(tmp_path: Path, field: str, value: object) -> None:
    a, b = record_of(0.5), replace(record_of(0.7), **{field: value})
    write(tmp_path, recipe_of("digits_dc_ipc2", features={}), 0, a, b)
    summary = summarise(collect([tmp_path]))
    assert sorted(summary["accuracy_percent"]) == [50, 70]
    text = render(summary, "github").splitlines()
    first, second = (line.split("|")[1:-5] for line in text[2:4])
    assert first != second, "a reader must be able to tell the rows apart"


def test_never_averages_over_two_rules_of_selection(tmp_path: Path) -> None:
    rules = "best_on_validation", "best_on_test"
    records = [record_of(0.5 + i / 10, selection=rule) for i, rule in enumerate(rules)]
    write(tmp_path, recipe_of("digits_dc_ipc2"), 0, *records)
    assert sorted(row["accuracy_percent"] for row in rows(tmp_path)) == [50, 60]


def test_a_chosen_snapshot_may_differ_from_seed_to_seed(tmp_path: Path) -> None:
    recipe = recipe_of("digits_dc_ipc2")
    for seed in (0, 1):
        record = record_of(0.5, selection="best_on_test", iteration=100 * seed)
        write(tmp_path, recipe, seed, record)
    (row,) = rows(tmp_path)
    assert row["iterations"] == "0, 100"
    text = render(summarise(collect([tmp_path])), "github")
    assert "DC †" in text and "chosen on the test set" in text


def test_different_keys_get_a_telling_column(tmp_path: Path) -> None:
    write(tmp_path, recipe_of("digits_dc_a"), 0, record_of(0.5))
    write(
        tmp_path, recipe_of("digits_dc_b", method={"name": "dc", "lr_img": 1.0}), 0, record_of(0.6)
    )
    summary = summarise(collect([tmp_path]))
    assert telling_columns(summary) == ["recipe"]
    assert "digits_dc_b" in render(summary, "github")


def test_one_recipe_with_two_protocols(tmp_path: Path) -> None:
    other = {"evaluation_key": "d" * 12}
    records = record_of(0.5), record_of(0.6, protocol="dsa", **other)
    write(tmp_path, recipe_of("digits_dc_ipc2"), 0, *records)
    assert telling_columns(summarise(collect([tmp_path]))) == ["protocol"]


def test_order(tmp_path: Path) -> None:
    for name, ipc in [("full", 1), ("dc", 2), ("dc", 1), ("average", 1), ("kmeans", 1),
                      ("herding", 1), ("random", 1)]:  # fmt: skip
        write(tmp_path, recipe_of(f"digits_{name}_ipc{ipc}", name, ipc), 0, record_of(0.5))
    found = [(row["method"], None if pd.isna(row["ipc"]) else row["ipc"]) for row in rows(tmp_path)]
    baselines = [(name, 1) for name in ("random", "herding", "kmeans", "average")]
    assert found == [*baselines, ("dc", 1), ("dc", 2), ("full", None)]
    assert "| all |" in " ".join(render(summarise(collect([tmp_path])), "github").split())


def test_by_bytes_sorts_by_bytes(tmp_path: Path) -> None:
    write(tmp_path, recipe_of("digits_dc_f_ipc2", features={"item": "full"}), 0,
          record_of(0.5, used_features=True))  # fmt: skip
    write(tmp_path, recipe_of("digits_dc_ipc3", ipc=3), 0, record_of(0.5))
    assert [row["ipc"] for row in rows(tmp_path)] == [2, 3]
    assert [row["ipc"] for row in rows(tmp_path, by_bytes=True)] == [3, 2]


def test_features_on_fixed_images_are_named(tmp_path: Path) -> None:
    recipe = recipe_of("digits_dc_f", init={"from": "real"}, features={"update_images": False})
    write(tmp_path, recipe, 0, record_of(0.5, used_features=True), record_of(0.4))
    names = [row["name"] for row in rows(tmp_path)]
    assert names == ["DC + F (F on fixed images)", "DC (F on fixed images, trained without F)"]
    assert rows(tmp_path)[0]["features"] == "matching, channel per_image, lambda 0.01"


def test_published_numbers_belong_to_their_arm(tmp_path: Path) -> None:
    recipe = recipe_of("digits_dc_f", features={}, published=PUBLISHED)
    with_f, without = recipe_arms(recipe)
    write(
        tmp_path, recipe, 0,
        record_of(0.75, used_features=True, evaluation_key=with_f.key),
        record_of(0.4, evaluation_key=without.key),
        record_of(0.7, used_features=True, protocol="dcbench-2022"),  # not what the paper reports
    )  # fmt: skip
    own, *others = sorted(rows(tmp_path), key=lambda row: -row["accuracy_percent"])
    assert own["difference_points"] == pytest.approx(5) and own["as_recipe"]
    assert len(others) == 2
    assert all(pd.isna(each["published_percent"]) for each in others)
    assert all(pd.isna(each["difference_points"]) for each in others)
    text = render(summarise(collect([tmp_path])), "github", published=True)
    assert "[1] A & B 2021, table 2" in text and "70.00 ± 0.50 [1]" in text


def test_a_difference_of_just_the_spread_is_within_it() -> None:
    assert all(is_within(i / 10 - (i - 1) / 10, 0.1) for i in range(501, 998))
    assert not is_within(-0.11, 0.1) and is_within(-0.1, 0.1)


def test_overlapping_paths_and_repeated_scores_count_once(tmp_path: Path) -> None:
    recipe = recipe_of("digits_dc_ipc2")
    path = write(tmp_path / "a", recipe, 0, *members(0.5, 0.6))
    write(tmp_path / "b", recipe, 0, *members(0.5, 0.6))
    assert len(collect([tmp_path / "a", path, tmp_path])) == 4
    summary = summarise(collect([tmp_path]))
    assert summary["n_networks"].tolist() == [2]
    assert "2 scores found twice" in "\n".join(footer(summary))


def test_what_is_no_result_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    six_records(tmp_path)
    (tmp_path / "foreign.h5").write_bytes(b"not HDF5")
    old = recipe_of("digits_old")
    write(tmp_path, old, 0, record_of(0.5), **{"recipe": "name: digits_old\ngone: 1\n"})
    with caplog.at_level(logging.WARNING):
        frame = collect([tmp_path])
    reasons = {Path(path).parent.name: reason for path, reason in frame.attrs["rejected"]}
    assert set(reasons) == {tmp_path.name, "digits_damaged", "digits_old"}
    assert "unknown field" in reasons["digits_old"]
    assert len(caplog.records) == 3
    assert [status for _, status in frame.attrs["unfinished"]] == ["distilled"]
    assert set(frame["status"]) == {"done", "distilled"}


def test_hidden_folders_are_skipped(tmp_path: Path) -> None:
    write(tmp_path / ".toy", recipe_of("digits_dc_ipc2"), 0, record_of(0.5))
    assert collect([tmp_path]).empty
    with pytest.raises(BadInput, match="toy"):
        collect([tmp_path / ".toy"])


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        collect([tmp_path / "nowhere"])


@pytest.mark.parametrize("fmt", FORMATS)
def test_nothing_finished(tmp_path: Path, fmt: str) -> None:
    write(tmp_path, recipe_of("digits_dc_ipc2"), 0, status="distilled")
    text = render(summarise(collect([tmp_path])), fmt)
    assert text.endswith("\n")
    assert fmt in ("csv", "json") or "1 unfinished run (1 distilled)." in text
