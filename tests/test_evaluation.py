"""Scores: arms with and without F, ensembles, selection of snapshots, stacks, test-time views."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddbench import api, store
from ddbench.arms import recipe_arms
from ddbench.data import load
from ddbench.engine import Engine, choose
from ddbench.errors import BadInput, CutOff
from ddbench.evaluation import Target, score
from ddbench.randomness import Streams
from ddbench.recipe import Recipe
from ddbench.runner import is_done, result_file, run
from ddbench.scoring import missing_rows
from ddbench.verification import verify

CPU = torch.device("cpu")
BASE: dict[str, Any] = {
    "name": "scored",
    "dataset": "digits",
    "network": {"name": "ConvNetD2", "width": 8},
    "ipc": 2,
    "init": {"from": "real"},
    "method": {"name": "dc", "iterations": 4},
    "evaluation": {"epochs": 5, "repeats": 3},
}


def made(folder: Path, **fields: Any) -> tuple[Recipe, store.Result]:
    recipe = Recipe.parse(BASE | fields)
    return recipe, store.read(run(recipe, 0, folder, device="cpu").path)


def accuracies(result: store.Result, used: bool = False) -> list[float]:
    return [
        r.accuracy for r in result.evaluations if r.used_features is used and r.network_seed >= 0
    ]


def test_predictions_agree_with_the_accuracy(tmp_path: Path) -> None:
    _, result = made(tmp_path)
    for record in result.evaluations:
        assert record.correct is not None and record.correct.shape == (360,)
        assert record.accuracy == record.correct.mean()
        assert np.isnan(record.best_accuracy)
        assert record.epochs == 6


def test_classes_without_test_images_have_no_accuracy(tmp_path: Path) -> None:
    recipe, result = made(tmp_path)
    data, streams = load(recipe.dataset, CPU), Streams(0, CPU)
    kept = data.y_test != 4
    target = Target(data.x_test[kept], data.y_test[kept])
    (arm,), engine = recipe_arms(recipe), Engine("cpu", 1, 1, 100)
    (record,) = score(result.synthetic, arm, data, target, [0], streams, engine, iteration=0)
    assert np.isnan(record.per_class).nonzero()[0].tolist() == [4]
    weights = np.bincount(target.y, minlength=10)
    assert np.nansum(record.per_class * weights) / weights.sum() == pytest.approx(record.accuracy)


def test_networks_that_diverge_are_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made(tmp_path / "fine")
    assert "diverged" not in caplog.text
    made(tmp_path, evaluation=BASE["evaluation"] | {"lr": 100.0, "epochs": 40})
    assert caplog.text.count("3 of 3 networks diverged") == 1


def test_best_over_training_is_stored_apart(tmp_path: Path) -> None:
    _, plain = made(tmp_path / "a")
    _, tracked = made(tmp_path / "b", evaluation=BASE["evaluation"] | {"test_every": 1})
    assert accuracies(plain) == accuracies(tracked)
    assert all(record.best_accuracy >= record.accuracy for record in tracked.evaluations)
    assert [r.evaluation_key for r in plain.evaluations] == [
        r.evaluation_key for r in tracked.evaluations
    ]


def test_more_repeats_add_rows_and_keep_the_others(tmp_path: Path) -> None:
    _, few = made(tmp_path)
    recipe = Recipe.parse(BASE | {"evaluation": BASE["evaluation"] | {"repeats": 5}})
    assert not is_done(recipe, 0, tmp_path)
    many = store.read(run(recipe, 0, tmp_path, device="cpu").path)
    assert accuracies(many)[:3] == accuracies(few)
    assert [r.network_seed for r in many.evaluations] == [0, 1, 2, 3, 4]


def test_an_ensemble_is_a_row_of_its_own(tmp_path: Path) -> None:
    _, result = made(tmp_path, evaluation=BASE["evaluation"] | {"ensemble": True})
    assert sorted(record.network_seed for record in result.evaluations) == [-1, 0, 1, 2]


def test_both_arms_share_their_networks(tmp_path: Path) -> None:
    features = {"item": "full", "lambda_reg": 0.0, "source": "init"}
    _, result = made(tmp_path, features=features)
    assert accuracies(result, used=True) == accuracies(result, used=False)
    keys = {r.used_features: r.evaluation_key for r in result.evaluations}
    assert keys[True] != keys[False]


def test_another_architecture_trains_without_features_and_says_so(tmp_path: Path) -> None:
    evaluation = BASE["evaluation"] | {"networks": [{"name": "ConvNetD2", "width": 4}]}
    recipe, result = made(tmp_path, features={"item": "full"}, evaluation=evaluation)
    assert [arm.features for arm in recipe_arms(recipe)] == [None]
    assert not any(record.used_features for record in result.evaluations)
    strict = evaluation | {"features": {"on_mismatch": "error"}}
    with pytest.raises(BadInput, match="F has items"):
        recipe_arms(Recipe.parse(BASE | {"features": {"item": "full"}, "evaluation": strict}))


@pytest.mark.parametrize("rule", ["best_on_validation", "best_on_real_train", "best_on_test"])
def test_selection_scores_the_best_snapshot(tmp_path: Path, rule: str) -> None:
    evaluation = BASE["evaluation"] | {"snapshots": [0, 2], "selection": rule}
    dataset = {"name": "digits", "validation": 0.2}
    recipe, result = made(tmp_path, dataset=dataset, evaluation=evaluation)
    assert sorted(result.snapshots) == [0, 2]
    (iteration,) = {record.iteration for record in result.evaluations}
    assert iteration in (0, 2, 5)
    assert {record.selection for record in result.evaluations} == {rule}
    if rule == "best_on_test":
        means = {}
        for snapshot in (0, 2, None):
            part = api.load(result_file(recipe, 0, tmp_path), iteration=snapshot)
            means[5 if snapshot is None else snapshot] = _mean(part.set, recipe)
        assert iteration == max(sorted(means), key=lambda number: means[number])


def _mean(data_set: Any, recipe: Recipe) -> float:
    data = load(recipe.dataset, CPU)
    (arm,) = recipe_arms(recipe)
    engine = choose(CPU, [recipe.net], data.shape, 20)
    records = score(data_set, arm, data, Target(data.x_test, data.y_test), range(3),
                    Streams(0, CPU), engine, iteration=0)  # fmt: skip
    return float(np.mean([record.accuracy for record in records]))


def test_stored_precision_is_what_is_trained_on(tmp_path: Path) -> None:
    features = {"item": "full", "dtype": "uint8_affine", "lambda_reg": 1.0}
    recipe, result = made(tmp_path, features=features)
    assert result.synthetic is not None and result.synthetic.F is not None
    again = api.evaluate(result_file(recipe, 0, tmp_path), device="cpu")
    assert [r.accuracy for r in again if r.used_features] == accuracies(result, used=True)


def test_a_set_is_a_torch_dataset(tmp_path: Path) -> None:
    recipe, result = made(tmp_path, features={"item": "channel", "granularity": "per_class"})
    data = api.load(result_file(recipe, 0, tmp_path))
    assert len(data) == 20
    x, y, F = data[7]
    assert x.shape == (1, 8, 8) and int(y) == 3 and F.shape == (1, 8, 1, 1)
    assert result.synthetic is not None and result.synthetic.F is not None
    assert torch.equal(F, result.synthetic.F[3])
    loader = torch.utils.data.DataLoader(data, batch_size=5)
    assert [len(part) for part in next(iter(loader))] == [5, 5, 5]


def test_api_evaluate_takes_other_networks_and_protocols(tmp_path: Path) -> None:
    recipe, _ = made(tmp_path)
    path = result_file(recipe, 0, tmp_path)
    before = path.read_bytes()
    records = api.evaluate(path, networks=["ConvNetD1"], protocol="dsa", epochs=2, repeats=2)
    assert [record.network for record in records] == ["ConvNetD1"] * 2
    assert {record.protocol for record in records} == {"dsa"}
    assert path.read_bytes() == before


def test_a_longer_run_recomputes_its_ensemble(tmp_path: Path) -> None:
    few = BASE["evaluation"] | {"ensemble": True, "repeats": 2}
    made(tmp_path / "grown", evaluation=few)
    _, grown = made(tmp_path / "grown", evaluation=few | {"repeats": 4})
    _, whole = made(tmp_path / "whole", evaluation=few | {"repeats": 4})
    wanted = {r.evaluation_key: r.accuracy for r in whole.evaluations if r.network_seed == -1}
    found = {r.evaluation_key: r.accuracy for r in grown.evaluations if r.network_seed == -1}
    assert len(found) == 2 and wanted.items() <= found.items()


def test_another_evaluation_joins_the_file_and_both_verify(tmp_path: Path) -> None:
    first, _ = made(tmp_path)
    second, result = made(tmp_path, evaluation=BASE["evaluation"] | {"epochs": 3})
    assert len(result.evaluations) == 6 and result.attrs["status"] == "done"
    assert is_done(first, 0, tmp_path) and is_done(second, 0, tmp_path)
    assert verify(first, 0, tmp_path, device="cpu") == []
    assert verify(second, 0, tmp_path, device="cpu") == []


def test_tracking_the_best_later_scores_again(tmp_path: Path) -> None:
    _, plain = made(tmp_path)
    _, tracked = made(tmp_path, evaluation=BASE["evaluation"] | {"test_every": 2})
    assert accuracies(plain) == accuracies(tracked)
    assert not any(np.isnan(record.best_accuracy) for record in tracked.evaluations)


def test_the_best_of_other_tests_is_scored_again(tmp_path: Path) -> None:
    tracking = [BASE["evaluation"] | {"test_every": every} for every in (4, 1, 0)]
    _, rare = made(tmp_path, evaluation=tracking[0])
    assert {record.test_every for record in rare.evaluations} == {4}
    often, found = made(tmp_path, evaluation=tracking[1])
    assert {record.test_every for record in found.evaluations} == {1}
    _, fresh = made(tmp_path / "fresh", evaluation=tracking[1])
    assert [r.best_accuracy for r in found.evaluations] == [
        r.best_accuracy for r in fresh.evaluations
    ]
    assert is_done(often, 0, tmp_path)
    assert is_done(Recipe.parse(BASE | {"evaluation": tracking[2]}), 0, tmp_path)
    assert not is_done(Recipe.parse(BASE | {"evaluation": tracking[0]}), 0, tmp_path)


def test_the_best_of_earlier_releases_counts(tmp_path: Path) -> None:
    recipe, tracked = made(tmp_path, evaluation=BASE["evaluation"] | {"test_every": 2})
    silent = [replace(record, test_every=0) for record in tracked.evaluations]
    assert missing_rows(recipe, silent) == []
    untracked = [replace(record, best_accuracy=np.nan) for record in silent]
    assert [members for _, members in missing_rows(recipe, untracked)] == [[0, 1, 2]]


def test_an_interrupted_evaluation_is_resumed_with_the_best_tracked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores that were kept without it do not count."""
    monkeypatch.setenv("DDBENCH_CHECKPOINT_SECONDS", "0")
    recipe = Recipe.parse(BASE)
    ask_to_stop_after(monkeypatch, [], 2)
    with pytest.raises(CutOff):
        run(recipe, 0, tmp_path, device="cpu", engine=Engine("cpu", 1, 1, 100))
    assert store.checkpoint.load(store.checkpoint_directory(result_file(recipe, 0, tmp_path)))
    monkeypatch.undo()
    tracked, result = made(tmp_path, evaluation=BASE["evaluation"] | {"test_every": 2})
    assert {record.test_every for record in result.evaluations} == {2}
    assert len(result.evaluations) == 3 and is_done(tracked, 0, tmp_path)


def test_an_interrupted_evaluation_keeps_its_scores_apart_until_the_arm_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDBENCH_CHECKPOINT_SECONDS", "0")
    recipe, whole = made(tmp_path / "whole")
    engine = Engine("cpu", 1, 1, 100)
    trained: list[int] = []
    ask_to_stop_after(monkeypatch, trained, 2)
    with pytest.raises(CutOff):
        run(recipe, 0, tmp_path / "cut", device="cpu", engine=engine)
    path = result_file(recipe, 0, tmp_path / "cut")
    assert store.read_header(path).evaluations == ()
    monkeypatch.undo()
    again = store.read(run(recipe, 0, tmp_path / "cut", device="cpu").path)
    assert len(again.evaluations) == 3 and again.attrs["status"] == "done"
    assert accuracies(again) == pytest.approx(accuracies(whole), abs=0.02)
    assert not store.checkpoint_directory(path).exists()


def ask_to_stop_after(monkeypatch: pytest.MonkeyPatch, trained: list[int], count: int) -> None:
    """Raise SIGTERM in this process when ``count`` networks are scored."""
    from ddbench import scoring

    original = scoring.score

    def counted(*args: Any, **named: Any) -> Any:
        for record in original(*args, **named):
            trained.append(record.network_seed)
            if len(trained) == count:
                os.kill(os.getpid(), signal.SIGTERM)
            yield record

    monkeypatch.setattr(scoring, "score", counted)


def test_a_validation_split_too_small_for_the_ipc_is_refused(tmp_path: Path) -> None:
    fields = {"dataset": {"name": "digits", "validation": 0.5}, "ipc": 72, "init": None,
              "method": "random"}  # fmt: skip
    with pytest.raises(BadInput, match="smallest class has 70") as error:
        made(tmp_path, **fields)
    assert error.value.field == "ipc"


def test_a_network_is_evaluated_once() -> None:
    twice = ["ConvNetD2W8", {"name": "ConvNetD2", "width": 8}]
    with pytest.raises(BadInput, match="stands twice"):
        Recipe.parse(BASE | {"evaluation": {"networks": twice}})
