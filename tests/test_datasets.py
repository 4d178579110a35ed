"""Datasets: facts, the user's own files, value spaces, sampling per class."""

from __future__ import annotations

import gzip
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from torchvision.datasets import SVHN  # type: ignore[import-untyped]

from ddbench import data, datasets
from ddbench.datasets import DatasetSpec, torchvision_sets
from ddbench.distilled import Space
from ddbench.errors import BadInput

ROOT = Path(__file__).parent.parent
SHARED = ROOT / os.environ.get("DDBENCH_SHARED", "../shared")
BUILT_IN = [name for name in datasets.names() if name not in datasets.generic_names()]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
CONSTANTS = {
    ("mnist", "dc"): ((1, 28, 28), 10, (0.1307,), (0.3081,)),
    ("fashionmnist", "dc"): ((1, 28, 28), 10, (0.2861,), (0.3530,)),
    ("svhn", "dc"): ((3, 32, 32), 10, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    ("cifar10", "dc"): ((3, 32, 32), 10, *CIFAR10),
    ("cifar10", "mtt"): ((3, 32, 32), 10, *CIFAR10),
    ("cifar100", "dc"): ((3, 32, 32), 100, (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    ("cifar100", "mtt"): ((3, 32, 32), 100, *CIFAR10),
    ("tinyimagenet", "dc"): ((3, 64, 64), 200, *IMAGENET),
    ("tinyimagenet", "mtt"): ((3, 64, 64), 200, *IMAGENET),
    ("imagenet1k", "mtt"): ((3, 64, 64), 1000, *IMAGENET),
    ("imagenette", "mtt"): ((3, 128, 128), 10, *IMAGENET),
    ("imagewoof", "mtt"): ((3, 128, 128), 10, *IMAGENET),
    ("imagefruit", "mtt"): ((3, 128, 128), 10, *IMAGENET),
    ("imageyellow", "mtt"): ((3, 128, 128), 10, *IMAGENET),
    ("imagemeow", "mtt"): ((3, 128, 128), 10, *IMAGENET),
    ("imagesquawk", "mtt"): ((3, 128, 128), 10, *IMAGENET),
}
INDICES = {
    "imagenette": (0, 217, 482, 491, 497, 566, 569, 571, 574, 701),
    "imagewoof": (193, 182, 258, 162, 155, 167, 159, 273, 207, 229),
    "imagefruit": (953, 954, 949, 950, 951, 957, 952, 945, 943, 948),
    "imageyellow": (309, 986, 954, 951, 987, 779, 599, 291, 72, 11),
    "imagemeow": (281, 282, 283, 284, 285, 291, 292, 290, 289, 287),
    "imagesquawk": (84, 130, 88, 144, 145, 22, 96, 9, 100, 89),
}


def parse(**fields: object) -> DatasetSpec:
    return DatasetSpec.parse(fields, field="dataset")


# --- facts --------------------------------------------------------------------------------------


def test_every_promised_dataset_has_facts() -> None:
    small = "digits mnist fashionmnist svhn cifar10 cifar100 tinyimagenet gzoo2 gzoo2_aug"
    subsets = (
        "imagenet1k imagenette imagewoof imagefruit imagemeow imagesquawk imageyellow "
        "in1k_cifar10 imagenet10 imagenet100 compdd_music_hard_unique9"
    )
    categories = "birds cars dogs fish snake insect round music"
    compdd = {f"compdd_{c}_{d}" for c in categories.split() for d in ("easy", "hard")}
    assert set(BUILT_IN) == {*small.split(), *subsets.split(), *compdd}
    assert datasets.generic_names() == ("folder", "npz")


@pytest.mark.parametrize("name", BUILT_IN)
def test_facts_are_sound(name: str) -> None:
    known = datasets.facts(name)
    assert {"dc", "mtt"} <= set(known.constants)
    assert all(0 < m < 1 and 0 < s < 1 for c in known.constants.values()
               for m, s in zip(c.mean, c.std, strict=True))  # fmt: skip
    assert all(c.source for c in known.constants.values())
    assert known.where and known.source and known.title
    if known.train_size is not None and known.smallest_class is not None:
        assert known.smallest_class * known.num_classes <= known.train_size
    if name in {"digits", "mnist", "svhn"}:
        assert not known.mirror
    if known.refused:
        assert len(set(known.wnids)) < known.num_classes
    else:
        assert len(set(known.wnids)) == len(known.wnids)
        assert parse(name=name).constants == "dc"


@pytest.mark.parametrize(("name", "family"), CONSTANTS)
def test_constants_are_those_of_the_references(name: str, family: str) -> None:
    known = datasets.facts(name)
    constants = known.constants[family]
    found = (known.shape, known.num_classes, constants.mean, constants.std)
    assert found == CONSTANTS[name, family]


@pytest.mark.parametrize("name", INDICES)
def test_subset_order_is_label_order(name: str) -> None:
    known = datasets.facts(name)
    assert known.indices == INDICES[name]
    # The ids are sorted exactly as the indices are: both follow ILSVRC's order.
    by_index = sorted(zip(known.indices, known.wnids, strict=True))
    assert [wnid for _, wnid in by_index] == sorted(known.wnids)


def test_class_names() -> None:
    assert datasets.facts("cifar10").classes[1] == "automobile"
    assert datasets.facts("cifar100").classes[39] == "keyboard"
    assert datasets.facts("compdd_music_hard").classes.count("banjo") == 2
    assert datasets.facts("imagenet100").wnids[:10] == datasets.facts("imagenet10").wnids


def test_image_size_changes_shape_and_network() -> None:
    known = datasets.facts(parse(name="imagenette", image_size=64))
    assert (known.shape, known.network.name) == ((3, 64, 64), "ConvNetD4")
    depths = {8: 1, 28: 3, 32: 3, 64: 4, 128: 5, 224: 5}
    for size, depth in depths.items():
        assert datasets.network_for((3, size, size)).name == f"ConvNetD{depth}"


def test_reading_facts_needs_no_heavy_import() -> None:
    code = (
        "import sys; from ddbench import datasets as d; d.facts(d.DatasetSpec(name='cifar10')); "
        "print([m for m in ('torch', 'numpy', 'sklearn', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# --- digits -------------------------------------------------------------------------------------


def test_digits_split_and_constants() -> None:
    arrays = datasets.read(parse(name="digits"))
    known = datasets.facts("digits")
    assert arrays.x_train.shape == (1437, 8, 8, 1) and arrays.x_test.shape == (360, 8, 8, 1)
    assert arrays.x_train.dtype == np.float32 and arrays.x_train.max() == 1.0
    assert np.bincount(arrays.y_test).min() >= 35 and np.bincount(arrays.y_test).max() <= 37
    assert np.bincount(arrays.y_train).min() == known.smallest_class

    stored = load_digits()
    both = np.concatenate([arrays.x_train, arrays.x_test]).reshape(1797, 64) * 16
    assert sorted(map(tuple, both)) == sorted(map(tuple, stored.images.reshape(1797, 64)))

    pixels = arrays.x_train.astype(np.float64)
    for constants in known.constants.values():
        assert constants.mean == (round(float(pixels.mean()), 6),)
        assert constants.std == (round(float(pixels.std()), 6),)


def test_digits_tensors() -> None:
    real = data.load(parse(name="digits"), "cpu")
    assert real.x_train.shape == (1437, 1, 8, 8) and real.x_train.dtype == torch.float32
    assert abs(float(real.x_train.mean())) < 1e-4
    assert abs(float(real.x_train.std()) - 1) < 1e-3
    assert real.space.name == "meanstd" and real.x_val is None
    raw = torch.from_numpy(datasets.read(parse(name="digits")).x_train).permute(0, 3, 1, 2)
    torch.testing.assert_close(data.unnormalise(real.x_train, real.space), raw)


def test_validation_is_stratified_fixed_and_disjoint() -> None:
    real = data.load(parse(name="digits", validation=0.1), "cpu")
    again = data.load(parse(name="digits", validation=0.1), "cpu")
    whole = data.load(parse(name="digits"), "cpu")
    assert real.x_val is not None and again.x_val is not None
    assert real.y_val is not None
    assert torch.equal(real.x_val, again.x_val)
    assert len(real.x_train) + len(real.x_val) == 1437
    assert set(real.y_val.bincount().tolist()) <= {14, 15}
    together = torch.cat([real.x_train, real.x_val]).flatten(1)
    assert sorted(together.tolist()) == sorted(whole.x_train.flatten(1).tolist())
    assert torch.equal(real.x_test, whole.x_test) and real.sha256 == whole.sha256


def test_zca_is_fitted_on_the_training_part() -> None:
    real = data.load(parse(name="digits", zca=True), "cpu")
    assert real.space.name == "zca" and real.space.whitening is not None
    assert real.x_train.flatten(1).mean(0).abs().max() < 1e-4
    raw = torch.from_numpy(datasets.read(parse(name="digits")).x_test).permute(0, 3, 1, 2)
    pixels = data.unnormalise(real.x_test, real.space)
    torch.testing.assert_close(pixels, raw, atol=1e-4, rtol=0)


def test_resizing_on_request() -> None:
    real = data.load(parse(name="digits", image_size=16), "cpu")
    assert real.shape == (1, 16, 16) and real.x_test.shape == (360, 1, 16, 16)


def test_unnormalise_can_keep_what_leaves_the_range() -> None:
    space = Space("meanstd", mean=(0.5,), std=(0.25,))
    x = torch.tensor([[[[-4.0, 0.0, 4.0]]]])
    assert data.unnormalise(x, space).tolist() == [[[[0.0, 0.5, 1.0]]]]
    pixels = data.unnormalise(x, space, clamp=False)
    assert torch.equal(data.normalise(pixels, space), x)
    assert torch.equal(data.normalise(x, Space("unit")), x)


# --- samples of every class ---------------------------------------------------------------------


def real_with_labels(labels: list[int], num_classes: int) -> data.RealData:
    y = torch.tensor(labels)
    x = torch.zeros(len(labels), 1, 1, 1)
    index, count = data._by_class(y, num_classes)
    return data.RealData(
        x_train=x, y_train=y, x_test=x, y_test=y, x_val=None, y_val=None, space=Space("unit"),
        num_classes=num_classes, shape=(1, 1, 1), sha256="", class_index=index, class_count=count,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 50), st.integers(0, 2**31)
)
def test_class_batches(labels: list[int], size: int, seed: int) -> None:
    real = real_with_labels(labels, 5)
    u = torch.rand(real.class_index.shape, generator=torch.Generator().manual_seed(seed))
    index, valid = real.class_batches(u, size)
    n_max = max(labels.count(k) for k in range(5))
    assert index.shape == valid.shape == (min(size, n_max), 5)
    assert index.dtype == torch.int64 and 0 <= int(index.min()) <= int(index.max()) < len(labels)
    for k in range(5):
        rows = index[valid[:, k], k]
        assert len(rows) == min(size, labels.count(k))
        assert len(set(rows.tolist())) == len(rows)
        assert (real.y_train[rows] == k).all()
        assert valid[: len(rows), k].all()  # padding comes last
    again = real.class_batches(u, size)
    assert torch.equal(again[0], index) and torch.equal(again[1], valid)


def test_class_batches_are_uniform() -> None:
    real = real_with_labels([0] * 4 + [1] * 6, 2)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.zeros(10)
    for _ in range(3000):
        index, valid = real.class_batches(torch.rand(2, 6, generator=generator), 2)
        drawn[index[valid]] += 1
    assert ((drawn[:4] / 3000 - 2 / 4).abs() < 0.04).all()
    assert ((drawn[4:] / 3000 - 2 / 6).abs() < 0.04).all()


def test_class_batches_refuse_wrong_input() -> None:
    real = real_with_labels([0, 1, 1], 2)
    with pytest.raises(ValueError, match=r"u is \[2, 3\], needs \[2, 2\]"):
        real.class_batches(torch.rand(2, 3), 1)
    with pytest.raises(ValueError, match="at least 1"):
        real.class_batches(torch.rand(2, 2), 0)


# --- npz ----------------------------------------------------------------------------------------


def npz_arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (20, 6, 6, 3), dtype=np.uint8),
        "y_train": np.arange(20, dtype=np.uint8) % 4,
        "x_test": rng.integers(0, 256, (8, 6, 6, 3), dtype=np.uint8),
        "y_test": np.arange(8, dtype=np.int32) % 4,
    }


def test_npz_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = npz_arrays()
    (tmp_path / "own").mkdir()
    np.savez(tmp_path / "own" / "set.npz", **arrays)
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    spec = parse(name="npz", path="own/set.npz", label="mine-v1")
    known = datasets.facts(spec)
    assert (known.shape, known.num_classes, known.train_size, known.test_size) == (
        (3, 6, 6),
        4,
        20,
        8,
    )
    assert known.smallest_class == 5 and datasets.label(spec) == "mine-v1"
    real = data.load(spec, "cpu")
    assert torch.equal(real.y_train, torch.arange(20) % 4)
    torch.testing.assert_close(real.x_train.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    pixels = data.unnormalise(real.x_test, real.space).permute(0, 2, 3, 1) * 255
    assert np.array_equal(pixels.round().byte().numpy(), arrays["x_test"])
    absolute = parse(name="npz", path=str(tmp_path / "own" / "set.npz"))
    assert datasets.content_id(absolute) == datasets.content_id(spec)
    assert datasets.content_id(parse(name="digits")) is None


def test_npz_like_lends_constants(tmp_path: Path) -> None:
    arrays = npz_arrays() | {"y_train": np.arange(20) % 10}
    np.savez(tmp_path / "set.npz", **arrays)
    spec = parse(name="npz", path="set.npz", like="cifar10", label="cifar10-jpeg75")
    real = data.load(spec, "cpu", root=tmp_path)
    assert (real.space.mean, real.space.std) == CIFAR10 and real.num_classes == 10
    assert datasets.facts(spec, tmp_path).classes[9] == "truck"


def test_content_id_follows_content(tmp_path: Path) -> None:
    spec = parse(name="npz", path="set.npz")
    np.savez(tmp_path / "set.npz", **npz_arrays())
    first = datasets.content_id(spec, tmp_path)
    np.savez(tmp_path / "set.npz", **(npz_arrays() | {"y_test": np.zeros(8, dtype=np.int64)}))
    os.utime(tmp_path / "set.npz", ns=(0, 0))
    assert datasets.content_id(spec, tmp_path) != first


NPZ_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "key": (
        {"x_test": None},
        "has no array 'x_test', only x_train, y_train, y_test; allowed: x_tr",
    ),
    "float": ({"x_train": np.zeros((20, 6, 6, 3))}, r"x_train is float64 \[20, 6, 6, 3\]"),
    "layout": ({"x_train": np.zeros((20, 3, 6, 6), np.uint8)}, r"allowed: uint8 \[n, H, W, 1 or"),
    "object": ({"y_test": np.array([0, "a"], dtype=object)}, "y_test is object"),
    "labels": (
        {"y_test": np.zeros((8, 4), np.int64)},
        r"y_test is int64 .* allowed: whole numbers",
    ),
    "count": ({"y_test": np.zeros(7, np.int64)}, "x_test has 8 images, y_test 7 labels"),
    "range": ({"y_test": np.full(8, 4)}, "labels of y_test go from 4 to 4; allowed: 0 to 3"),
    "negative": ({"y_train": np.arange(20) % 4 - 1}, "labels of y_train go from -1 to 2"),
    "gap": ({"y_train": np.arange(20) % 4 * 2}, "class 1 has no training image"),
    "size": ({"x_test": np.zeros((8, 5, 5, 3), np.uint8)}, r"x_train are \[6, 6, 3\], of x_test"),
    "empty": ({"x_test": np.zeros((0, 6, 6, 3), np.uint8)}, r"x_test is uint8 \[0, 6, 6, 3\]"),
}


@pytest.mark.parametrize("fault", NPZ_FAULTS)
def test_npz_faults_are_named(tmp_path: Path, fault: str) -> None:
    changed, message = NPZ_FAULTS[fault]
    kept = {key: value for key, value in (npz_arrays() | changed).items() if value is not None}
    np.savez(tmp_path / "set.npz", **kept)
    with pytest.raises(BadInput) as caught:
        datasets.read(parse(name="npz", path="set.npz"), tmp_path)
    caught.match(message)
    assert caught.value.field == "dataset.path" and "set.npz" in str(caught.value)


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_text("not a zip")
    with pytest.raises(BadInput, match=r"is not a NumPy \.npz file"):
        datasets.facts(parse(name="npz", path="set.npz"), tmp_path)
    np.savez(tmp_path / "cut.npz", **npz_arrays())
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"is not a NumPy \.npz file"):
        datasets.facts(parse(name="npz", path="cut.npz"), tmp_path)
    (tmp_path / "dir").mkdir()
    with pytest.raises(BadInput, match=r"is not a NumPy \.npz file"):
        datasets.facts(parse(name="npz", path="dir"), tmp_path)


# --- folder -------------------------------------------------------------------------------------


def make_folder(
    root: Path, classes: list[str], size: tuple[int, int] = (12, 8), test: str = "test"
) -> Path:
    """Three training images and one test image per class; the colour tells the class."""
    for label, name in enumerate(classes):
        for part, count in (("train", 3), (test, 1)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", size, (10 * label, i, 255)).save(folder / f"{i}.png")
    return root


def test_folder_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "pets", ["dog", "cat"], test="val")
    (tmp_path / "pets" / "train" / "cat" / "notes.txt").write_text("no image")
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    spec = parse(name="folder", path="pets", image_size=8, antialias=False)
    known = datasets.facts(spec)
    assert (known.classes, known.shape) == (("cat", "dog"), (3, 8, 8))
    assert (known.train_size, known.test_size, known.smallest_class) == (6, 2, 3)
    arrays = datasets.read(spec)
    assert arrays.y_train.tolist() == [0, 0, 0, 1, 1, 1] and arrays.y_test.tolist() == [0, 1]
    assert arrays.x_train[:, 0, 0, 0].tolist() == [10, 10, 10, 0, 0, 0]
    assert arrays.x_train[:, 4, 4, 1].tolist() == [0, 1, 2] * 2
    native = datasets.facts(parse(name="folder", path="pets"))
    assert native.shape == (3, 8, 12)


def test_folder_content_id_ignores_place_but_not_names(tmp_path: Path) -> None:
    first = make_folder(tmp_path / "a", ["x", "y"])
    second = make_folder(tmp_path / "b", ["x", "y"], test="val")
    ids = [datasets.content_id(parse(name="folder", path=str(p))) for p in (first, second)]
    assert ids[0] == ids[1]
    (second / "train" / "x" / "0.png").rename(second / "train" / "x" / "9.png")
    assert datasets.content_id(parse(name="folder", path=str(second))) != ids[0]


def test_folder_takes_a_subset_in_label_order(tmp_path: Path) -> None:
    wnids = datasets.facts("imagewoof").wnids
    make_folder(tmp_path, [*wnids, "n00000001"])
    spec = parse(name="folder", path=str(tmp_path), like="imagewoof", image_size=8)
    assert datasets.facts(spec).classes[0] == "Australian terrier"
    real = data.load(spec, "cpu")
    assert real.num_classes == 10 and real.space.mean == IMAGENET[0]
    reds = data.unnormalise(real.x_test, real.space)[:, 0, 0, 0] * 255
    assert reds.round().tolist() == [10.0 * i for i in range(10)]


def test_antialias_changes_shrunk_images(tmp_path: Path) -> None:
    make_folder(tmp_path, ["a", "b"])
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).convert("RGB").save(tmp_path / "train" / "a" / "0.png")
    path = str(tmp_path)
    smooth = datasets.read(parse(name="folder", path=path, image_size=7, antialias=True))
    rough = datasets.read(parse(name="folder", path=path, image_size=7, antialias=False))
    assert smooth.x_train[0].std() < rough.x_train[0].std()


def test_folder_faults_are_named(tmp_path: Path) -> None:
    def fails(message: str, **fields: object) -> None:
        spec = parse(name="folder", path=str(tmp_path), **fields)
        with pytest.raises(BadInput, match=message):
            datasets.read(spec)

    fails("has no folder train; allowed: a folder with train/CLASS")
    make_folder(tmp_path, ["a", "b"])
    fails("has 2 classes, 'mnist' 10", like="mnist")
    fails("lacks classes of 'imagenette': n01440764", like="imagenette")
    (tmp_path / "train" / "a" / "1.png").write_bytes(b"broken")
    fails("1.png cannot be read")
    (tmp_path / "train" / "a" / "1.png").unlink()
    Image.new("RGB", (5, 9)).save(tmp_path / "train" / "b" / "1.png")
    fails("1.png has 5x9 pixels, the first image 12x8")
    (tmp_path / "test" / "c").mkdir()
    fails("no class of this name")
    (tmp_path / "train" / "c").mkdir()
    fails("c has no images")
    (tmp_path / "val").mkdir()
    fails("has both test and val")


# --- recipes ------------------------------------------------------------------------------------


RECIPE_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"name": "cifar"}, "dataset.name: unknown dataset 'cifar'; did you mean 'cifar1"),
    ({"name": "compdd_bird_easy"}, "did you mean 'compdd_birds_easy'"),
    ({"name": "compdd_music_hard"}, "banjo .* use compdd_music_hard_unique9"),
    ({"name": "cifar10", "path": "x"}, "dataset.path: dataset 'cifar10' takes no 'path'"),
    ({"name": "cifar10", "like": "mnist"}, "dataset.like: dataset 'cifar10' takes no 'like'"),
    ({"name": "npz"}, "dataset.path: dataset 'npz' needs the path"),
    ({"name": "npz", "path": "../x.npz"}, r"dataset.path: found '../x.npz'; allowed: an absolute"),
    ({"name": "npz", "path": "x", "like": "cifar"}, "dataset.like: unknown dataset 'cifar'"),
    ({"name": "npz", "path": "x", "like": "npz"}, "dataset.like: unknown dataset 'npz'"),
    ({"name": "npz", "path": "x", "like": "compdd_music_hard"}, "dataset.like: .* banjo"),
    ({"name": "npz", "path": "x", "constants": "mtt"}, "dataset.constants: 'mtt' needs 'like'"),
    ({"name": "npz", "path": "x", "label": "a/b"}, "dataset.label: found 'a/b'; allowed: letters"),
    ({"name": "npz", "path": "x", "label": "cifar10"}, "such as 'cifar10-npz'"),
    ({"name": "cifar10", "constants": "mt"}, "did you mean 'mtt'"),
    (
        {"name": "cifar10", "image_size": 0},
        "dataset.image_size: found 0; allowed: .*greater than 0",
    ),
    ({"name": "cifar10", "validation": 0.6}, "dataset.validation: found 0.6; allowed: .*0.5"),
    ({"name": "cifar10", "zca": 1}, "dataset.zca: found 1"),
    ({"name": "cifar10", "antialias": True}, "dataset.antialias: changes nothing"),
    ({"name": "cifar10", "imagesize": 1}, "did you mean 'image_size'"),
]


@pytest.mark.parametrize(("fields", "message"), RECIPE_FAULTS)
def test_faults_in_a_recipe_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse(**fields)


def test_missing_files_say_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        datasets.read(parse(name="mnist"), tmp_path)
    for part in (str(tmp_path), "MNIST/raw/train-images-idx3-ubyte", "--download", "MNIST/raw un"):
        assert part in str(caught.value)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in datasets.facts("mnist").files:
        (tmp_path / f"{file}.gz").write_bytes(b"")
    with pytest.raises(BadInput, match=f"gunzip -k {raw}"):
        datasets.read(parse(name="mnist"), tmp_path)
    for file in datasets.facts("mnist").files:
        (tmp_path / file).write_bytes(b"too short")
    with pytest.raises(BadInput, match="cannot be read"):
        datasets.read(parse(name="mnist"), tmp_path)


@pytest.mark.parametrize("name", ["fashionmnist", "svhn", "cifar10", "cifar100"])
def test_missing_public_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"'{name}' is not in .* missing .*run once with --download"):
        datasets.read(parse(name=name), tmp_path)


def test_a_missing_path_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"{tmp_path}/no.npz .a relative path is looked up under"):
        datasets.facts(parse(name="npz", path="no.npz"), tmp_path)
    with pytest.raises(BadInput, match=f"nothing found at {tmp_path}/no$"):
        datasets.content_id(parse(name="folder", path=f"{tmp_path}/no"))


@pytest.mark.parametrize("name", ["imagenette", "tinyimagenet", "gzoo2"])
def test_families_without_a_loader_name_the_way_round(name: str) -> None:
    with pytest.raises(BadInput, match=f"cannot be loaded by this version; .*like: {name}"):
        datasets.read(parse(name=name))


def test_too_few_images_for_validation(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", **(npz_arrays() | {"y_train": np.arange(20)}))
    with pytest.raises(BadInput, match="cannot be held out"):
        data.load(parse(name="npz", path="set.npz", validation=0.2), "cpu", root=tmp_path)


# --- public files in torchvision's formats ------------------------------------------------------


def test_mnist(tmp_path: Path) -> None:
    source = SHARED / "data" / "mnist"
    if not source.is_dir():
        pytest.skip(f"no MNIST files in {source} (DDBENCH_SHARED)")
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for packed in source.glob("*.gz"):
        (tmp_path / "MNIST" / "raw" / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    arrays = datasets.read(parse(name="mnist"), tmp_path)
    assert arrays.x_train.shape == (60000, 28, 28, 1) and len(arrays.y_test) == 10000
    assert np.bincount(arrays.y_train).min() == datasets.facts("mnist").smallest_class
    assert abs(arrays.x_train.mean() / 255 - 0.1307) < 1e-4
    assert abs(arrays.x_train.std() / 255 - 0.3081) < 1e-4
    assert arrays.y_test[:4].tolist() == [7, 2, 1, 0]


def test_svhn_layout_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file in SVHN's format: H, W, C, n and label 10 for the digit 0."""
    x = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
    y = (np.arange(20) % 10 + 1).astype(np.uint8)[:, None]
    for part in ("train", "test"):
        savemat(tmp_path / f"{part}_32x32.mat", {"X": x, "y": y})
    monkeypatch.setattr(SVHN, "_check_integrity", lambda self: True)
    known = datasets.facts("svhn")
    arrays = torchvision_sets.load(known, parse(name="svhn"), tmp_path)
    assert np.array_equal(arrays.x_train, x.transpose(3, 0, 1, 2))
    assert arrays.y_train.tolist() == [*range(1, 10), 0] * 2
    with pytest.raises(BadInput, match="the train part has 20 images, 73257 expected"):
        datasets.read(parse(name="svhn"), tmp_path)


def test_cifar_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files in CIFAR-10's format: rows of 3072 bytes, channels first."""
    rng = np.random.default_rng(0)
    known = datasets.facts("cifar10")
    (tmp_path / "cifar-10-batches-py").mkdir()
    rows = {name: rng.integers(0, 256, (10, 3072), dtype=np.uint8) for name in known.files}
    for name in known.files:
        content = {"data": rows[name], "labels": list(range(10)), "label_names": known.classes}
        (tmp_path / name).write_bytes(pickle.dumps(content))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *args: True)
    arrays = torchvision_sets.load(known, parse(name="cifar10"), tmp_path)
    assert arrays.x_train.shape == (50, 32, 32, 3) and arrays.y_train.tolist() == [*range(10)] * 5
    first = rows["cifar-10-batches-py/data_batch_1"][0].reshape(3, 32, 32)
    assert np.array_equal(arrays.x_train[0].transpose(2, 0, 1), first)


def test_measured_constants_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(50, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    whole = data._measured(x)
    monkeypatch.setattr(data, "_MEASURE_ROWS", 7)
    for part, expected in zip(data._measured(x), whole, strict=True):
        assert part == pytest.approx(expected, rel=1e-12)
    assert whole[0] == pytest.approx(x.double().mean((0, 2, 3)).tolist())
    assert whole[1] == pytest.approx(x.double().std((0, 2, 3), correction=0).tolist())
    with pytest.raises(BadInput, match="the same value in every training image"):
        data._measured(torch.ones(3, 1, 2, 2))
