"""The result file: what goes in comes out bit for bit; what is not ours is refused in words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ddbench import store
from ddbench.distilled import DistilledSet, LabelKind, Space, Whitening
from ddbench.errors import BadInput
from ddbench.store import evaluations, precision, schema
from ddbench.store.evaluations import EvaluationRecord

ATTRS = {
    "recipe": "name: digits_dc\nüml: 1\n",
    "key": "0123456789ab",
    "seed": 3,
    "status": "done",
    "threads": 2,
    "seconds": 1.25,
    "cuda": None,
    "resumed": True,
    "note": "not in the schema",
}
DTYPES: tuple[precision.FeatureDtype, ...] = ("float32", "float16", "uint8_affine")
quick = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def bits(tensor: Tensor | None) -> object:
    """Something that is equal only for equal dtype, shape and bytes."""
    if tensor is None:
        return None
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().numpy().tobytes()


def set_bits(distilled: DistilledSet | None) -> object:
    if distilled is None:
        return None
    space, whitening = distilled.space, distilled.space.whitening
    parts = whitening and [bits(p) for p in (whitening.mean, whitening.matrix, whitening.inverse)]
    return (
        *(bits(distilled.x), bits(distilled.y), distilled.kind, bits(distilled.F)),
        *(distilled.features, distilled.lr, space.name, space.mean, space.std, parts),
    )


def record_bits(record: EvaluationRecord, *, predictions: bool = True) -> object:
    values = [getattr(record, name) for name in schema.COLUMNS if name != "per_class"]
    correct = None if record.correct is None or not predictions else record.correct.tolist()
    return repr(values), record.per_class.tobytes(), correct


def make_record(row: int, *, classes: int = 3, tests: int | None = None) -> EvaluationRecord:
    generator = np.random.default_rng(row)
    correct = None if tests is None else generator.random(tests) > 0.5
    per_class = generator.random(classes).astype(np.float32)
    scores = (0.5 + row / 100, float("nan"), 0.75)
    return EvaluationRecord(
        f"key{row}", "dc", 10 * row, "ConvNetD3 é", row - 1, row % 2 == 0, "none", *scores,
        per_class, 300, 1.5, "last", correct,
    )  # fmt: skip


def make_space(name: str, generator: torch.Generator, pixels: int) -> Space:
    if name == "meanstd":
        return Space("meanstd", mean=(0.1 + 0.2,), std=(1 / 3,))
    if name == "unit":
        return Space("unit")
    sizes = (1, pixels), (pixels, pixels), (pixels, pixels)
    return Space("zca", whitening=Whitening(*(torch.randn(s, generator=generator) for s in sizes)))


@st.composite
def distilled_sets(draw: st.DrawFn) -> DistilledSet:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    n, c, side, k, m = (draw(st.integers(1, 4)) for _ in range(5))
    x = torch.randn((n, c, side, side), generator=generator)
    if draw(st.booleans()):
        x.view(-1)[0] = draw(st.sampled_from([float("nan"), -0.0, float("inf"), 1e-45]))
    kind: LabelKind = draw(st.sampled_from(["index", "probability", "logit", "centred"]))
    y = torch.arange(n) if kind == "index" else torch.randn((n, k), generator=generator)
    F, features = None, {}
    if draw(st.booleans()):
        dtype = draw(st.sampled_from(DTYPES))
        per_class = draw(st.booleans())
        item = draw(st.sampled_from([(), (5,), (2, 3, 3)]))
        F = torch.randn((k if per_class else n, m, *item), generator=generator) * 10
        F = store.round_features(F, dtype)
        features = {
            "granularity": "per_class" if per_class else "per_image",
            "dtype": dtype,
            "network": {"name": "ConvNetD3", "width": 32},
            "lambda_reg": 0.01,
        }
    space = make_space(draw(st.sampled_from(["unit", "meanstd", "zca"])), generator, c * side**2)
    lr = draw(st.none() | st.floats(allow_nan=False, allow_infinity=False))
    return DistilledSet(x, y, space, kind, F, features, lr)


@quick
@given(distilled=distilled_sets(), snapshots=st.lists(distilled_sets(), max_size=2), rows=st.data())
def test_everything_survives_bit_for_bit(
    tmp_path: Path, distilled: DistilledSet, snapshots: list[DistilledSet], rows: st.DataObject
) -> None:
    tests = [rows.draw(st.sampled_from([None, 13])) for _ in range(rows.draw(st.integers(0, 3)))]
    result = store.Result(
        ATTRS,
        distilled,
        snapshots={100 * number: snapshot for number, snapshot in enumerate(snapshots)},
        evaluations=[make_record(row, tests=n) for row, n in enumerate(tests)],
        log={"iteration": np.arange(7), "loss": np.linspace(0, 1, 7), "ok": np.ones(7, np.bool_)},
    )
    path = tmp_path / "r.h5"
    store.write(path, result)
    found = store.read(path)

    kept = {name: value for name, value in ATTRS.items() if value is not None}
    assert found.attrs == {**kept, "schema": 1}
    assert set_bits(found.synthetic) == set_bits(distilled)
    assert set_bits(store.read_set(path)) == set_bits(distilled)
    assert list(found.snapshots) == list(result.snapshots)
    for iteration, snapshot in result.snapshots.items():
        assert set_bits(found.snapshots[iteration]) == set_bits(snapshot)
        assert set_bits(store.read_set(path, iteration)) == set_bits(snapshot)
    expected = [record_bits(record) for record in result.evaluations]
    assert [record_bits(record) for record in found.evaluations] == expected
    header = store.read_header(path)
    assert header.attrs == found.attrs
    assert all(record.correct is None for record in header.evaluations)
    plain = [record_bits(record, predictions=False) for record in result.evaluations]
    assert [record_bits(record) for record in header.evaluations] == plain
    assert {n: (v.dtype, v.tolist()) for n, v in found.log.items()} == {
        n: (v.dtype, v.tolist()) for n, v in result.log.items()
    }


def small_set(**changes: Any) -> DistilledSet:
    x = torch.randn((2, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    return DistilledSet(**{"x": x, "y": torch.arange(2), "space": Space("unit"), **changes})


def test_a_method_without_a_set(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    store.write(path, store.Result(ATTRS, evaluations=[make_record(0)]))
    assert store.read(path).synthetic is None
    with pytest.raises(BadInput, match="holds no synthetic set"):
        store.read_set(path)


def test_a_missing_snapshot_names_those_there(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    store.write(path, store.Result(ATTRS, small_set(), snapshots={5: small_set(), 10: small_set()}))
    with pytest.raises(BadInput, match="no snapshot at iteration 7; allowed: 5, 10"):
        store.read_set(path, 7)


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    result = store.Result(ATTRS, small_set(), evaluations=[make_record(0, tests=9)])
    store.write(tmp_path / "a.h5", result)
    store.write(tmp_path / "b.h5", store.read(tmp_path / "a.h5"))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_snapshots_share_one_whitening(tmp_path: Path) -> None:
    space = make_space("zca", torch.Generator().manual_seed(0), 16)
    path = tmp_path / "r.h5"
    sets = {number: small_set(space=space) for number in (1, 2)}
    store.write(path, store.Result(ATTRS, small_set(space=space), snapshots=sets))
    with h5py.File(path) as file:
        assert "zca" in file["synthetic"] and "zca" not in file["snapshots/1"]
    found = store.read(path)
    assert found.synthetic is not None
    assert found.snapshots[2].space.whitening is found.synthetic.space.whitening
    assert set_bits(found.snapshots[2]) == set_bits(sets[2])


@pytest.mark.parametrize("short", [False, True])
def test_views(tmp_path: Path, short: bool) -> None:
    tensors = {
        "index": torch.arange(6),
        "epoch": torch.zeros(6, dtype=torch.int64),
        "crop": torch.rand(6, 4),
        "flip": torch.tensor([True, False] * 3),
        "mix_lambda": torch.rand(6, dtype=torch.float64),
        "mix_box": torch.zeros((6, 4), dtype=torch.int32),
        "mix_partner": torch.arange(6).flip(0),
    }
    if short:
        tensors |= {"top_values": torch.rand(6, 2).half(), "top_index": torch.zeros(6, 2).long()}
    else:
        tensors |= {"logits": torch.randn(6, 10).half()}
    views = store.SoftLabelViews((("ResNet18", "ab" * 32), ("VGG11", "cd" * 32)), None, **tensors)
    store.write(tmp_path / "r.h5", store.Result(ATTRS, small_set(), views))
    found = store.read(tmp_path / "r.h5").views
    assert found is not None and found.teachers == views.teachers
    assert {n: bits(t) for n, t in found.tensors().items()} == {
        n: bits(t) for n, t in tensors.items()
    }


def test_views_by_manifest(tmp_path: Path) -> None:
    manifest = store.ViewsManifest("/data/fkd é", {"epoch_0/batch_0.tar": "ab" * 32})
    result = store.Result(ATTRS, small_set(), store.SoftLabelViews(manifest=manifest))
    store.write(tmp_path / "r.h5", result)
    found = store.read(tmp_path / "r.h5").views
    assert found is not None and found.manifest is not None
    assert (found.manifest.path, found.manifest.checksums) == (manifest.path, manifest.checksums)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"index": torch.arange(2)},
        {"index": torch.arange(2), "epoch": torch.arange(2)},
        {"index": torch.arange(2), "epoch": torch.arange(3), "logits": torch.rand(2, 2)},
        {"index": torch.arange(2), "epoch": torch.arange(2), "top_values": torch.rand(2, 2)},
        {"index": torch.arange(2), "manifest": store.ViewsManifest("p", {})},
    ],
)
def test_views_that_do_not_fit_are_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        store.SoftLabelViews(**parts)


# --- precision ---------------------------------------------------------------------------------

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def same_parts(a: precision.Encoded, b: precision.Encoded) -> bool:
    return all(
        (p is None and q is None)
        or (p is not None and q is not None and p.tobytes() == q.tobytes())
        for p, q in zip(a, b, strict=True)
    )


@settings(quick, max_examples=300)
@given(values=st.lists(finite, min_size=1, max_size=24), dtype=st.sampled_from(DTYPES))
def test_rounding_features_is_idempotent(
    values: list[float], dtype: precision.FeatureDtype
) -> None:
    F = np.array(values, np.float32).reshape(-1, 1, 1)
    if dtype == "float16" and np.abs(F).max() > 65504:
        with pytest.raises(ValueError, match="float16"):
            precision.encode_features(F, dtype)
        return
    encoded = precision.encode_features(F, dtype)
    decoded = precision.decode_features(encoded)
    assert same_parts(precision.encode_features(decoded, dtype), encoded)
    assert precision.decode_features(encoded).tobytes() == decoded.tobytes()


@settings(quick, max_examples=100)
@given(
    seed=st.integers(0, 2**31),
    size=st.floats(1e-30, 1e25),
    offset=st.sampled_from([0.0, 1.0, -300.0, 1e6, -1e9]),
)
def test_affine_rounding_at_all_scales(seed: int, size: float, offset: float) -> None:
    generator = np.random.default_rng(seed)
    F = (generator.normal(size=(40, 3, 7)) * size + offset * size).astype(np.float32)
    encoded = precision.encode_features(F, "uint8_affine")
    decoded = precision.decode_features(encoded)
    assert same_parts(precision.encode_features(decoded, "uint8_affine"), encoded)
    step = np.ptp(F, axis=(0, 2)) / 255 + np.spacing(np.abs(F).max(axis=(0, 2)))
    assert (np.abs(decoded - F).max(axis=(0, 2)) <= 0.51 * step + 0.01 * step).all()


@pytest.mark.parametrize("dtype", ["float16", "uint8_affine"])
def test_rounding_refuses_what_is_not_finite(dtype: precision.FeatureDtype) -> None:
    with pytest.raises(ValueError, match="finite"):
        store.round_features(torch.tensor([[float("nan")]]), dtype)


@pytest.mark.parametrize("dtype", ["float16", "uint8_affine"])
def test_features_must_be_rounded_before_they_are_stored(tmp_path: Path, dtype: str) -> None:
    F = torch.rand((2, 1, 300), generator=torch.Generator().manual_seed(1))
    distilled = small_set(F=F, features={"dtype": dtype})
    with pytest.raises(ValueError, match="round_features"):
        store.write(tmp_path / "r.h5", store.Result(ATTRS, distilled))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "space", [Space("unit"), Space("meanstd", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.201))]
)
def test_images_as_uint8(tmp_path: Path, space: Space) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((4, 3, 16, 16), generator=generator)
    distilled = small_set(x=x, y=torch.arange(4), space=space)
    with pytest.raises(ValueError, match="round_images"):
        store.write(tmp_path / "r.h5", store.Result(ATTRS, distilled, x_dtype="uint8"))
    rounded = store.round_images(x, space, "uint8")
    assert bits(store.round_images(rounded, space, "uint8")) == bits(rounded)
    distilled = small_set(x=rounded, y=torch.arange(4), space=space)
    store.write(tmp_path / "r.h5", store.Result(ATTRS, distilled, x_dtype="uint8"))
    with h5py.File(tmp_path / "r.h5") as file:
        assert file["synthetic/x"].dtype == np.uint8
    found = store.read(tmp_path / "r.h5")
    assert set_bits(found.synthetic) == set_bits(distilled) and found.x_dtype == "uint8"


def test_whitened_images_are_not_stored_as_uint8() -> None:
    with pytest.raises(ValueError, match="zca"):
        store.round_images(torch.zeros(1, 1, 2, 2), Space("zca"), "uint8")


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "fine"}, "status 'fine'"),
        ({"key": None}, "key"),
        ({"schema": 2}, "schema"),
        ({"checksums": "x"}, "checksums"),
        ({"job": ["a"]}, "job"),
        ({"job": 2**63}, "job"),
        ({"note": "a\0b"}, "zero"),
    ],
)
def test_attributes_that_cannot_be_stored(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        store.write(tmp_path / "r.h5", store.Result({**ATTRS, **changes}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        {"synthetic": small_set(x=torch.zeros((2, 1, 4, 4), dtype=torch.float64))},
        {"evaluations": [make_record(0), make_record(1, classes=4)]},
        {"evaluations": [make_record(0, tests=3), make_record(1, tests=4)]},
        {"evaluations": [replace(make_record(0), protocol="a\0")]},
        {"evaluations": [make_record(0), replace(make_record(1), accuracy=64.0)]},
        {"evaluations": [replace(make_record(0), accuracy=float("nan"))]},
        {"evaluations": [replace(make_record(0), best_accuracy=1.5)]},
        {"evaluations": [replace(make_record(0), train_accuracy=-0.5)]},
        {"evaluations": [replace(make_record(0), per_class=np.float32([0.5, 2, 0.5]))]},
        {"log": {"iteration": np.zeros(2), "a/b": np.zeros(2)}},
        {"log": {"iteration": np.zeros((2, 2))}},
        {"synthetic": small_set(F=torch.zeros(2, 1), features={"init": object()})},
    ],
)
def test_content_that_cannot_be_stored(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        store.write(tmp_path / "r.h5", store.Result(ATTRS, **content))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        {"log": {"loss": np.zeros(2)}},
        {"log": {"iteration": np.zeros(2), "loss": np.zeros(3)}},
        {"snapshots": {-1: small_set()}},
        {"views": store.SoftLabelViews(manifest=store.ViewsManifest("p", {}))},
    ],
)
def test_results_that_make_no_sense(content: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        store.Result(ATTRS, **content)


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        store.read(path)
    with pytest.raises(BadInput):
        store.read_header(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_refusals_name_the_file_and_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    assert "cannot be read (No such file" in refusal(path)
    assert "cannot be read" in refusal(tmp_path)
    path.write_bytes(b"")
    assert "is not an HDF5 file" in refusal(path)
    path.write_text("PK")
    assert refusal(path) == f"{path}: is not an HDF5 file"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros(3)
    assert "ddbench inspect" in refusal(path) and "ddbench import" in refusal(path)


def test_a_newer_schema_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    store.write(path, store.Result(ATTRS))
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = 7
    assert refusal(path) == (
        f"{path}: written by a newer ddbench (schema 7); this one reads up to 1: upgrade ddbench"
    )
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = "one"
    assert "unknown schema 'one'" in refusal(path)


@pytest.mark.parametrize("missing", ["synthetic/x", "synthetic/y", "@seed", "@checksums", "@note"])
def test_a_missing_part_is_named(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "r.h5"
    store.write(path, store.Result(ATTRS, small_set()))
    with h5py.File(path, "r+") as file:
        if missing.startswith("@"):
            del file.attrs[missing[1:]]
        else:
            del file[missing]
    with pytest.raises(BadInput, match=f"'{missing.removeprefix('@')}', which it should hold"):
        store.read(path)


def test_accuracies_of_a_file_that_are_no_fractions_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.h5"
    with monkeypatch.context() as careless:
        careless.setattr(evaluations, "_no_fraction", lambda records: None)
        store.write(path, store.Result(ATTRS, evaluations=[replace(make_record(0), accuracy=64.0)]))
    for read in (store.read, store.read_header):
        with pytest.raises(BadInput, match="accuracy is 64; accuracies are fractions") as error:
            read(path)
        assert str(path) in str(error.value)


def test_files_of_earlier_releases_lack_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.h5"
    tracked = replace(make_record(0), test_every=5)
    store.write(path, store.Result(ATTRS, evaluations=[tracked]))
    assert [record.test_every for record in store.read(path).evaluations] == [5]
    first = {name: kind for name, kind in schema.COLUMNS.items()
             if name not in schema.ADDED_COLUMNS}  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(schema, "COLUMNS", first)
        store.write(path, store.Result(ATTRS, evaluations=[tracked]))
    (old,) = store.read(path).evaluations
    for name, missing in schema.ADDED_COLUMNS.items():
        np.testing.assert_equal(getattr(old, name), missing)


def test_an_edited_value_is_found_and_an_added_one_ignored(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    store.write(path, store.Result(ATTRS, small_set()))
    with h5py.File(path, "r+") as file:
        file["synthetic/mine"] = np.zeros(2)
        file.attrs["mine"] = "kept"
        file.attrs["none"], file.attrs["empty"] = h5py.Empty("f"), np.zeros(0)
    found = store.read(path)
    assert set_bits(found.synthetic) == set_bits(small_set()) and found.attrs["mine"] == "kept"
    assert "none" not in found.attrs and found.attrs["empty"].shape == (0,)
    with h5py.File(path, "r+") as file:
        file["synthetic/x"][0, 0, 0, 0] += 1
    with pytest.raises(BadInput, match="'synthetic/x' does not match its checksum"):
        store.read(path)


def test_a_shape_beyond_the_file_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    store.write(path, store.Result(ATTRS, small_set()))
    with h5py.File(path, "r+") as file:
        del file["synthetic/x"]
        file.create_dataset("synthetic/x", (10**6, 3, 10**3, 10**3), "f4", chunks=(1, 1, 8, 8))
    with pytest.raises(BadInput, match="more than the file can hold"):
        store.read(path)


# --- paths and documentation -------------------------------------------------------------------


def test_result_path(tmp_path: Path) -> None:
    path = store.result_path(tmp_path, "cifar10", "cifar10_dc_ipc10", "0123456789ab", 2)
    assert path == tmp_path / "cifar10" / "cifar10_dc_ipc10" / "0123456789ab-s2.h5"
    assert store.checkpoint_directory(path) == path.parent / "0123456789ab-s2.ckpt"


@pytest.mark.parametrize("part", ["..", ".", "", "a/b", "a b", "/etc", "a\0", "é", "a\n"])
def test_result_path_refuses_parts_that_are_no_names(tmp_path: Path, part: str) -> None:
    for parts in ((part, "n", "k"), ("d", part, "k"), ("d", "n", part)):
        with pytest.raises(BadInput):
            store.result_path(tmp_path, *parts, 0)
    with pytest.raises(BadInput):
        store.result_path(tmp_path, "d", "n", "k", -1)


def test_result_path_refuses_links_out_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "mnist").symlink_to(tmp_path)
    with pytest.raises(BadInput, match="link"):
        store.result_path(tmp_path / "root", "mnist", "n", "k", 0)


DOCS = Path(__file__).parents[1] / "docs" / "result-file.md"


def test_the_documentation_lists_the_whole_schema() -> None:
    text = DOCS.read_text(encoding="utf-8")
    names = [entry.path for entry in schema.ENTRIES]
    names += [*schema.ATTRIBUTES, *schema.COLUMNS, *schema.STATUSES]
    names += [name.partition("@")[2] for name in schema.DATASET_ATTRIBUTES]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_documented_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    F = store.round_features(torch.rand(2, 1, 8), "uint8_affine")
    distilled = small_set(F=F, features={"dtype": "uint8_affine"})
    store.write(tmp_path / "result.h5", store.Result(ATTRS, distilled))
    example = DOCS.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(example, found)
    assert found["x"].tobytes() == distilled.x.numpy().tobytes()
    assert found["y"].tolist() == [0, 1]
    np.testing.assert_allclose(found["F"], F.numpy(), rtol=1e-6, atol=1e-7)


def test_text_attributes_are_text_for_any_reader(tmp_path: Path) -> None:
    store.write(tmp_path / "r.h5", store.Result(ATTRS))
    with h5py.File(tmp_path / "r.h5") as file:
        assert file.attrs["recipe"].decode() == ATTRS["recipe"]
        assert "@recipe" in json.loads(file.attrs["checksums"])
