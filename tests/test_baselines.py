"""Roles: what a set is compared with is trained once, found by other sets, and stored beside it."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from ddbench import baselines, plugins, protocols, recipe_files, store, toy
from ddbench import trained as experts
from ddbench.arms import BASELINES, OF_SET, recipe_arms
from ddbench.data import load
from ddbench.engine import Engine
from ddbench.errors import CutOff
from ddbench.randomness import Streams
from ddbench.ranking import ranking_of
from ddbench.recipe import Recipe
from ddbench.runner import is_done, result_file, run
from ddbench.scoring import missing_rows
from ddbench.store import EvaluationRecord, Result
from ddbench.verification import verify

CPU = torch.device("cpu")
ROLES = (*OF_SET, *BASELINES)
BASE: dict[str, Any] = {
    "name": "ranked",
    "dataset": "digits",
    "network": {"name": "ConvNetD2", "width": 4},
    "ipc": 1,
    "method": "random",
    "evaluation": {"protocol": "tiny-ranking"},
}


@pytest.fixture(autouse=True)
def _tiny_protocol(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A protocol with every role that trains for two epochs; its own cache of baselines."""
    module: Any = ModuleType("ddbench.protocols.tiny_ranking")
    module.SUMMARY, module.SOURCE, module.VERSION = "for tests", "none", 1
    module.ROLES = ROLES

    def preset(facts: object, network: object) -> dict[str, Any]:
        return {"repeats": 2, "epochs": 2, "lr": 0.05, "augmentation": "dsa"}

    def role_preset(role: str, facts: object, network: object) -> dict[str, Any]:
        if role == "real":
            return {**preset(facts, network), "epochs": 1, "schedule": "constant"}
        if role.endswith("_plain"):
            return {"augmentation": None}
        return {"labels": "hard"} if role == "set_hard" else {}

    module.preset, module.role_preset = preset, role_preset
    known = plugins.names
    package = protocols.__name__
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(
        plugins,
        "names",
        lambda name: (*known(name), "tiny_ranking") if name == package else known(name),
    )
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many networks of each role were trained."""
    from ddbench import evaluation, scoring

    count: Counter[str] = Counter()

    def counted(*args: Any, **named: Any) -> Iterator[EvaluationRecord]:
        for record in evaluation.score(*args, **named):
            count[args[1].role] += 1
            yield record

    monkeypatch.setattr(baselines, "score", counted)
    monkeypatch.setattr(scoring, "score", counted)
    return count


def made(folder: Path, *, seed: int = 0, **fields: Any) -> Result:
    recipe = Recipe.parse(BASE | fields)
    engine = Engine("cpu", torch.get_num_threads(), 3, 100)
    return store.read(run(recipe, seed, folder, device="cpu", engine=engine).path)


def of_role(result: Result, *roles: str) -> list[EvaluationRecord]:
    return [record for record in result.evaluations if record.role in roles]


def same(ours: list[EvaluationRecord], theirs: list[EvaluationRecord], *but: str) -> None:
    """Equal bits in all fields ``but`` these."""
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        for name in set(a.__dataclass_fields__) - set(but):
            np.testing.assert_equal(getattr(a, name), getattr(b, name))


def entries(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "baselines").iterdir())


# --- one run -------------------------------------------------------------------------------------


def test_every_role_has_its_rows(tmp_path: Path) -> None:
    result = made(tmp_path)
    rows = Counter((record.role, record.network_seed) for record in result.evaluations)
    assert rows == {(role, member): 1 for role in ROLES for member in (0, 1)}
    assert len({record.evaluation_key for record in result.evaluations}) == len(ROLES)
    recipe = Recipe.parse(BASE)
    assert result.attrs["status"] == "done" and is_done(recipe, 0, tmp_path)
    assert missing_rows(recipe, result.evaluations) == []
    others = [record for record in result.evaluations if record.role != "real"]
    assert [arm for arm, _ in missing_rows(recipe, others)] == [
        arm for arm in recipe_arms(recipe) if arm.role == "real"
    ]


def test_the_rows_are_what_the_ranking_needs(tmp_path: Path) -> None:
    ranking = ranking_of({0: made(tmp_path).evaluations})["final"]
    assert ranking.hlr and ranking.ior and ranking.lrs and ranking.ars
    assert len(ranking.lrs.rounds) == 2 and 0 <= ranking.lrs.mean <= 1


def test_a_hard_set_is_not_trained_again_for_its_hard_labels(
    tmp_path: Path, trained: Counter[str]
) -> None:
    result = made(tmp_path)
    assert trained["set"] == 2 and trained["set_hard"] == 0 and trained["set_plain"] == 2
    for own, hard in zip(of_role(result, "set"), of_role(result, "set_hard"), strict=True):
        same([own], [hard], "role", "evaluation_key", "comparable_key")
        assert hard.comparable_key == hard.evaluation_key != own.evaluation_key


def test_a_soft_set_is_trained_with_its_largest_labels_too(
    tmp_path: Path, trained: Counter[str]
) -> None:
    hard = made(tmp_path)
    assert hard.synthetic is not None
    soft = torch.nn.functional.one_hot(hard.synthetic.y, 10).float() * 0.6 + 0.04
    changed = replace(hard.synthetic, y=soft, kind="probability")
    path = result_file(Recipe.parse(BASE), 0, tmp_path)
    store.write(path, replace(hard, synthetic=changed, evaluations=()))
    trained.clear()
    result = made(tmp_path)
    assert trained == {"set": 2, "set_hard": 2, "set_plain": 2}
    same(of_role(result, "set_hard"), of_role(hard, "set_hard"), "seconds")
    assert (
        of_role(result, "set")[0].per_class.tolist() != of_role(hard, "set")[0].per_class.tolist()
    )


def test_the_full_data_are_compared_with_nothing() -> None:
    recipe = Recipe.parse(BASE | {"method": "full", "ipc": 1})
    assert [arm.role for arm in recipe_arms(recipe)] == ["set"]


def test_features_belong_to_the_set_not_to_its_baselines() -> None:
    features = {"item": "full", "source": "init"}
    recipe = Recipe.parse(BASE | {"features": features})
    found = Counter((arm.role, arm.features is not None) for arm in recipe_arms(recipe))
    both = {("set", True), ("set", False), ("set_plain", True), ("set_plain", False)}
    assert set(found) == both | {(r, False) for r in ("set_hard", *BASELINES)}
    assert [arm.role for arm in recipe_arms(recipe)][:2] == ["set", "set"]


def test_only_the_set_has_an_ensemble(tmp_path: Path) -> None:
    result = made(tmp_path, evaluation=BASE["evaluation"] | {"ensemble": True})
    assert [r.role for r in result.evaluations if r.network_seed == -1] == ["set"]


def test_roles_share_the_snapshot_that_was_selected(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "method": {"name": "dc", "iterations": 2},
        "init": {"from": "noise"},
        "evaluation": BASE["evaluation"] | {"snapshots": [0, 1], "selection": "best_on_test"},
    }
    result = made(tmp_path, **fields)
    assert len({record.iteration for record in of_role(result, *OF_SET)}) == 1
    assert {record.selection for record in of_role(result, *OF_SET)} == {"best_on_test"}
    assert {record.selection for record in of_role(result, *BASELINES)} == {"last"}
    plain = made(tmp_path / "plain")
    same(of_role(result, *BASELINES), of_role(plain, *BASELINES))


# --- keys ----------------------------------------------------------------------------------------


def test_keys_of_stored_sets_are_those_of_the_role_set() -> None:
    folder = Path(__file__).resolve().parent.parent / "results" / "digits"
    files = sorted(folder.rglob("*.h5"))
    assert files
    for path in files:
        header = store.read_header(path)
        recipe = recipe_files.from_yaml(str(header.attrs["recipe"]), file=path)
        arms = recipe_arms(recipe)
        assert {arm.role for arm in arms} == {"set"}
        assert {arm.key for arm in arms} == {
            record.evaluation_key
            for record in header.evaluations
            if record.network == recipe.net.label  # others were scored later
        }


# --- the cache -----------------------------------------------------------------------------------


def test_baselines_are_trained_once_for_all_methods(tmp_path: Path, trained: Counter[str]) -> None:
    first = made(tmp_path)
    assert {role: trained[role] for role in BASELINES} == dict.fromkeys(BASELINES, 2)
    trained.clear()
    second = made(tmp_path, method="herding", name="other")
    assert not set(trained) & set(BASELINES) and trained["set"] == 2
    same(of_role(first, *BASELINES), of_role(second, *BASELINES))


def test_without_the_cache_the_same_bits_come_again(tmp_path: Path, trained: Counter[str]) -> None:
    first = made(tmp_path)
    for path in entries(tmp_path):
        path.unlink()
    recipe = Recipe.parse(BASE | {"name": "again"})
    other_stack = Engine("cpu", torch.get_num_threads(), 1, 100)
    second = store.read(run(recipe, 0, tmp_path, device="cpu", engine=other_stack).path)
    assert trained["random"] == 4
    same(of_role(first, *BASELINES), of_role(second, *BASELINES), "seconds")


def test_damaged_entries_are_computed_again(
    tmp_path: Path, trained: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = made(tmp_path)
    for path, damage in zip(entries(tmp_path), DAMAGES, strict=True):
        path.write_bytes(damage(path.read_text()))
    trained.clear()
    second = made(tmp_path, name="again")
    assert {role: trained[role] for role in BASELINES} == dict.fromkeys(BASELINES, 2)
    assert caplog.text.count("computed again") == 6
    same(of_role(first, *BASELINES), of_role(second, *BASELINES), "seconds")
    trained.clear()
    made(tmp_path, name="third")
    assert not set(trained) & set(BASELINES)


def _changed(text: str, **fields: Any) -> bytes:
    return json.dumps(json.loads(text) | fields).encode()


DAMAGES: tuple[Callable[[str], bytes], ...] = (
    lambda text: text[: len(text) // 2].encode(),
    lambda text: text.replace('"accuracy": 0.', '"accuracy": 0.9').encode(),
    lambda text: _changed(text, identity={}),
    lambda text: _changed(text, record={}),
    lambda _: b"[]",
    lambda _: b"\xff\xfe\x00",
)


def test_what_changes_a_baseline_changes_its_entry(trained: Counter[str]) -> None:
    def new(seed: int = 0, **fields: Any) -> dict[str, int]:
        """Networks that had to be trained for the first round of two baselines."""
        trained.clear()
        recipe = Recipe.parse(BASE | fields)
        data, streams = load(recipe.dataset, CPU), Streams(seed, CPU)
        for arm in recipe_arms(recipe):
            if arm.role in ("random", "real"):
                engine = Engine("cpu", torch.get_num_threads(), 3, 100)
                baselines.score_of(arm, 0, recipe, data, streams, engine)
        return dict(trained)

    evaluation = BASE["evaluation"]
    assert new() == {"random": 1, "real": 1}
    assert new(method="herding", name="other") == {}
    assert new(evaluation=evaluation | {"repeats": 5}) == {}
    # The full data depend neither on the number of images nor on how the set is trained.
    assert new(ipc=2) == {"random": 1}
    assert new(evaluation=evaluation | {"epochs": 1}) == {"random": 1}
    everything = {"random": 1, "real": 1}
    assert new(seed=1) == everything
    assert new(dataset={"name": "digits", "validation": 0.2}) == everything
    assert new(evaluation=evaluation | {"test_every": 1}) == everything
    assert new(network={"name": "ConvNetD2", "width": 5}) == everything


def test_the_value_space_and_the_engine_make_an_entry(
    trained: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe.parse(BASE)
    (arm,) = [arm for arm in recipe_arms(recipe) if arm.role == "real"]
    data, streams = load(recipe.dataset, CPU), Streams(0, CPU)
    engine = Engine("cpu", torch.get_num_threads(), 1, 100)
    shifted = replace(data, space=replace(data.space, std=(2 * data.space.std[0],)))
    for each in (data, shifted, data, shifted):
        baselines.score_of(arm, 0, recipe, each, streams, engine)
    assert trained["real"] == 2
    monkeypatch.setattr(experts, "REVISION", experts.REVISION + 1)
    baselines.score_of(arm, 0, recipe, data, streams, engine)
    assert trained["real"] == 3


def test_protocols_that_train_alike_share_a_baseline(trained: Counter[str]) -> None:
    recipe = Recipe.parse(BASE)
    data, streams = load(recipe.dataset, CPU), Streams(0, CPU)
    engine = Engine("cpu", torch.get_num_threads(), 1, 100)
    (arm,) = [arm for arm in recipe_arms(recipe) if arm.role == "real"]
    other = replace(arm, plan=arm.plan.model_copy(update={"protocol": "other"}))
    ours, theirs = (
        baselines.score_of(each, 0, recipe, data, streams, engine) for each in (arm, other)
    )
    assert trained["real"] == 1
    assert (ours.protocol, theirs.protocol) == ("tiny-ranking", "other")
    same([ours], [theirs], "protocol")


def test_an_entry_holds_everything_that_a_record_does(tmp_path: Path) -> None:
    result = made(tmp_path, evaluation=BASE["evaluation"] | {"test_every": 1})
    (arm,) = [arm for arm in recipe_arms(Recipe.parse(BASE)) if arm.role == "random"]
    (record,) = [r for r in of_role(result, "random") if r.network_seed == 1]
    assert record.evaluation_key == arm.key and record.correct is not None
    assert record.accuracy == record.correct.mean() and not math.isnan(record.best_accuracy)
    assert record.per_class.dtype == np.float32 and record.per_class.shape == (10,)
    assert record.protocol == "tiny-ranking" and record.epochs == 3
    assert b"seconds" in entries(tmp_path)[0].read_bytes()


# --- pairing -------------------------------------------------------------------------------------


def test_random_subsets_are_stratified_and_their_own() -> None:
    data = load(Recipe.parse(BASE).dataset, CPU)
    subsets = [
        baselines.random_subset(data, 3, Streams(seed, CPU), member)
        for seed in (0, 1)
        for member in (0, 1)
    ]
    for subset in subsets:
        assert subset.y.tolist() == [label for label in range(10) for _ in range(3)]
        assert len(subset.x.flatten(1).unique(dim=0)) == 30
        rows = (data.x_train[:, None] == subset.x[None]).flatten(2).all(-1)
        assert torch.equal(data.y_train[rows.int().argmax(0)], subset.y) and rows.any(0).all()
    assert not any(torch.equal(a.x, b.x) for i, a in enumerate(subsets) for b in subsets[:i])
    again = baselines.random_subset(data, 3, Streams(1, CPU), 0)
    assert torch.equal(again.x, subsets[2].x)


def test_small_classes_give_all_they_have() -> None:
    data = load(Recipe.parse(BASE).dataset, CPU)
    largest = int(data.class_count.max())
    subset = baselines.random_subset(data, largest, Streams(0, CPU), 0)
    assert torch.equal(torch.bincount(subset.y), data.class_count)


def test_a_baseline_trains_the_networks_of_the_set(tmp_path: Path) -> None:
    """On equal images, role and set give equal bits: initialisation, order, augmentation."""
    recipe = Recipe.parse(BASE)
    data = load(recipe.dataset, CPU)
    streams, engine = Streams(0, CPU), Engine("cpu", torch.get_num_threads(), 1, 100)
    arms = {arm.role: arm for arm in recipe_arms(recipe)}
    baseline = baselines.score_of(arms["random"], 1, recipe, data, streams, engine)
    from ddbench.evaluation import Target, score

    subset = baselines.random_subset(data, recipe.ipc, streams, 1)
    (own,) = score(subset, arms["set"], data, Target(data.x_test, data.y_test), [1], streams,
                   engine, iteration=0)  # fmt: skip
    assert own.correct is not None and baseline.correct is not None
    assert np.array_equal(own.correct, baseline.correct)


# --- interruptions -------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1, 5])  # in the set's arm, in a baseline's
def test_a_stopped_evaluation_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    from ddbench import evaluation, scoring

    whole = made(tmp_path / "whole")
    for path in entries(tmp_path):
        path.unlink()
    monkeypatch.setenv("DDBENCH_CHECKPOINT_SECONDS", "0")
    count = [0]

    def stopping(*args: Any, **named: Any) -> Iterator[EvaluationRecord]:
        for record in evaluation.score(*args, **named):
            count[0] += 1
            if count[0] == after:
                os.kill(os.getpid(), signal.SIGTERM)
            yield record

    monkeypatch.setattr(baselines, "score", stopping)
    monkeypatch.setattr(scoring, "score", stopping)
    with pytest.raises(CutOff):
        made(tmp_path / "cut")
    resumed = made(tmp_path / "cut")
    assert count[0] in (10, 11)  # a stack of the set is trained again for its missing member
    same(list(whole.evaluations), list(resumed.evaluations), "seconds")
    assert resumed.attrs["status"] == "done"


# --- toys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ddranking-hard", "ddranking-soft-sre2l", "ddranking-ars"])
def test_a_toy_trains_no_role_for_long(name: str, tmp_path: Path) -> None:
    teacher = {"networks": ["ResNet18BN"], "epochs": 200, "lr": 0.1, "warmup": 9}
    own = {} if name == "ddranking-hard" else {"teacher": teacher}
    recipe = Recipe.parse(BASE | {"evaluation": {"protocol": name, **own}})
    plans = toy.shrink(recipe, tmp_path).every_plan()
    assert [plan.epochs for plan in plans] == [3] * len(recipe.evaluation.roles)
    teachers = [spec for plan in plans for spec in plan.networks_needed()]
    assert bool(teachers) == bool(own)
    assert {(spec.network.label, spec.epochs, spec.warmup) for spec in teachers} <= {
        ("ConvNetD2-W8", 3, 2)
    }


def test_a_toy_of_soft_labels_has_them(tmp_path: Path) -> None:
    archive = tmp_path / "soft.npz"
    images = np.random.default_rng(0).random((10, 1, 8, 8), dtype=np.float32)
    np.savez(archive, images=images, labels=8 * np.eye(10, dtype=np.float32))
    method = {"name": "external", "set": str(archive), "space": "unit", "labels_kind": "logit"}
    evaluation = {"protocol": "ddranking-soft-datm", "lr": "learned", "lr_grid": [0.01]}
    recipe = Recipe.parse(
        BASE | {"method": method | {"lr": "0.1"}, "evaluation": evaluation, "network": "ConvNetD2"}
    )
    small = toy.shrink(recipe, tmp_path)
    result = store.read(run(small, 0, tmp_path / "r", device="cpu").path)
    rows = Counter(record.role for record in result.evaluations)
    assert rows == {"set": 2, "set_hard": 2, "random": 2, "real": 1}
    assert {record.epochs for record in result.evaluations} == {3}
    assert {record.lr for record in of_role(result, "set")} == {0.01}


def test_a_run_with_roles_is_verified(tmp_path: Path) -> None:
    made(tmp_path)
    assert verify(Recipe.parse(BASE), 0, tmp_path, device="cpu") == []
