"""Anyone's set, scored: the commands evaluate, import and export, and method external."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import shared_folder, skip

from ddbench import api, recipe_files, runner, store
from ddbench import data as real_data
from ddbench.cli import main
from ddbench.datasets import DatasetSpec
from ddbench.errors import BadInput
from ddbench.recipe import Recipe

QUICK = ("--protocol", "dc", "--repeats", "2", "--set", "evaluation.epochs=2")
SMALL = ("--set", "evaluation.networks=[{name: ConvNetD1, width: 4}]")


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Two real digits per class as pixels in [0, 1], class by class."""
    data = real_data.load(DatasetSpec(name="digits"), "cpu")
    rows = data.class_index[:, :2].flatten()
    return real_data.unnormalise(data.x_train[rows], data.space), data.y_train[rows]


@pytest.fixture
def npz(tmp_path: Path, digits: tuple[torch.Tensor, torch.Tensor]) -> Path:
    path = tmp_path / "theirs.npz"
    np.savez(path, images=digits[0].numpy(), labels=digits[1].numpy())
    return path


@pytest.fixture
def res(tmp_path: Path, digits: tuple[torch.Tensor, torch.Tensor]) -> Path:
    """Three sets in one file, as DC writes them: normalised, with numpy scalars beside them."""
    x, y = digits
    sets = [[(x - 0.3) / 0.4 + 0.01 * index, y] for index in range(3)]
    path = tmp_path / "res_DC_digits_ConvNet_2ipc.pt"
    torch.save({"data": sets, "accs_all_exps": {"ConvNet": [np.float64(0.5)] * 3}}, path)
    return path


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    told = capsys.readouterr()
    return code, told.out, told.err


def evaluate(
    capsys: pytest.CaptureFixture[str], path: Path, results: Path, *more: object
) -> tuple[int, str, str]:
    return call(capsys, "evaluate", path, "--results", results, *QUICK, "--device", "cpu", *more)


def files(results: Path) -> list[Path]:
    return sorted(results.rglob("*.h5"))


# --- foreign sets -------------------------------------------------------------------------------


def test_a_foreign_set_is_scored_across_networks_and_found_again(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    words = (npz, results, "--dataset", "digits", "--space", "unit", "--networks", "MLP,ConvNetD1")
    code, out, err = evaluate(capsys, *words)
    assert code == 0, err
    assert "External theirs" in out and "MLP" in out and "ConvNetD1" in out
    (path,) = files(results)
    assert path.parent.name == "digits_external_theirs"
    before = path.read_bytes()
    code, again, err = evaluate(capsys, *words)
    assert code == 0, err
    assert path.read_bytes() == before and again == out


def test_scored_twice_gives_the_same_bits(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for name in ("a", "b"):
        code, _, err = evaluate(
            capsys, npz, tmp_path / name, "--dataset", "digits", "--space", "unit", *SMALL
        )
        assert code == 0, err
        (path,) = files(tmp_path / name)
        rows.append([(r.accuracy, r.correct.tobytes()) for r in store.read(path).evaluations])
    assert rows[0] == rows[1]


def test_every_replicate_becomes_a_result(
    res: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    space = ("--dataset", "digits", "--space", "meanstd", "--constants", "dc", *SMALL)
    code, out, err = evaluate(capsys, res, results, *space, "--json")
    assert code == 0, err
    assert [entry["seed"] for entry in json.loads(out)] == [0, 1, 2]
    found = [store.read(path) for path in files(results)]
    assert [int(result.attrs["seed"]) for result in found] == [0, 1, 2]
    sets = [result.synthetic.x for result in found if result.synthetic is not None]
    assert not torch.equal(sets[0], sets[1])
    code, out, err = evaluate(capsys, res, tmp_path / "one", *space, "--replicate", 1)
    assert code == 0, err
    (path,) = files(tmp_path / "one")
    alone = store.read(path)
    assert int(alone.attrs["seed"]) == 1
    assert alone.synthetic is not None and torch.equal(alone.synthetic.x, sets[1])


def test_a_result_names_its_source_and_no_path(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = evaluate(
        capsys, npz, tmp_path / "r", "--dataset", "digits", "--space", "unit", *SMALL
    )
    assert code == 0, err
    (path,) = files(tmp_path / "r")
    attrs = store.read_header(path).attrs
    source = json.loads(str(attrs["source"]))
    assert source["format"] == "npz" and list(source["files"]) == ["theirs.npz"]
    assert len(source["files"]["theirs.npz"]) == 64
    assert str(tmp_path) not in str(attrs["recipe"])
    npz.unlink()  # the stored recipe needs no file any more
    assert recipe_files.from_yaml(str(attrs["recipe"])).key == attrs["key"]


def test_the_key_is_of_the_content_and_not_of_the_path(npz: Path, tmp_path: Path) -> None:
    def recipe(path: Path) -> Recipe:
        method = {"name": "external", "set": str(path), "space": "unit"}
        return Recipe.parse({"name": "r", "dataset": "digits", "ipc": 2, "method": method})

    elsewhere = tmp_path / "elsewhere.npz"
    shutil.copy(npz, elsewhere)
    assert recipe(npz).key == recipe(elsewhere).key
    with np.load(npz) as arrays:
        np.savez(elsewhere, images=arrays["images"] * 0.5, labels=arrays["labels"])
    assert recipe(npz).key != recipe(elsewhere).key


def test_a_recipe_says_the_same_as_the_command(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = evaluate(
        capsys, npz, tmp_path / "a", "--dataset", "digits", "--space", "unit", *SMALL, "--json"
    )
    assert code == 0, err
    recipe = Recipe.parse(
        {
            "name": "mine", "dataset": "digits", "ipc": 2,
            "method": {"name": "external", "set": str(npz), "space": "unit"},
            "evaluation": {
                "protocol": "dc", "epochs": 2, "repeats": 2,
                "networks": [{"name": "ConvNetD1", "width": 4}],
            },
        }
    )  # fmt: skip
    path = runner.run(recipe, 0, tmp_path / "b", device="cpu").path
    (theirs,) = files(tmp_path / "a")
    ours, other = store.read(path), store.read(theirs)
    assert [r.accuracy for r in ours.evaluations] == [r.accuracy for r in other.evaluations]


def test_a_changed_file_is_not_taken_for_the_recorded_one(npz: Path, tmp_path: Path) -> None:
    method = {"name": "external", "set": str(npz), "space": "unit", "sha256": "0" * 64}
    recipe = Recipe.parse({"name": "r", "dataset": "digits", "ipc": 2, "method": method})
    with pytest.raises(BadInput, match="other bytes"):
        runner.run(recipe, 0, tmp_path / "r", device="cpu")
    assert not files(tmp_path / "r")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ((), "--dataset"),
        (("--dataset", "digits"), "--space"),
        (("--dataset", "mnist", "--space", "unit"), "mnist"),
        (("--dataset", "digits", "--space", "unit", "--protocol", "mtt"), "--lr"),
        (("--dataset", "digits", "--space", "unit", "--protocol", "mt"), "'mtt'"),
        (("--dataset", "digits", "--space", "unit", "--networks", "ConvNetD"), "ConvNetD"),
        (("--dataset", "digits", "--space", "unit", "--format", "np"), "'npz'"),
        (("--dataset", "digits", "--space", "unit", "--replicate", "3"), "replicate"),
        (("--dataset", "digits", "--space", "unit", "--set", "epochs=1"), "epochs"),
    ],
)
def test_open_questions_are_refused_by_name(
    npz: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    names: str,
) -> None:
    code, out, err = evaluate(capsys, npz, tmp_path / "r", *words)
    assert code == 2 and not out
    assert len(err.strip().splitlines()) <= 2 and names in err, err
    assert not files(tmp_path / "r")


def test_a_protocol_is_asked_for(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "evaluate", npz, "--dataset", "digits", "--results", tmp_path)
    assert code == 2 and "--protocol" in err and "fair-v1" in err


def test_features_of_a_file_need_their_weight(
    tmp_path: Path,
    digits: tuple[torch.Tensor, torch.Tensor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    x, y = digits
    F = torch.rand(1, len(x), 4, 4, 4)  # feature sets first, as DRUPI writes them
    path = tmp_path / "model_dc.pt"
    torch.save({"data": [[x, y, F]], "accs_all_exps": {}}, path)
    words: tuple[Any, ...] = ("--dataset", "digits", "--space", "unit")
    code, _, err = evaluate(capsys, path, tmp_path / "r", *words)
    assert code == 2 and "features.lambda_reg" in err
    network = ("--set", "network.name=ConvNetD1", "--set", "network.width=4")
    more = ("--set", "features.lambda_reg=0.5", *network)
    code, _, err = evaluate(capsys, path, tmp_path / "r", *words, *more)
    assert code == 0, err
    (found,) = files(tmp_path / "r")
    data_set = store.read_set(found)
    assert data_set.F is not None and torch.equal(data_set.F, F.transpose(0, 1))
    assert {r.used_features for r in store.read(found).evaluations} == {True, False}


def test_packed_images_are_counted_as_stored_and_decoded_by_the_key(
    tmp_path: Path,
    digits: tuple[torch.Tensor, torch.Tensor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """IDC: the folder's name says how often a stored image is cut, so it belongs to the key."""
    keys = {}
    for factor, images in ((1, 20), (2, 80)):
        folder = tmp_path / f"run_factor{factor}_lr0.005"
        folder.mkdir()
        torch.save([digits[0], digits[1]], folder / "data.pt")
        results = tmp_path / f"r{factor}"
        code, _, err = evaluate(capsys, folder, results, "--dataset", "digits", *SMALL)
        assert code == 0, err
        (path,) = files(results)
        header = store.read_header(path)
        recipe = recipe_files.from_yaml(str(header.attrs["recipe"]))
        assert (recipe.ipc, len(store.read_set(path).x)) == (2, images)
        assert recipe.key == header.attrs["key"]
        stored = json.loads(str(header.attrs["set_bytes"]))
        assert stored["images"] == 20 * 64 * 4 and stored["labels"] == 20 * 4 / 8
        keys[factor] = recipe.key
    assert keys[1] != keys[2]


def test_toy_runs_an_external_recipe(npz: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"name: mine\ndataset: digits\nipc: 2\n"
        f"method: {{name: external, set: {npz}, space: unit}}\n"
        "evaluation: {epochs: 2, repeats: 2}\n"
    )
    assert main(["run", str(path), "--toy", "--results", str(tmp_path / "r")]) == 0


def test_the_api_does_the_same(npz: Path, tmp_path: Path) -> None:
    paths = api.evaluate_foreign(
        npz, dataset="digits", protocol="dc", networks=["ConvNetD1"], repeats=1, space="unit",
        overrides=["evaluation.epochs=2"], results=tmp_path, device="cpu",
    )  # fmt: skip
    assert [record.network for record in store.read(paths[0]).evaluations] == ["ConvNetD1"]


# --- results of ours ----------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Path:
    recipe = Recipe.parse(
        {
            "name": "own", "dataset": "digits", "ipc": 1, "method": "random",
            "network": {"name": "ConvNetD1", "width": 4},
            "evaluation": {"epochs": 2, "repeats": 2},
        }
    )  # fmt: skip
    return runner.run(recipe, 0, tmp_path / "own", device="cpu").path


def test_a_result_of_ours_gets_more_scores(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = store.read(own)
    code, out, err = evaluate(capsys, own, tmp_path / "own", "--networks", "MLP")
    assert code == 0, err
    after = store.read(own)
    assert len(after.evaluations) == len(before.evaluations) + 2
    assert "MLP" in out and "ConvNetD1" not in out


def test_a_result_from_elsewhere_joins_the_results(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "downloaded.h5"
    shutil.copy(own, elsewhere)
    before = elsewhere.read_bytes()
    code, _, err = evaluate(capsys, elsewhere, tmp_path / "new", "--networks", "MLP")
    assert code == 0, err
    (joined,) = files(tmp_path / "new")
    assert joined.relative_to(tmp_path / "new") == own.relative_to(tmp_path / "own")
    assert {r.network for r in store.read(joined).evaluations} >= {"MLP"}
    assert elsewhere.read_bytes() == before


def test_another_set_under_the_same_key_is_refused(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = store.read(own)
    assert whole.synthetic is not None
    changed = replace(whole.synthetic, x=whole.synthetic.x + 1)
    other = tmp_path / "other.h5"
    store.write(other, replace(whole, synthetic=changed, attrs=_own_attributes(whole)))
    code, _, err = evaluate(capsys, other, tmp_path / "own", *SMALL)
    assert code == 2 and "another content" in err and "--results" in err
    assert len(store.read(own).evaluations) == len(whole.evaluations)


def _own_attributes(whole: store.Result) -> dict[str, Any]:
    return {name: value for name, value in whole.attrs.items() if name != "checksums"}


def test_a_refused_request_copies_nothing(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, _ = evaluate(capsys, own, tmp_path / "new", "--networks", "Nope")
    assert code == 2 and not (tmp_path / "new").exists()


def test_the_ensemble_is_no_network_of_the_mean(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--dataset", "digits", "--space", "unit", *SMALL, "--json")
    code, out, err = evaluate(
        capsys, npz, tmp_path / "r", *words, "--set", "evaluation.ensemble=true"
    )
    assert code == 0, err
    counts = {row["ensemble"]: row["networks"] for row in json.loads(out)[0]["scores"]}
    assert counts == {False: 2, True: 1}


def test_labels_that_were_changed_are_another_set(
    npz: Path, tmp_path: Path, digits: tuple[torch.Tensor, torch.Tensor]
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(str(int(y)) for y in digits[1]))
    method = {"name": "external", "set": str(npz), "space": "unit", "labels": str(labels)}
    recipe = Recipe.parse({"name": "r", "dataset": "digits", "ipc": 2, "method": method})
    labels.write_text("\n".join(str(9 - int(y)) for y in digits[1]))
    with pytest.raises(BadInput, match="other bytes") as error:
        runner.run(recipe, 0, tmp_path / "r", device="cpu")
    assert error.value.field == "method.files.labels"


def test_foreign_options_do_not_belong_to_a_result(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = evaluate(capsys, own, tmp_path / "own", "--space", "unit")
    assert code == 2 and "--space" in err
    code, _, err = evaluate(capsys, own, tmp_path / "own", "--set", "ipc=2")
    assert code == 2 and "evaluation." in err


# --- import and export --------------------------------------------------------------------------


def test_import_writes_one_file_and_refuses_to_replace_it(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "SET.h5"
    words = ("import", npz, "--dataset", "digits", "--space", "unit", "-o", target)
    code, out, err = call(capsys, *words)
    assert code == 0 and out.strip() == str(target), err
    with np.load(npz) as arrays:
        pixels = real_data.unnormalise(
            store.read_set(target).x, store.read_set(target).space, clamp=False
        )
        assert np.allclose(pixels.numpy(), arrays["images"], atol=1e-6)
    code, _, err = call(capsys, *words)
    assert code == 2 and "exists already" in err
    code, _, err = evaluate(capsys, target, tmp_path / "results", *SMALL)
    assert code == 0, err


def test_import_numbers_the_sets_of_a_file(
    res: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(
        capsys, "import", res, "--dataset", "digits", "--constants", "dc",
        "-o", tmp_path / "SET.h5",
    )  # fmt: skip
    assert code == 0, err
    assert [Path(line).name for line in out.split()] == ["SET-0.h5", "SET-1.h5", "SET-2.h5"]


@pytest.mark.parametrize("name", ["mtt", "dc", "npz", "safetensors", "ddranking", "imagefolder"])
def test_export_and_import_give_the_set_back(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    target = tmp_path / f"set{'.pt' if name == 'dc' else ''}"
    code, _, err = call(capsys, "export", own, "--format", name, "-o", target)
    assert code == 0, err
    space = ("--space", "unit") if name == "imagefolder" else ("--space", "meanstd")
    words = space if space[1] == "unit" else (*space, "--constants", "dc")
    back = tmp_path / "back.h5"
    code, _, err = call(capsys, "import", target, "--dataset", "digits", *words, "-o", back)
    assert code == 0, err
    ours, theirs = store.read_set(own), store.read_set(back)
    assert torch.equal(ours.y, theirs.y)
    assert torch.allclose(ours.x, theirs.x, atol=0.02 if name == "imagefolder" else 1e-6)
    code, _, err = call(capsys, "export", own, "--format", name, "-o", target)
    assert code == 2 and "exists already" in err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


# --- inspection ---------------------------------------------------------------------------------


def test_inspect_tells_what_is_open(npz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "inspect", npz, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["format"].startswith("npz") and found["reasons"]
    assert found["set"]["images"]["space"] == "open"
    assert "unit" in found["set"]["images"]["space_proposal"]


def test_probe_finds_dataset_and_space(npz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "inspect", npz, "--probe", "--json")
    assert code == 0, err
    best, *rest = json.loads(out)["probe"].items()
    assert best[0].startswith("digits") and float(best[1].split(" %")[0]) > 50
    assert rest


# --- the published set --------------------------------------------------------------------------


@pytest.mark.slow
def test_the_published_mnist_set_scores_as_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLP and LeNet over all five sets: within two standard errors and 0.5 points."""
    path = shared_folder() / "data/external/res_DC_MNIST_ConvNet_1ipc.pt"
    if not path.is_file():
        skip("slow", f"{path} is not there")
    monkeypatch.setenv("DDBENCH_DATA", str(shared_folder() / "data"))
    code, out, err = call(
        capsys, "evaluate", path, "--dataset", "mnist", "--networks", "MLP,LeNet",
        "--protocol", "dc", "--repeats", 4, "--results", tmp_path, "--json",
    )  # fmt: skip
    assert code == 0, err
    recorded = {"MLP": (0.7010, 0.0181), "LeNet": (0.8561, 0.0174)}
    for network, (mean, std) in recorded.items():
        accuracies = [
            row["accuracy"]
            for entry in json.loads(out) for row in entry["scores"] if row["network"] == network
        ]  # fmt: skip
        assert abs(np.mean(accuracies) - mean) < 2 * std / 20**0.5 + 0.005, network
