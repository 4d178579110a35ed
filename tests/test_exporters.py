"""Sets in others' formats: what is written is read back the same, within the format's precision."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from ddbench import datasets, exporters, importers, zca
from ddbench.data import normalise
from ddbench.datasets import DatasetFacts
from ddbench.distilled import DistilledSet, Space
from ddbench.errors import BadInput
from ddbench.importers import Found
from ddbench.importers._source import Source
from ddbench.spec import read_yaml

READ_BY = {
    "mtt": "trajectory",
    "dc": "res_dict",
    "imagefolder": "class_folders",
    "npz": "npz",
    "safetensors": "safetensors_file",
    "ddranking": "ddranking",
}
CLASSES = 10
FEATURES = {"layer": "last", "item": "channel", "n_feat": 3, "network": "ConvNetD3"}


def facts(name: str = "cifar100") -> DatasetFacts:
    """CIFAR-100 has two families of constants, CIFAR-10 one; ten classes are enough here."""
    return datasets.facts(name).model_copy(update={"num_classes": CLASSES})


def space(name: str = "meanstd", family: str = "dc", dataset: str = "cifar100") -> Space:
    if name == "meanstd":
        constants = datasets.facts(dataset).constants[family]
        return Space("meanstd", constants.mean, constants.std)
    if name == "unit":
        return Space("unit")
    images = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(9))
    fit = zca.fit if name == "zca" else zca.fit_kip
    return Space(name, whitening=fit(images))  # type: ignore[arg-type]


def make(ipc: int = 2, kind: str = "index", **changes: Any) -> DistilledSet:
    """``ipc`` images of each class, class-major, in DC's space of CIFAR-100."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(CLASSES).repeat_interleave(ipc)
    soft = torch.randn(len(label), CLASSES, generator=generator)
    y = {"index": label, "logit": soft, "probability": soft.softmax(1), "centred": soft}[kind]
    x = 2 * torch.randn(len(label), 3, 8, 8, generator=generator)
    parts = {"x": x, "y": y, "space": space(), "kind": kind, **changes}
    return DistilledSet(**parts)  # type: ignore[arg-type]


def with_features(data_set: DistilledSet, rows: int | None = None, **settings: Any) -> DistilledSet:
    generator = torch.Generator().manual_seed(1)
    F = torch.randn(rows or len(data_set), 3, 16, generator=generator)
    return replace(data_set, F=F, features={**FEATURES, **settings})


def written(
    name: str, data_set: DistilledSet, folder: Path, known: DatasetFacts | None = None
) -> tuple[Path, list[str]]:
    module = exporters.exporter(name)
    path = folder / f"set{module.SUFFIX}"
    return path, module.write(data_set, known or facts(), path)


def read_back(name: str, path: Path) -> Found:
    module = importers.importer(READ_BY[name])
    with Source.open(path) as source:
        assert module.matches(source)
        (found,) = module.read(source)
        return found


def round_trip(
    name: str, data_set: DistilledSet, folder: Path, known: DatasetFacts | None = None
) -> tuple[Found, str]:
    path, notes = written(name, data_set, folder, known)
    assert all(note[0].isupper() and note.endswith(".") for note in notes)
    return read_back(name, path), " ".join(notes)


def same(found: Tensor | None, wanted: Tensor | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return found.dtype == wanted.dtype and torch.equal(found, wanted)


def test_every_format_is_known() -> None:
    assert set(exporters.names()) == set(READ_BY)
    assert all(exporters.exporter(name).SUMMARY for name in READ_BY)


# --- bit for bit ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["index", "logit", "probability"])
@pytest.mark.parametrize("lr", [None, 0.0123456789, (0.01, 0.02, 0.03)])
def test_mtt(kind: str, lr: Any, tmp_path: Path) -> None:
    wanted = with_features(make(kind=kind, space=space(family="mtt"), lr=lr))
    found, notes = round_trip("mtt", wanted, tmp_path)
    assert same(found.x, wanted.x) and same(found.y, wanted.y) and same(found.F, wanted.F)
    assert found.lr == lr and found.constants == "mtt" and not found.selected_on_test
    assert "settings of F" in notes and (kind == "index" or f"'{kind}'" in notes)
    names = {path.name for path in (tmp_path / "set").iterdir()}
    assert all(name.endswith("_last.pt") for name in names) and len(names) == 3 + (lr is not None)


def test_dc(tmp_path: Path) -> None:
    wanted = with_features(make(lr=0.1))
    found, notes = round_trip("dc", wanted, tmp_path)
    assert same(found.x, wanted.x) and same(found.y, wanted.y) and same(found.F, wanted.F)
    assert found.constants == "dc" and "step size is left out" in notes
    content = torch.load(tmp_path / "set.pt", weights_only=True)
    assert set(content) == {"data", "accs_all_exps"} and len(content["data"][0]) == 3
    plain, _ = round_trip("dc", make(), tmp_path)
    assert plain.F is None


@pytest.mark.parametrize("kind", ["index", "logit", "probability", "centred"])
def test_npz(kind: str, tmp_path: Path) -> None:
    wanted = with_features(make(kind=kind, lr=(0.1, 0.2)))
    found, notes = round_trip("npz", wanted, tmp_path)
    assert same(found.x, wanted.x) and same(found.y, wanted.y) and same(found.F, wanted.F)
    assert found.lr == wanted.lr and "--space meanstd --constants dc" in notes


@pytest.mark.parametrize("name", ["meanstd", "unit", "zca", "kip_zca"])
@pytest.mark.parametrize("kind", ["index", "logit", "probability", "centred"])
def test_safetensors_hold_everything(name: str, kind: str, tmp_path: Path) -> None:
    wanted = with_features(make(kind=kind, space=space(name), lr=0.1))
    found, notes = round_trip("safetensors", wanted, tmp_path)
    assert notes == ""
    assert same(found.x, wanted.x) and same(found.y, wanted.y) and same(found.F, wanted.F)
    assert (found.lr, found.space, found.kind) == (wanted.lr, name, kind)
    assert found.constants == ("dc" if name == "meanstd" else None)
    assert found.hints["features"] == wanted.features and found.hints["dataset"] == "cifar100"
    assert found.hints.get("mean", []) == list(wanted.space.mean)
    assert found.class_ids == facts().classes
    whitening = wanted.space.whitening
    if whitening is not None:
        with safe_open(tmp_path / "set.safetensors", framework="pt") as file:
            for part in ("mean", "matrix", "inverse"):
                assert same(file.get_tensor(f"whitening.{part}"), getattr(whitening, part))


def test_safetensors_with_features_per_class(tmp_path: Path) -> None:
    wanted = with_features(make(ipc=3), rows=CLASSES, granularity="per_class")
    found, _ = round_trip("safetensors", wanted, tmp_path)
    assert wanted.F is not None and same(found.F, wanted.F.repeat_interleave(3, 0))
    assert found.hints["features"]["granularity"] == "per_image"
    with safe_open(tmp_path / "set.safetensors", framework="pt") as file:
        assert same(file.get_tensor("F"), wanted.F)


@pytest.mark.parametrize("kind", ["index", "logit"])
def test_ddranking(kind: str, tmp_path: Path) -> None:
    wanted = make(kind=kind, space=space(family="mtt"), lr=0.02)
    if kind == "logit":  # one clear class each, in order
        wanted = replace(wanted, y=torch.eye(CLASSES).repeat_interleave(2, 0) * 5)
    found, notes = round_trip("ddranking", with_features(wanted), tmp_path)
    assert same(found.x, wanted.x) and same(found.y, wanted.y)
    assert found.lr == 0.02 and found.constants == "mtt"
    assert notes == "F is left out: this format has no place for it."
    settings = read_yaml(tmp_path / "set" / "settings.yaml")
    assert (settings["dataset"], settings["ipc"], settings["im_size"]) == ("CIFAR100", 2, [8, 8])
    assert settings["use_zca"] is False and ("soft_label_mode" in settings) == (kind != "index")


@pytest.mark.parametrize("name", sorted(READ_BY))
def test_equal_sets_give_equal_bytes(name: str, tmp_path: Path) -> None:
    digests = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        path, _ = written(name, make(lr=0.5), folder)
        files = sorted(path.rglob("*.*")) if path.is_dir() else [path]
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert digests[0] == digests[1] and digests[0]


def test_only_the_tensors_themselves_are_saved(tmp_path: Path) -> None:
    whole = make(ipc=50)
    part = replace(whole, x=whole.x[:10].requires_grad_(), y=whole.y[:10])
    path, _ = written("dc", part, tmp_path)
    assert path.stat().st_size < 2 * part.x.numel() * 4
    assert not torch.load(path, weights_only=True)["data"][0][0].requires_grad


# --- changed on the way --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "family"), [("mtt", "mtt"), ("dc", "dc"), ("ddranking", "mtt")])
@pytest.mark.parametrize("start", ["unit", "dc", "mtt"])
def test_constants_are_those_of_the_format(
    name: str, family: str, start: str, tmp_path: Path
) -> None:
    pixels = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(3)) * 1.2 - 0.1
    origin = space("unit") if start == "unit" else space(family=start)
    found, notes = round_trip(name, make(x=normalise(pixels, origin), space=origin), tmp_path)
    wanted = normalise(pixels, space(family=family))
    torch.testing.assert_close(found.x, wanted, rtol=0, atol=1e-6)
    assert ("were taken from" in notes) == (start != family)


def test_cifar100_there_and_back_keeps_six_digits(tmp_path: Path) -> None:
    start = make()
    there, _ = round_trip("mtt", start, tmp_path)
    (tmp_path / "dc").mkdir()
    moved = replace(start, x=there.x, space=space(family="mtt"))
    back, _ = round_trip("dc", moved, tmp_path / "dc")
    torch.testing.assert_close(back.x, start.x, rtol=0, atol=1e-6)
    assert not torch.allclose(there.x, start.x, atol=1e-2)


@pytest.mark.parametrize("name", ["mtt", "ddranking", "dc"])
def test_whitened_images_stay_whitened(name: str, tmp_path: Path) -> None:
    wanted = make(space=space("zca"))
    found, notes = round_trip(name, wanted, tmp_path)
    assert same(found.x, wanted.x) and "whitened by ZCA" in notes
    if name == "ddranking":
        assert read_yaml(tmp_path / "set" / "settings.yaml")["use_zca"] is True


def test_a_dataset_without_the_familys_constants_keeps_its_space(tmp_path: Path) -> None:
    own = datasets.facts("cifar10").model_copy(update={"constants": {}, "name": "mine"})
    wanted = make()
    found, notes = round_trip("mtt", wanted, tmp_path, own)
    assert same(found.x, wanted.x) and "'mine' has no constants of the family 'mtt'" in notes
    (tmp_path / "npz").mkdir()
    assert "--constants" not in round_trip("npz", wanted, tmp_path / "npz", own)[1]


@pytest.mark.parametrize("name", ["mtt", "dc", "npz"])
def test_features_per_class_are_repeated(name: str, tmp_path: Path) -> None:
    wanted = with_features(make(), rows=CLASSES, granularity="per_class")
    assert wanted.F is not None
    found, notes = round_trip(name, wanted, tmp_path)
    assert same(found.F, wanted.F.repeat_interleave(2, 0)) and "repeated for every image" in notes


def test_probabilities_become_logits_for_ddranking(tmp_path: Path) -> None:
    p = torch.full((CLASSES, CLASSES), 0.01) + 0.9 * torch.eye(CLASSES)
    p[0] = torch.eye(CLASSES)[0]  # with zeros
    wanted = make(ipc=1, kind="probability", y=p)
    found, notes = round_trip("ddranking", wanted, tmp_path)
    assert found.y is not None and bool(torch.isfinite(found.y).all()) and found.kind == "logit"
    torch.testing.assert_close(found.y.softmax(1), p)
    assert "logarithms" in notes and "no learned step size" in notes


def test_ddranking_gets_its_order(tmp_path: Path) -> None:
    ordered = make(space=space(family="mtt"))
    shuffled = torch.randperm(20, generator=torch.Generator().manual_seed(5))
    wanted = replace(ordered, x=ordered.x[shuffled], y=ordered.y[shuffled])
    found, notes = round_trip("ddranking", wanted, tmp_path)
    assert found.y is not None and found.y.tolist() == ordered.y.tolist()
    assert "sorted by class" in notes
    rows = shuffled[wanted.y.argsort(stable=True)]
    assert torch.equal(found.x, ordered.x[rows])


@pytest.mark.parametrize("name", ["unit", "meanstd", "zca"])
def test_imagefolder_rounds_to_the_nearest_level(name: str, tmp_path: Path) -> None:
    pixels = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(3)) * 1.2 - 0.1
    origin = space(name)
    wanted = with_features(make(x=normalise(pixels, origin), space=origin, lr=0.1))
    found, notes = round_trip("imagefolder", wanted, tmp_path)
    assert same(found.y, wanted.y) and found.space == "unit" and found.hints["family"] == "RDED"
    apart = (found.x.float() / 255 - pixels.clamp(0, 1)).abs().max()
    assert float(apart) <= 0.5 / 255 + 1e-5
    for words in ("rounded to 8 bits", "outside [0, 1]", "F is left out", "step size is left out"):
        assert words in notes


def test_imagefolder_keeps_eight_bit_images_exactly(tmp_path: Path) -> None:
    levels = torch.randint(0, 256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(2))
    y = torch.arange(20) % CLASSES
    soft = torch.nn.functional.one_hot(y, CLASSES).float()
    wanted = make(x=levels / 255, y=soft, kind="logit", space=Space("unit"))
    found, notes = round_trip("imagefolder", wanted, tmp_path)
    order = y.argsort(stable=True)
    assert torch.equal(found.x, levels[order].to(torch.uint8)) and same(found.y, y[order])
    assert "soft labels are left out" in notes and "come back sorted" in notes
    names = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.png"))
    assert str(names[0]) == "set/00000/class00000_id00000.png"
    assert np.asarray(Image.open(tmp_path / names[0])).shape == (8, 8)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("mtt", {"space": space("kip_zca")}, "as KIP does it"),
        ("dc", {"space": space("kip_zca")}, "as KIP does it"),
        ("ddranking", {"space": space("kip_zca")}, "as KIP does it"),
        ("imagefolder", {"space": space("kip_zca")}, "no pixels"),
        ("imagefolder", {"space": Space("zca")}, "no pixels"),
        ("imagefolder", {"x": torch.rand(20, 2, 8, 8), "space": Space("unit")}, "2 channels"),
        ("mtt", {"kind": "centred"}, "centred labels"),
        ("ddranking", {"kind": "centred"}, "centred labels"),
        ("ddranking", {"y": torch.zeros(20, dtype=torch.int64)}, "0 to 20 images per class"),
        ("ddranking", {"lr": (0.1, 0.2)}, "several learned step sizes"),
        ("dc", {"kind": "logit"}, "class indices only"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(
    name: str, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=words):
        written(name, make(**changes), tmp_path)
    assert not list(tmp_path.iterdir())
