"""The tidy frame of scores: its columns, and laws of what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_files import members, recipe_of, record_of, write
from tables_fixture import RESULTS

from ddbench import evaluation, store
from ddbench.arms import recipe_arms
from ddbench.distilled import DistilledSet, LabelKind, Space
from ddbench.leaderboard import collect, records, render, summarise
from ddbench.store import EvaluationRecord, Result


def frame_of(folder: Path, *parts: EvaluationRecord, **options: Any) -> pd.DataFrame:
    """The frame of one file with these records."""
    write(folder, recipe_of("digits_dc_ipc2"), 0, *parts, **options)
    return collect([folder], baselines=True)


def test_every_column_is_there_with_one_type(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "open", recipe_of("digits_dc_ipc2"), 0, status="labelled")
    full = frame_of(tmp_path / "full", *members(0.5, 0.6), finished="2026-01-01", restarts=2)
    for frame in (full, collect([tmp_path / "empty"]), collect([tmp_path / "open"])):
        assert list(frame.columns) == list(records.COLUMNS)
        numbers = frame.select_dtypes(["number", "bool"]).dtypes
        assert numbers.to_dict() == full.select_dtypes(["number", "bool"]).dtypes.to_dict()
    row = full.iloc[0]
    assert (row["finished"], row["restarts"], row["job"], row["test_size"]) == (
        "2026-01-01", 2, "", 360,
    )  # fmt: skip


def test_baselines_of_a_protocol_are_no_rows_of_a_table(tmp_path: Path) -> None:
    others = record_of(0.9, 1, role="real"), record_of(0.3, 2, role="x")
    frame = frame_of(tmp_path, record_of(0.5), *others)
    assert frame["role"].tolist() == ["set", "real", "x"]
    assert frame["bytes"].isna().tolist() == [False, True, True]
    assert collect([tmp_path])["role"].tolist() == ["set"]
    assert summarise(frame)["accuracy_percent"].tolist() == [50]


@pytest.mark.parametrize(
    "kind, record, division",
    [
        ("index", {}, "hard"),
        ("probability", {}, "soft"),
        ("logit", {}, "soft"),
        ("index", {"teacher": "ConvNetD3", "teacher_bytes": 1000.0}, "teacher"),
        ("probability", {"teacher": "ConvNetD3", "teacher_bytes": 1000.0}, "teacher"),
        ("probability", {"used_features": True}, "features"),
        ("index", {"used_features": True, "teacher": "a", "teacher_bytes": 1.0}, "features"),
    ],
)
def test_divisions_and_bytes(
    tmp_path: Path, kind: LabelKind, record: dict[str, Any], division: str
) -> None:
    recipe = recipe_of("digits_dc_f", features={"item": "full"})
    y = torch.zeros(1, dtype=torch.int64) if kind == "index" else torch.zeros(20, 10)
    x = torch.zeros(len(y), 1, 8, 8)
    path = write(tmp_path, recipe, 0)
    result = store.read(path)
    made = DistilledSet(x, y, Space("unit"), kind)
    store.write(path, Result(result.attrs, made, evaluations=[record_of(0.5, **record)]))
    row = collect([tmp_path]).iloc[0]
    images, features = 20 * 64 * 4, 20 * 128 * 4 if record.get("used_features") else 0
    labels = 20 * 4 / 8 if kind == "index" else 20 * 10 * 4
    assert row["division"] == division
    assert (row["image_bytes"], row["label_bytes"], row["feature_bytes"]) == (
        images, labels, features,
    )  # fmt: skip
    assert row["teacher_bytes"] == record.get("teacher_bytes", 0)
    assert row["bytes"] == images + labels + features + row["teacher_bytes"]


def test_stored_views_are_soft_labels(tmp_path: Path) -> None:
    path = write(tmp_path, recipe_of("digits_dc_ipc2"), 0)
    result = store.read(path)
    tensors = {
        "index": torch.zeros(5, dtype=torch.int32), "epoch": torch.zeros(5, dtype=torch.int32),
        "logits": torch.zeros(5, 10, dtype=torch.float16),
    }  # fmt: skip
    manifest = store.ViewsManifest("/labels", {})
    for views, size in (
        (store.SoftLabelViews(**tensors), 5 * (4 + 4 + 20)),
        (store.SoftLabelViews(manifest=manifest), 0),
    ):
        own = Result(result.attrs, result.synthetic, views, evaluations=[record_of(0.5)])
        store.write(path, own)
        row = collect([tmp_path]).iloc[0]
        assert (row["division"], row["label_bytes"]) == ("soft", 10 + size)


def test_soft_labels_that_a_protocol_hardens_are_hard(tmp_path: Path) -> None:
    recipe = recipe_of("digits_dc_ipc2", evaluation={"protocol": "ddranking-hard"})
    (arm, *_) = recipe_arms(recipe)
    path = write(tmp_path, recipe, 0)
    made = DistilledSet(torch.zeros(20, 1, 8, 8), torch.zeros(20, 10), Space("unit"), "logit")
    numbers = torch.zeros(5, dtype=torch.int32)
    views = store.SoftLabelViews(index=numbers, epoch=numbers, logits=torch.zeros(5, 10))
    hard = record_of(0.5, evaluation_key=arm.key, protocol="ddranking-hard")
    store.write(path, Result(store.read(path).attrs, made, views, evaluations=[hard]))
    row = collect([tmp_path]).iloc[0]
    assert (row["division"], row["label_bytes"]) == ("hard", 10)


# --- with what a score can be compared -----------------------------------------------------------


def test_the_key_without_features_is_that_of_the_plain_arm() -> None:
    recipe = recipe_of("digits_dc_f", features={}, evaluation={"features": {"use": "both"}})
    with_f, plain = recipe_arms(recipe)
    assert with_f.key != plain.key == with_f.comparable_key == plain.comparable_key
    assert with_f.ensemble_key != plain.ensemble_key == with_f.comparable_ensemble_key
    other = recipe_of("d", features={}, evaluation={"epochs": 2, "features": {"use": "both"}})
    assert recipe_arms(other)[0].comparable_key != plain.key


def test_scores_record_the_key_without_features() -> None:
    recipe = recipe_of("digits_dc_f", features={})
    for arm in recipe_arms(recipe):
        about = evaluation._About(arm, 0, "set", 0.01, 1, 2, None, 0)
        logits, y = torch.zeros(3, 1, 2), torch.zeros(3, dtype=torch.int64)
        for member, key in ((0, arm.comparable_key), (-1, arm.comparable_ensemble_key)):
            (record,) = evaluation._records(about, logits, y, [member], [0.5], [0.5], 1.0)
            assert record.comparable_key == key


def test_files_without_the_key_take_it_from_their_recipe(tmp_path: Path) -> None:
    committed = Path(__file__).parent.parent / "results"
    old = collect([committed])
    f = old[old["used_features"]]
    assert len(f) and (f["comparable"] != f["evaluation_key"]).all()
    plain = old[~old["used_features"]]
    assert (plain["comparable"] == plain["evaluation_key"]).all()
    assert set(f["comparable"]) <= set(plain["comparable"])
    recipe = recipe_of("digits_dc_f", features={})
    (arm, _) = recipe_arms(recipe)
    whole = record_of(0.5, -1, used_features=True, evaluation_key=arm.ensemble_key)
    unknown = record_of(0.5, used_features=True, evaluation_key="f" * 12)
    write(tmp_path, recipe, 0, whole, unknown, record_of(0.5, 1, comparable_key="c" * 12))
    assert collect([tmp_path])["comparable"].tolist() == [
        arm.comparable_ensemble_key, "f" * 12, "c" * 12,
    ]  # fmt: skip


# --- laws ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fixture_frame() -> pd.DataFrame:
    return collect([RESULTS])


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.02, 1))
def test_a_row_is_of_scores_that_were_made_alike(
    fixture_frame: pd.DataFrame, seed: int, share: float
) -> None:
    """Whatever scores there are: each is in one row, and a row averages over seeds alone."""
    chosen = fixture_frame.sample(frac=share, random_state=seed)
    frame = pd.concat([chosen, chosen.head(3)])  # found twice
    frame.attrs = fixture_frame.attrs
    summary = summarise(frame)
    done = frame[frame["status"] == "done"].drop_duplicates()
    assert summary["n_networks"].sum() == len(done)
    assert summary.attrs["repeated"] == (frame["status"] == "done").sum() - len(done)
    alike = ["dataset", "method", "key", "network", "evaluation_key", "used_features", "selection"]
    for _, row in summary.iterrows():
        own = done[(done[alike] == row[alike]).all(axis=1)]
        assert len(own) == row["n_networks"] and own["comparable"].nunique() == 1
        means = own.groupby("seed")["accuracy"].mean()
        assert row["accuracy_percent"] == pytest.approx(100 * means.mean())
        assert row["n_sets"] == len(means)
        assert not row["best"] or row["ranked"]


@settings(max_examples=3)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_paths_changes_nothing(seed: int) -> None:
    files = sorted(RESULTS.rglob("*.h5"))
    order = np.random.default_rng(seed).permutation(len(files))
    shuffled = collect([files[place] for place in order])
    for options in ({}, {"by_bytes": True}):
        expected = render(summarise(collect([RESULTS]), **options), "json")
        assert render(summarise(shuffled, **options), "json") == expected


def test_of_two_scores_the_same_counts_in_any_order(tmp_path: Path) -> None:
    recipe = recipe_of("digits_dc_ipc2")
    for folder, accuracy in (("a", 0.5), ("b", 0.6)):
        write(tmp_path / folder, recipe, 0, record_of(accuracy))
    for order in ("ab", "ba"):
        summary = summarise(collect([tmp_path / folder for folder in order]))
        assert summary["accuracy_percent"].tolist() == [50] and summary.attrs["repeated"] == 1


def test_a_link_to_a_file_is_that_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a", recipe_of("digits_dc_ipc2"), 0, record_of(0.5))
    (tmp_path / "b.h5").symlink_to(path)
    (tmp_path / "broken.h5").symlink_to(tmp_path / "nowhere")
    assert len(collect([tmp_path])) == 1


@pytest.mark.parametrize("value", ["soon", float("inf")])
def test_an_attribute_that_is_no_number_leaves_the_file_out(tmp_path: Path, value: object) -> None:
    write(tmp_path, recipe_of("digits_dc_ipc2"), 0, record_of(0.5))
    odd = write(tmp_path, recipe_of("digits_dc_ipc3", ipc=3), 0, record_of(0.5), seconds=value)
    frame = collect([tmp_path])
    assert frame["recipe"].tolist() == ["digits_dc_ipc2"]
    ((path, reason),) = frame.attrs["rejected"]
    assert path == str(odd) and reason.startswith("seconds: found")
