"""What is left of a run, networks known to be cached, a job's name, the code's digest: no torch."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ddbench
from ddbench import content, experts, provenance, scheduled, store
from ddbench.arms import recipe_arms
from ddbench.cli import main
from ddbench.errors import BadInput
from ddbench.protocols import TrainedOn
from ddbench.recipe import Recipe
from ddbench.runner import run
from ddbench.standing import Shard, is_done, missing_rows, result_file, stages_left

NETWORKS = [{"name": "ConvNetD1", "width": width} for width in (2, 3, 4, 5)]
BASE: dict[str, Any] = {
    "name": "standing",
    "dataset": "digits",
    "network": {"name": "ConvNetD1", "width": 4},
    "ipc": 1,
    "method": "random",
    "evaluation": {"epochs": 1, "repeats": 2, "networks": NETWORKS},
}
WITH_F = {"features": {"item": "full", "init": {"epochs": 0}}}
TEACHER = {"networks": NETWORKS[:1], "epochs": 1, "lr": 0.1}
TAUGHT = {"evaluation": BASE["evaluation"] | {"loss": "kl", "teacher": TEACHER}}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "cache"))


def test_planning_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, ddbench.standing, ddbench.experts, ddbench.store.lock, ddbench.provenance\n"
        "from pathlib import Path\n"
        "from ddbench import content, recipe_files\n"
        "recipe = recipe_files.read('digits_dc_f_ipc1')\n"
        "left = ddbench.standing.stages_left(recipe, 0, Path('nowhere'))\n"
        "assert left == ('experts', 'distill', 'evaluate'), left\n"
        "recipe.input_paths, content.code_digest(), ddbench.provenance.code_version()\n"
        "print({'torch', 'numpy', 'h5py', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- shards --------------------------------------------------------------------------------------


@given(count=st.integers(1, 9), roles=st.booleans())
def test_shards_part_the_arms(count: int, roles: bool) -> None:
    evaluation = {"protocol": "ddranking-hard"} if roles else {}
    recipe = Recipe.parse(BASE | {"evaluation": {**evaluation, "networks": NETWORKS}})
    arms = recipe_arms(recipe)
    parts = [Shard(index, count).arms(recipe) for index in range(1, count + 1)]
    assert sorted(arm.key for part in parts for arm in part) == sorted(arm.key for arm in arms)
    for part in parts:
        assert part == [arm for arm in arms if arm in part]  # their order stays
    owners = [{arm.network.label for arm in part} for part in parts]
    assert sum(map(len, owners)) == len(set().union(*owners)) == len(recipe.evaluated_networks)


@given(st.integers(1, 99), st.integers(1, 99))
def test_a_shard_is_read_as_it_is_written(index: int, count: int) -> None:
    if index <= count:
        shard = Shard(index, count)
        assert Shard.parse(str(shard)) == shard and shard.whole == (count == 1)
    else:
        with pytest.raises(BadInput, match=f"{index}/{count}"):
            Shard.parse(f"{index}/{count}")


@pytest.mark.parametrize(
    "text", ["", "1", "/", "1/", "1/2/3", "-1/2", "1/2 ", "a/b", "1/0", "\u0967/\u0968"]
)
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(BadInput, match="K/N"):
        Shard.parse(text)


# --- what is left --------------------------------------------------------------------------------


def test_stages_are_left_until_they_are_done(tmp_path: Path) -> None:
    recipe = Recipe.parse(BASE)
    assert stages_left(recipe, 0, tmp_path) == ("distill", "evaluate")
    run(recipe, 0, tmp_path, device="cpu", stages=("distill",))
    assert stages_left(recipe, 0, tmp_path) == ("evaluate",)
    run(recipe, 0, tmp_path, device="cpu", stages=("evaluate",), shard=Shard(1, 2))
    assert stages_left(recipe, 0, tmp_path) == ("evaluate",)
    records = store.read_header(result_file(recipe, 0, tmp_path)).evaluations
    assert missing_rows(recipe, records, Shard(1, 2)) == []
    missing = missing_rows(recipe, records)
    assert [arm.network.label for arm, _ in missing] == [
        recipe.evaluated_networks[place].label for place in (1, 3)
    ]
    run(recipe, 0, tmp_path, device="cpu")
    assert stages_left(recipe, 0, tmp_path) == ()
    assert stages_left(recipe, 1, tmp_path) == ("distill", "evaluate")
    more = Recipe.parse(BASE | {"evaluation": BASE["evaluation"] | {"repeats": 3}})
    assert stages_left(more, 0, tmp_path) == ("evaluate",)


def test_a_file_with_all_scores_that_is_not_finished(tmp_path: Path) -> None:
    recipe = Recipe.parse(BASE)
    path = run(recipe, 0, tmp_path, device="cpu").path
    result = store.read(path)
    store.write(path, replace(result, attrs=result.attrs | {"status": "distilled"}))
    assert stages_left(recipe, 0, tmp_path) == ("evaluate",)
    assert is_done(recipe, 0, tmp_path, Shard(1, 4)) and not is_done(recipe, 0, tmp_path)
    run(recipe, 0, tmp_path, device="cpu")
    assert stages_left(recipe, 0, tmp_path) == ()


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    recipe = Recipe.parse(BASE)
    path = result_file(recipe, 0, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text("no result")
    with pytest.raises(BadInput, match="remove the file to make it again"):
        stages_left(recipe, 0, tmp_path)


# --- networks trained beforehand -----------------------------------------------------------------


def test_networks_are_known_when_they_are_cached(tmp_path: Path) -> None:
    recipe = Recipe.parse(BASE | WITH_F)
    (spec,) = recipe.networks_needed()
    key = experts.expert_key(recipe.dataset, spec, 0)
    assert stages_left(recipe, 0, tmp_path) == ("experts", "distill", "evaluate")
    run(recipe, 0, tmp_path, device="cpu", stages=("experts",))
    assert experts.known(key)
    assert stages_left(recipe, 0, tmp_path) == ("distill", "evaluate")
    assert stages_left(recipe, 1, tmp_path) == ("experts", "distill", "evaluate")
    (network,) = experts.networks_folder().glob("*.safetensors")
    entry = experts.networks_folder() / "index" / f"{key}.json"
    told = json.loads(entry.read_text())
    assert told["file"] == network.name and told["device"] == "cpu" and len(told["data"]) == 64
    before = entry.stat().st_mtime_ns
    run(recipe, 0, tmp_path, device="cpu")
    assert entry.stat().st_mtime_ns == before, "what is right is not written again"
    network.unlink()
    assert not experts.known(key)
    assert stages_left(recipe, 0, tmp_path) == ()  # the set is made, its scores need no network


def test_networks_that_a_run_trains_by_the_way_are_known(tmp_path: Path) -> None:
    recipe = Recipe.parse(BASE | TAUGHT)
    (spec,) = recipe.networks_needed()
    run(recipe, 0, tmp_path, device="cpu", stages=("distill",))
    assert stages_left(recipe, 0, tmp_path) == ("experts", "evaluate")
    run(recipe, 0, tmp_path, device="cpu", stages=("evaluate",), shard=Shard(1, 4))
    assert stages_left(recipe, 0, tmp_path) == ("evaluate",)
    assert experts.known(experts.expert_key(recipe.dataset, spec, 5))  # teachers of all seeds


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"file": null}', '{"file": "gone.x"}'])
def test_an_entry_that_cannot_be_used_is_none(text: str) -> None:
    entry = experts.networks_folder() / "index" / "key.json"
    assert not experts.known("key")
    entry.parent.mkdir(parents=True)
    entry.write_text(text)
    assert not experts.known("key")


def test_keys_of_networks_are_shared_between_recipes(tmp_path: Path) -> None:
    def keys(seed: int = 0, **fields: Any) -> set[str]:
        recipe = Recipe.parse(BASE | WITH_F | fields)
        specs = recipe.networks_needed()
        return {experts.expert_key(recipe.dataset, spec, seed) for spec in specs}

    plain = keys()
    assert keys(ipc=2, method="herding", name="other") > plain  # and a network that embeds
    assert not keys(seed=1) & plain
    assert not keys(dataset={"name": "digits", "validation": 0.2}) & plain
    assert not keys(features={"item": "full", "init": {"epochs": 2}}) & plain
    paths = [tmp_path / name for name in ("a.npz", "b.npz", "c.npz")]
    for path, value in zip(paths, (1, 1, 2), strict=True):
        x, y = np.full((4, 8, 8, 1), value, np.uint8), np.arange(4) % 2
        np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    first, copy, other = (keys(dataset={"name": "npz", "path": str(path)}) for path in paths)
    assert first == copy != other


def test_two_processes_that_note_a_network(tmp_path: Path) -> None:
    file = experts.networks_folder() / "x.safetensors"
    file.parent.mkdir(parents=True)
    file.touch()
    code = (
        "from pathlib import Path; from ddbench import experts\n"
        f"for turn in range(200): experts.note('k', Path({str(file)!r}), device=str(turn), data='')"
    )
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    while not (file.parent / "index" / "k.json").exists() and None in [p.poll() for p in both]:
        time.sleep(0.01)
    while None in [process.poll() for process in both]:
        assert experts.known("k"), "an entry is whole at any moment"
    assert [process.returncode for process in both] == [0, 0] and experts.known("k")


# --- files that a recipe names -------------------------------------------------------------------


def test_input_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    x, y = np.zeros((4, 8, 8, 1), np.uint8), np.arange(4) % 2
    for folder in (data, elsewhere):
        folder.mkdir()
        np.savez(folder / "d.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    monkeypatch.setenv("DDBENCH_DATA", str(data))
    assert Recipe.parse(BASE).input_paths == []
    for path, found in (("d.npz", []), (elsewhere / "d.npz", [elsewhere / "d.npz"])):
        recipe = Recipe.parse(BASE | {"dataset": {"name": "npz", "path": str(path)}})
        assert recipe.input_paths == found
    for name in ("images_best.pt", "labels_best.pt", "classes.txt", "of_others.pt"):
        (elsewhere / name).touch()
    method = {
        "name": "external", "set": str(elsewhere / "images_best.pt"), "space": "unit",
        "class_order": str(elsewhere / "classes.txt"), "lr": 0.1,
    }  # fmt: skip
    recipe = Recipe.parse(BASE | {"method": method})
    names = ["images_best.pt", "labels_best.pt", "classes.txt"]
    assert recipe.input_paths == [elsewhere / name for name in names]
    folder = Recipe.parse(BASE | {"method": method | {"set": str(elsewhere)}})
    assert folder.input_paths == [elsewhere, elsewhere / "classes.txt"]
    (data / "link").symlink_to(elsewhere)
    linked = Recipe.parse(BASE | {"method": {"name": "external", "set": "link"}})
    assert linked.input_paths == [elsewhere]  # where a link below the data root leads


# --- a scheduler's job ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "name", "text"),
    [
        ({"DDBENCH_JOB": "12_3"}, "12_3", "12_3"),
        ({"DDBENCH_JOB": "12", "DDBENCH_RESTARTS": "2"}, "12", "12+2"),
        ({"DDBENCH_JOB": "12", "SLURM_CLUSTER_NAME": "a"}, "a:12", "12"),
        ({"DDBENCH_JOB": "12", "SLURM_CLUSTER_NAME": "", "SLURM_JOB_ID": "9"}, "12", "12"),
        ({"SLURM_JOB_ID": "15", "SLURM_RESTART_COUNT": "1"}, "15", "15+1"),
        (
            {"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "0"},
            "12_0", "12_0",
        ),
        ({"DDBENCH_JOB": "12", "DDBENCH_RESTARTS": "no number"}, "12", "12"),
    ],
)  # fmt: skip
def test_the_job_of_a_process(environment: dict[str, str], name: str, text: str) -> None:
    job = scheduled.current(environment)
    assert job is not None and (job.name, str(job)) == (name, text)


def test_a_process_of_no_job() -> None:
    assert scheduled.current({}) is None
    assert scheduled.current({"DDBENCH_JOB": "", "SLURM_JOB_ID": ""}) is None


@pytest.mark.parametrize(
    ("known", "more", "both", "restarts"),
    [
        ("", "", "", 0),
        ("", "12_0", "12_0", 0),
        ("12_0", "", "12_0", 0),
        ("12_0+2", "13_0", "12_0+2 13_0", 2),
        ("12_0+2 13_0", "12_0+3", "12_0+3 13_0", 3),
        ("12_0+2 13_0", "12_0", "12_0+2 13_0", 2),
        ("12+1 13", "13+2 14+1", "12+1 13+2 14+1", 4),
    ],
)
def test_lists_of_jobs(known: str, more: str, both: str, restarts: int) -> None:
    assert scheduled.joined(known, more) == both
    assert scheduled.joined(both, more) == both
    assert scheduled.restarts_of(both) == restarts


@pytest.mark.parametrize(
    ("environment", "image"),
    [
        ({}, ""),
        ({"APPTAINER_CONTAINER": "/a.sif"}, "/a.sif"),
        ({"SINGULARITY_CONTAINER": "/s.sif"}, "/s.sif"),
        ({"DDBENCH_IMAGE": "a.sif sha256:1", "APPTAINER_CONTAINER": "/a.sif"}, "a.sif sha256:1"),
    ],
)
def test_the_image_of_a_process(
    environment: dict[str, str], image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DDBENCH_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert provenance.image() == image
    assert provenance.images("", image) == image
    assert provenance.images("first.sif", image) == "; ".join(filter(None, ["first.sif", image]))
    assert provenance.images(f"{image}; x.sif" if image else "x.sif", image).count("x.sif") == 1


# --- the code ------------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[tuple[Path, Any]]:
    """A copy of this package elsewhere, and a module loader for it."""
    package = Path(ddbench.__file__).parent
    copy = tmp_path / "code" / "ddbench"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))

    def load(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(name, copy / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield copy, load


def test_a_copy_has_the_same_digest(copied: tuple[Path, Any]) -> None:
    copy, load = copied
    digest = content.code_digest()
    (copy / content.COMMIT_FILE).write_text("abc\n")
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "x.py").touch()
    assert load("content").code_digest() == digest and len(digest) == 64
    for change in (copy / "arms.py", next((copy / "datasets" / "facts").glob("*.yaml"))):
        before = change.read_bytes()
        change.write_bytes(before + b" ")
        assert load("content").code_digest() != digest
        change.write_bytes(before)
    (copy / "arms.py").rename(copy / "legs.py")
    assert load("content").code_digest() != digest


def test_a_copy_tells_its_commit(copied: tuple[Path, Any]) -> None:
    copy, load = copied
    assert load("provenance").code_version() == ""
    (copy / content.COMMIT_FILE).write_text("0123abc+\n")
    assert load("provenance").code_version() == "0123abc+"


def test_other_code_than_was_submitted_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DDBENCH_CODE", "f" * 64)
    assert main(["run", "no_such_recipe", "--results", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err
    assert "submitted was ffffffffffff" in said and content.code_digest()[:12] in said
    assert "rebuild the image" in said and len(said.splitlines()) == 1
    monkeypatch.setenv("DDBENCH_CODE", content.code_digest())
    assert main(["run", "no_such_recipe"]) == 2
    assert "unknown recipe" in capsys.readouterr().err


def test_keys_of_networks_are_of_the_recipe_alone() -> None:
    recipe = Recipe.parse(BASE | WITH_F)
    (spec,) = recipe.networks_needed()
    own = TrainedOn(**{**spec.model_dump(), "network": spec.network, "seed": 3})
    assert experts.expert_key(recipe.dataset, own, 0) == experts.expert_key(recipe.dataset, own, 1)
    assert experts.expert_key(recipe.dataset, own, 0) == experts.expert_key(recipe.dataset, spec, 3)
