"""The picture of a set, and what is said of any file; nothing is unpickled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ddbench import show, store
from ddbench.distilled import DistilledSet, Space, Whitening
from ddbench.errors import BadInput
from ddbench.inspection import as_text, describe
from ddbench.recipe import Recipe
from ddbench.store import EvaluationRecord, Result


def write(path: Path, data_set: DistilledSet | None, **result: Any) -> Path:
    recipe = Recipe.parse(
        {"name": "digits_dc", "dataset": "digits", "method": "dc" if data_set else "full", "ipc": 2}
    )
    attrs = {"recipe": recipe.to_yaml(), "key": recipe.key, "seed": 1, "status": "done",
             "device": "cpu"}  # fmt: skip
    store.write(path, Result(attrs, data_set, **result))
    return path


def small_set(item: tuple[int, int, int] | None = None, *, per_class: bool = False) -> DistilledSet:
    """Two images of each of three classes, 1 x 8 x 8; F with M = 2 where an item is given."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(3).repeat_interleave(2)
    F, settings = None, {}
    if item is not None:
        F = torch.rand((3 if per_class else 6, 2, *item), generator=generator)
        settings = {"granularity": "per_class" if per_class else "per_image", "dtype": "float32"}
    x = torch.randn((6, 1, 8, 8), generator=generator)
    return DistilledSet(x, y, Space("meanstd", (0.3,), (0.4,)), F=F, features=settings)


def size_of(rows: int, columns: int, side: int = 32) -> tuple[int, int]:
    return tuple(show.GAP + count * (side + show.GAP) for count in (columns, rows))  # type: ignore[return-value]


# --- show --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item, per_class, columns",
    [((5, 1, 1), False, 6), ((5, 4, 4), False, 6), ((1, 4, 4), False, 6), ((5, 1, 1), True, 4)],
)
def test_show_features(
    tmp_path: Path, item: tuple[int, int, int], per_class: bool, columns: int
) -> None:
    path = write(tmp_path / "set.h5", small_set(item, per_class=per_class))
    show.save(path, tmp_path / "plain.png")
    show.save(path, tmp_path / "deep" / "set.png", features=True)
    with Image.open(tmp_path / "plain.png") as plain:
        assert (plain.format, plain.size) == ("PNG", size_of(3, 2))
    with Image.open(tmp_path / "deep" / "set.png") as picture:
        assert picture.size == size_of(3, columns)


def test_pixels_are_denormalised_and_enlarged() -> None:
    pixels = torch.zeros(1, 3, 16, 16)
    pixels[0, 0, 0, 1] = 1.0
    space = Space("meanstd", (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    x = (pixels - torch.tensor(space.mean).view(1, 3, 1, 1)) / 0.2
    picture = np.asarray(show.image_grid(DistilledSet(x, torch.tensor([7]), space)))
    tile = picture[2:-2, 2:-2]
    assert tile.shape == (32, 32, 3)
    assert (tile[:2, 2:4] == [255, 0, 0]).all()
    assert tile.sum() == 4 * 255


def test_whitened_images_are_shown_as_pixels() -> None:
    whitening = Whitening(torch.full((1, 1024), 0.5), torch.eye(1024) * 2, torch.eye(1024) / 2)
    space = Space("zca", whitening=whitening)
    picture = show.image_grid(DistilledSet(torch.ones(1, 1, 32, 32), torch.tensor([0]), space))
    assert (np.asarray(picture) == 255).all()
    with pytest.raises(BadInput, match="cannot be shown"):
        show.image_grid(DistilledSet(torch.ones(1, 1, 8, 8), torch.tensor([0]), Space("kip_zca")))


def test_show_limits_rows_and_columns() -> None:
    assert show.image_grid(small_set(), columns=1, classes=2).size == size_of(2, 1)


def test_a_channel_item_is_wrapped_without_loss() -> None:
    F = torch.arange(4.0).view(1, 1, 4, 1, 1)
    data_set = DistilledSet(
        torch.zeros(1, 1, 32, 32), torch.tensor([0]), Space("unit"), F=F,
        features={"granularity": "per_image"},
    )  # fmt: skip
    panel = np.asarray(show.image_grid(data_set, features=True))[2:-2, 36:-2]
    corners = panel[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners[0].tolist() == [68, 1, 84] and corners[3].tolist() == [253, 231, 37]
    assert len({tuple(corner) for corner in corners.tolist()}) == 4


def test_what_cannot_be_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "set.h5", small_set())
    with pytest.raises(BadInput, match="no features F"):
        show.save(path, tmp_path / "set.png", features=True)
    with pytest.raises(BadInput, match=r"NAME\.png"):
        show.save(path, tmp_path / "set.jpg")
    with pytest.raises(BadInput, match="no synthetic set"):
        show.save(write(tmp_path / "full.h5", None), tmp_path / "set.png")
    assert not list(tmp_path.glob("*.png"))


# --- inspect -----------------------------------------------------------------------------------


def test_inspect_ours(tmp_path: Path) -> None:
    data_set = small_set((5, 1, 1))
    record = EvaluationRecord(
        "e" * 12, "dc", 1, "ConvNetD2-W32", 0, True, "none", 0.5, 0.5, 1.0,
        np.zeros(10, np.float32), 301, 2.0, "last",
    )  # fmt: skip
    path = write(
        tmp_path / "set.h5", data_set, evaluations=(record,), snapshots={3: small_set()},
        log={"iteration": np.arange(4), "loss": np.zeros(4)},
    )  # fmt: skip
    found = describe(path)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["format"], found["recipe"], found["seed"]) == ("ddbench result", "digits_dc", 1)
    assert found["images"]["shape"] == [6, 1, 8, 8]
    assert found["images"]["max"] == pytest.approx(float(data_set.x.max()))
    assert found["images"]["std"] == pytest.approx(float(data_set.x.std(correction=0)), rel=1e-5)
    assert "states 'meanstd'" in found["images"]["space_reason"]
    assert found["labels"]["images_per_class"] == [2, 2, 2] and found["labels"]["balanced"]
    assert found["features"]["shape"] == [6, 2, 5, 1, 1]
    # digits has 10 classes: 4 bits a label
    parts = {"images": 6 * 64 * 4, "features": 6 * 2 * 5 * 4, "labels": 3.0}
    assert found["bytes"] == {**parts, "total": sum(parts.values())}
    assert found["snapshots"] == [3] and found["logged_iterations"] == 4
    assert found["evaluations"] == {"count": 1, "networks": ["ConvNetD2-W32"]}
    assert found["provenance"]["device"] == "cpu"
    text = as_text(found)
    assert "  shape: 6, 1, 8, 8\n" in text and "learned_lr" not in text


def test_inspect_soft_labels_and_no_set(tmp_path: Path) -> None:
    y = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    data_set = DistilledSet(torch.zeros(3, 1, 8, 8), y, Space("unit"), kind="probability")
    found = describe(write(tmp_path / "soft.h5", data_set))
    assert found["labels"]["images_per_class"] == [1, 2] and not found["labels"]["balanced"]
    assert found["bytes"]["labels"] == 3 * 2 * 4 and found["features"] is None
    assert "none" in describe(write(tmp_path / "full.h5", None))["set"]


def test_inspect_damaged_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "set.h5", small_set())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match="damaged"):
        describe(path)
    with pytest.raises(BadInput, match="cannot be read"):
        describe(tmp_path / "nothing")


class Bomb:
    """Fails the test if anything unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("was unpickled",)


def foreign_file(kind: str, path: Path) -> None:
    if kind == "hdf5":
        with h5py.File(path, "w") as file:
            file["images"] = np.zeros(3)
    elif kind == "torch":
        torch.save({"data": Bomb()}, path)
    elif kind == "torch legacy":
        torch.save({"data": Bomb()}, path, _use_new_zipfile_serialization=False)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    elif kind == "npy":
        np.save(path.open("wb"), np.zeros((2, 3), np.uint8))
    elif kind == "npz":
        np.savez(path.open("wb"), x=np.zeros((2, 3), np.float32), y=np.array([Bomb()]))
    elif kind == "safetensors":
        save_file({"x": torch.zeros(2, 3)}, path)
    else:
        path.write_bytes({"empty": b"", "random": bytes(range(40, 240))}[kind])


@pytest.mark.parametrize(
    "kind, name",
    [
        ("hdf5", "HDF5 of another program"),
        ("torch", "torch file (zip"),
        ("torch legacy", "torch file (legacy pickle)"),
        ("pickle", "pickle (never opened"),
        ("npy", "npy (one numpy array)"),
        ("npz", "npz (numpy arrays)"),
        ("safetensors", "safetensors"),
        ("empty", "empty file"),
        ("random", "unknown"),
    ],
)
def test_inspect_foreign(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / "file.h5"
    foreign_file(kind, path)
    found = describe(path)
    assert found["format"].startswith(name) and found["note"]
    assert json.loads(json.dumps(found)) == found
    expected = {
        "npy": {"": {"shape": [2, 3], "dtype": "uint8"}},
        "npz": {
            "x": {"shape": [2, 3], "dtype": "float32"},
            "y": {"shape": [1], "dtype": "object", "problem": "holds pickled objects"},
        },
        "safetensors": {"x": {"shape": [2, 3], "dtype": "F32"}},
    }
    assert found.get("arrays") == expected.get(kind)
    assert name.partition(" (")[0] in as_text(found)


def test_cut_short_archives_are_described(tmp_path: Path) -> None:
    for kind in ("torch", "npz", "safetensors", "npy"):
        path = tmp_path / "file"
        foreign_file(kind, path)
        whole = path.read_bytes()
        for end in (4, 9, 60, len(whole) - 30):
            path.write_bytes(whole[:end])
            assert describe(path)["note"]


def test_inspect_folders(tmp_path: Path) -> None:
    assert describe(tmp_path)["format"] == "folder"
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.JPEG").write_bytes(b"")
    found = describe(tmp_path)
    assert found["format"].startswith("image folder") and found["images_per_class"] == {"cat": 1}
