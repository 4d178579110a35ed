"""Importing: hostile files, detection, and what is settled by whom."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import struct
import sys
import tempfile
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddbench import datasets, store, zca
from ddbench.data import normalise, unnormalise
from ddbench.distilled import DistilledSet, Space
from ddbench.errors import BadInput
from ddbench.importers import Found, KindOption, Options, SpaceOption, names
from ddbench.importers._detect import read
from ddbench.importers._safe_torch import load, skeleton
from ddbench.importers._settle import (
    Settled,
    guess_dataset,
    proposals,
    propose_kind,
    propose_space,
    settle,
)
from ddbench.importers._source import TORCH_LEGACY, Limits, Source

LIMITS = Limits()


@pytest.fixture(autouse=True)
def _nothing_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No payload ran (it would write ``pwned``), no unpacked archive stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ".temporary"))
    (tmp_path / ".temporary").mkdir()
    yield
    assert not (tmp_path / "pwned").exists()
    assert not list((tmp_path / ".temporary").iterdir())


def refused(action: Callable[[], object], *words: str) -> str:
    """``action`` is refused in one line that holds all the words."""
    with pytest.raises(BadInput) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text and len(text) < 600
    assert all(word in text for word in words), text
    return text


def opened(path: Path) -> Any:
    """The content of a torch file."""
    return load(path, path, LIMITS)


# --- torch files: what is loaded -----------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True])
def test_plain_content_is_loaded(tmp_path: Path, legacy: bool) -> None:
    value: dict[str, Any] = {
        "x": torch.randn(2, 3, requires_grad=True), "p": torch.nn.Parameter(torch.ones(2)),
        "list": [1, 2.5, "text", None, True, (torch.arange(3),)],
        "numbers": [np.float64(0.25), np.float32(0.5), np.int64(3), np.bool_(True)],
        "arrays": [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.eye(2)), np.array(2)],
        "big": np.array([1, 2], dtype=">i4"),
    }  # fmt: skip
    path = tmp_path / "a.pt"
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    found = opened(path)
    assert torch.equal(found["x"], value["x"]) and not found["x"].requires_grad
    assert not found["p"].requires_grad and found["list"][:5] == [1, 2.5, "text", None, True]
    assert torch.equal(found["list"][5][0], torch.arange(3))
    assert found["numbers"] == [0.25, 0.5, 3, True]
    assert [type(number) for number in found["numbers"]] == [float, float, int, bool]
    for mine, theirs in zip(found["arrays"], value["arrays"], strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs)
    assert found["big"].tolist() == [1, 2]


@pytest.mark.parametrize("legacy", [False, True])
def test_skeletons_have_shapes_and_no_numbers(tmp_path: Path, legacy: bool) -> None:
    torch.save([torch.zeros(4, 3, 8, 8), torch.arange(4), np.float64(1)], tmp_path / "a.pt",
               _use_new_zipfile_serialization=not legacy)  # fmt: skip
    x, y, number = skeleton(tmp_path / "a.pt", "a.pt", LIMITS)
    assert (x.shape, x.dtype, x.device.type) == ((4, 3, 8, 8), torch.float32, "meta")
    assert y.dtype == torch.int64 and number == 0.0


def test_files_of_numpy_1_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"s": np.float64(0.5), "a": np.arange(3.0)}, path)
    rewrite(path, lambda data: data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    found = opened(path)
    assert found["s"] == 0.5 and found["a"].tolist() == [0, 1, 2]


def test_the_tensors_do_not_hang_on_the_file(tmp_path: Path) -> None:
    torch.save(torch.arange(4.0), tmp_path / "a.pt")
    found = opened(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes(b"\0" * (tmp_path / "a.pt").stat().st_size)
    assert found.tolist() == [0, 1, 2, 3]


# --- torch files: what is refused ----------------------------------------------------------------


def rewrite(
    path: Path, pickled: Callable[[bytes], bytes], *, data: bytes | None = None,
    compression: int = zipfile.ZIP_STORED, extra: str | None = None,
) -> None:  # fmt: skip
    """Change the parts of a torch file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            part = pickled(content) if name.endswith("data.pkl") else content
            archive.writestr(name, data if data is not None and "/data/" in name else part)
        if extra is not None:
            archive.writestr(extra, b"")


class Payload:
    """Runs a command when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_not_run(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "images_best.pt"
    torch.save([torch.zeros(2, 3, 8, 8), Payload(tmp_path / "pwned")], path,
               _use_new_zipfile_serialization=not legacy)  # fmt: skip
    refused(lambda: opened(path), "images_best.pt", "posix.system")
    refused(lambda: read(path), "posix.system")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_plain_pickles_are_not_opened(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Payload(tmp_path / "pwned"), protocol=protocol))
    refused(lambda: opened(tmp_path / "a.pt"), "a.pt")
    refused(lambda: read(tmp_path / "a.pt"), "a.pt")


def test_pickled_classes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("gzoo2_dataset")
    cls = type("GZooDataset", (), {"__module__": "gzoo2_dataset"})
    module.GZooDataset = cls  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gzoo2_dataset", module)
    torch.save(cls(), tmp_path / "gzoo_dataset.pt")
    refused(lambda: read(tmp_path / "gzoo_dataset.pt"), "gzoo2_dataset.GZooDataset", "real images")


@pytest.mark.parametrize("legacy", [False, True])
def test_truncation_is_one_line(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "images_best.pt"
    torch.save(torch.zeros(4, 3, 8, 8), path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for length in (0, 3, 20, 200, len(whole) // 2, len(whole) - 8):
        path.write_bytes(whole[:length])
        refused(lambda: opened(path), "images_best.pt")
        refused(lambda: read(path), "images_best.pt")


def test_damage_never_escapes(tmp_path: Path) -> None:
    """Random changes of a byte or two: read, or refused in one line."""
    random_number = random.Random(0)
    for legacy in (False, True):
        path = tmp_path / f"{legacy}.pt"
        torch.save([torch.ones(2, 2), np.float64(0.5), {"a": np.arange(3)}], path,
                   _use_new_zipfile_serialization=not legacy)  # fmt: skip
        whole = path.read_bytes()
        outcomes = set()
        for _ in range(120):
            changed = bytearray(whole)
            for _ in range(random_number.randint(1, 2)):
                changed[random_number.randrange(len(changed))] = random_number.randrange(256)
            path.write_bytes(changed)
            try:
                opened(path)
                outcomes.add("read")
            except BadInput as error:
                assert "\n" not in str(error)
                outcomes.add("refused")
        assert outcomes == {"read", "refused"}


def test_compressed_and_foreign_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(torch.zeros(1000), path)
    rewrite(path, bytes, compression=zipfile.ZIP_DEFLATED)
    refused(lambda: opened(path), "compressed member")
    torch.save(torch.zeros(10), path)
    rewrite(path, bytes, extra="a/code/__torch__.py")
    refused(lambda: opened(path), "code/__torch__.py")
    torch.save(torch.zeros(10), path)
    rewrite(path, bytes, extra="../a/data/9")
    refused(lambda: opened(path), "../a/data/9")


def test_files_of_two_kinds_at_once_are_refused(tmp_path: Path) -> None:
    """Bytes that one reader takes for the legacy container and another for a zip."""
    torch.save(torch.zeros(2), tmp_path / "zip.pt")
    torch.save(torch.zeros(2), tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    both = (tmp_path / "a.pt").read_bytes() + (tmp_path / "zip.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(both)
    assert opened(tmp_path / "a.pt").tolist() == [0, 0]  # what its beginning says
    (tmp_path / "b.pt").write_bytes(b"PK\3\4" + both)
    refused(lambda: opened(tmp_path / "b.pt"), "b.pt")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(torch.zeros(1).expand(10**6, 10**6), path)  # strides 0: a header of 10^12 numbers
    refused(lambda: opened(path), "[1000000, 1000000]")
    torch.save(torch.zeros(1000), path)
    rewrite(path, bytes, data=b"\0" * 100)  # storage shorter than declared
    refused(lambda: opened(path), "4000 bytes", "100")


class _Declaring(pickle.Pickler):
    """Pickles a tensor that declares 10^12 numbers."""

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, torch.storage.TypedStorage | torch.UntypedStorage):
            return ("storage", torch.FloatStorage, "0", "cpu", 10**12, None)
        return None


def test_declared_sizes_are_held_against_a_legacy_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with path.open("wb") as file:
        file.write(TORCH_LEGACY)
        for value in (1001, {"little_endian": True}):
            pickle.dump(value, file, protocol=2)
        _Declaring(file, protocol=2).dump(torch.zeros(4))
        pickle.dump(["0"], file, protocol=2)
        file.write(struct.pack("<q", 10**12) + b"\0" * 16)
    refused(lambda: opened(path), "more than the file holds")


def test_the_same_numbers_many_times_are_refused(tmp_path: Path) -> None:
    block = torch.zeros(100_000)
    torch.save([block.view(1, -1) for _ in range(50)], tmp_path / "a.pt")
    refused(lambda: opened(tmp_path / "a.pt"), "many tensors")


def test_deep_and_repeated_lists_are_refused(tmp_path: Path) -> None:
    value: list[Any] = []
    for _ in range(25):
        value = [value, value]  # 2^25 lists by reference
    torch.save(value, tmp_path / "a.pt")
    refused(lambda: opened(tmp_path / "a.pt"), "nests")
    ring: list[Any] = []
    ring.append(ring)
    torch.save(ring, tmp_path / "a.pt")
    refused(lambda: opened(tmp_path / "a.pt"), "nests")


@pytest.mark.parametrize(
    "value",
    [
        np.array([{}], dtype=object),
        np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]),
        np.array(["text"]),
        np.datetime64("2020-01-01"),
        np.complex128(1j),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(3).to_sparse(),
        {1, 2},
    ],
    ids=["objects", "record", "text", "date", "complex", "complex tensor", "sparse", "set"],
)
def test_other_than_plain_numbers_are_refused(tmp_path: Path, value: Any) -> None:
    torch.save({"a": value}, tmp_path / "a.pt")
    refused(lambda: opened(tmp_path / "a.pt"), "a.pt")


@pytest.mark.parametrize(("value", "count"), [(float("nan"), 2), (float("inf"), 1)])
def test_values_that_are_not_finite_are_counted(tmp_path: Path, value: float, count: int) -> None:
    x = torch.zeros(2, 3)
    x.view(-1)[:count] = value
    torch.save({"data": [x]}, tmp_path / "a.pt")
    refused(lambda: opened(tmp_path / "a.pt"), "['data'][0]", f"{count} of 6", "not finite")


def test_sizes_are_limited(tmp_path: Path) -> None:
    path = tmp_path / "images_best.pt"
    torch.save(torch.zeros(4, 3, 8, 8), path)
    refused(lambda: load(path, path, Limits(file_bytes=1000)), "bytes, more than the 1000")
    refused(lambda: load(path, path, Limits(elements=700)), "more than 700 numbers")
    refused(lambda: read(path, limits=Limits(elements=700)), "more than 700 numbers")


# --- sources -------------------------------------------------------------------------------------


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "images_best.pt").symlink_to(tmp_path / "secret")
    refused(lambda: read(folder), "images_best.pt", "outside")
    (folder / "images_best.pt").unlink()
    (folder / "a").symlink_to(tmp_path)
    refused(lambda: read(folder), "outside")


def test_names_do_not_lead_outside(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with Source.open(tmp_path / "set") as source:
        for name in ("../x", "/etc/passwd", "a/../../x"):
            refused(lambda name=name: source.file(name), "outside")  # type: ignore[misc]
            assert not source.has(name)


def test_special_files_and_many_entries_are_refused(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}").write_text("")
    refused(lambda: read(tmp_path, limits=Limits(files=3)), "more than 3 entries")
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: read(tmp_path), "pipe")
    refused(lambda: read(tmp_path / "pipe"), "neither a file nor a folder")
    refused(lambda: read(tmp_path / "nothing"), "nothing", "No such file")


def test_an_archive_is_unpacked_and_removed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    torch.save(torch.randn(6, 3, 8, 8), folder / "images_best.pt")
    torch.save(torch.arange(3).repeat_interleave(2), folder / "labels_best.pt")
    archive = Path(shutil.make_archive(str(tmp_path / "set"), "gztar", folder))
    plain, packed = read(folder), read(archive)
    assert packed.format == "trajectory" and packed.files == plain.files
    assert torch.equal(packed.sets[0].x, plain.sets[0].x)


# --- detection -----------------------------------------------------------------------------------


def saved(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("replay_buffer_0.pt", [[[torch.zeros(2)] * 4] * 3] * 2, "expert buffer"),
        ("net.pt", {"features.0.weight": torch.zeros(2, 2)}, "checkpoint of a network"),
        ("net.pt", {"state_dict": {"w": torch.zeros(2)}, "epoch": 3}, "checkpoint of a network"),
        ("tinyimagenet.pt", {"images_train": torch.zeros(1, 3, 2, 2)}, "real images"),
        ("ckpt.pt", {"image_syn": IMAGES, "iter": 3}, "images_*.pt"),
        ("results.pth", [(IMAGES, torch.arange(6), torch.ones(1))] * 3, "sequence of steps"),
        ("x.pt", IMAGES, "images_best.pt"),
        ("y.pt", torch.arange(6), "labels alone"),
        ("lr.pt", torch.tensor(0.1), "point at the images"),
        ("list.pt", ["a"], "no format that is known"),
    ],
)
def test_what_is_no_set_is_called_by_its_name(
    tmp_path: Path, name: str, value: Any, words: str
) -> None:
    refused(lambda: read(saved(tmp_path / name, value)), name, words)


def test_previews_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vis_0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    refused(lambda: read(tmp_path / "vis_0.png"), "previews")
    refused(lambda: read(tmp_path), "previews")


def test_our_own_results_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "a-s0.h5"
    attrs = {"recipe": "name: a\n", "key": "0" * 12, "seed": 0, "status": "distilled"}
    x = torch.zeros(2, 1, 4, 4)
    store.write(path, store.Result(attrs, DistilledSet(x, torch.arange(2), Space("unit"))))
    refused(lambda: read(path), "ddbench result already")
    path.write_bytes(path.read_bytes()[:3000])
    refused(lambda: read(path), "a-s0.h5")


def test_unknown_material_says_what_was_looked_at(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    text = refused(lambda: read(tmp_path / "notes.txt"), "no format that is known", "hello")
    assert all(name in text for name in names())
    refused(lambda: read(tmp_path), "notes.txt")
    (tmp_path / "notes.txt").unlink()
    refused(lambda: read(tmp_path), "empty")


def test_two_formats_in_one_folder_are_a_question(tmp_path: Path) -> None:
    saved(tmp_path / "images_best.pt", IMAGES)
    saved(tmp_path / "images.pt", IMAGES + 1)
    refused(lambda: read(tmp_path), "several ways", "--format", "ddranking, trajectory")
    assert torch.equal(read(tmp_path, Options(format="ddranking")).sets[0].x, IMAGES + 1)
    reading = read(tmp_path, Options(format="trajectory"))
    assert reading.format == "trajectory" and reading.reasons[0].startswith("images_best.pt")


@pytest.mark.parametrize("name", ["trajectory", "res_dict", "idc", "ddranking", "dcbench"])
def test_a_format_that_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "a.pt", {"a": IMAGES})
    refused(lambda: read(tmp_path / "a.pt", Options(format=name)), "a.pt")
    (tmp_path / "b").mkdir()
    refused(lambda: read(tmp_path / "b", Options(format=name)), "holds no")


def test_unknown_formats_are_corrected(tmp_path: Path) -> None:
    saved(tmp_path / "images_best.pt", IMAGES)
    refused(lambda: read(tmp_path, Options(format="trajektory")), "did you mean 'trajectory'")


def test_replicates(tmp_path: Path) -> None:
    data = [[IMAGES + index, torch.arange(6)] for index in range(3)]
    path = saved(tmp_path / "res_DM_CIFAR10_ConvNet_1ipc.pt", {"data": data})
    (found,) = read(path, Options(replicate=2)).sets
    assert torch.equal(found.x, IMAGES + 2)
    assert (found.hints["replicate"], found.hints["replicates"]) == (2, 3)
    refused(lambda: read(path, Options(replicate=3)), "--replicate", "0 to 2")


# --- settling ------------------------------------------------------------------------------------

CIFAR100 = datasets.facts("cifar100")
CIFAR10 = datasets.facts("cifar10")
MNIST = datasets.facts("mnist")


def space_of(facts: datasets.DatasetFacts, family: str = "dc") -> Space:
    """The dataset's normalised space."""
    constants = facts.constants[family]
    return Space("meanstd", mean=constants.mean, std=constants.std)


def pixels(count: int = 10, seed: int = 0) -> Tensor:
    """CIFAR-sized images in [0, 1] whose statistics look like real ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 32, 32, generator=generator).mul_(0.9).add_(0.03)


def found_set(**fields: Any) -> Found:
    """Ten CIFAR-10 images in DC's space with hard labels, but for ``fields``."""
    own: dict[str, Any] = {
        "x": normalise(pixels(), space_of(CIFAR10)), "y": torch.arange(10), "space": "meanstd",
        "constants": "dc", "kind": "index",
    }  # fmt: skip
    return Found(**own | fields)


def settled(
    found: Found, facts: datasets.DatasetFacts = CIFAR10, into: Space | None = None, **options: Any
) -> Settled:
    """``found`` in the space ``into``, default the dataset's with DC's constants."""
    return settle(found, Options(**options), facts, into or space_of(facts), file="set.pt")


def test_nothing_to_settle_keeps_every_bit() -> None:
    found = found_set(lr=0.02)
    result = settled(found)
    assert torch.equal(result.data_set.x, found.x) and result.data_set.lr == 0.02
    assert result.data_set.space == space_of(CIFAR10) and result.notes == ()
    assert result.answers["space"] == {"value": "meanstd", "from": "format"}
    assert result.answers["constants"] == {"value": "dc", "from": "format"}


def test_constants_of_cifar100_there_and_back() -> None:
    x = normalise(pixels(100), space_of(CIFAR100, "dc"))
    there = settled(
        found_set(x=x, y=torch.arange(100)), CIFAR100, space_of(CIFAR100, "mtt")
    ).data_set
    wanted = normalise(pixels(100), space_of(CIFAR100, "mtt"))
    torch.testing.assert_close(there.x, wanted, rtol=0, atol=1e-6)
    assert float((there.x - x).abs().max()) > 0.1
    back = settled(
        found_set(x=there.x, y=torch.arange(100), constants="mtt"), CIFAR100,
        space_of(CIFAR100, "dc"),
    )  # fmt: skip
    torch.testing.assert_close(back.data_set.x, x, rtol=0, atol=1e-6)


def test_pixels_are_normalised_and_not_clamped() -> None:
    x = pixels()
    x[0, 0, 0, 0] = 1.04
    result = settled(found_set(x=x, space="unit", constants=None))
    torch.testing.assert_close(result.data_set.x, normalise(x.double(), space_of(CIFAR10)).float())
    as_bytes = (pixels() * 255).to(torch.uint8)
    result = settled(found_set(x=as_bytes, space=None, constants=None))
    wanted = normalise(as_bytes.float() / 255, space_of(CIFAR10))
    torch.testing.assert_close(result.data_set.x, wanted, rtol=0, atol=1e-6)
    assert result.answers["space"]["from"] == "evident"
    result = settled(found_set(x=as_bytes, space=None, constants=None), into=Space("unit"))
    assert torch.equal(result.data_set.x, as_bytes.float() / 255)
    refused(lambda: settled(found_set(x=as_bytes, space=None), space="zca"), "8-bit", "--space")


def test_an_open_space_is_a_question_with_a_guess() -> None:
    found = found_set(space=None)
    refused(lambda: settled(found), "set.pt", "--space", "'meanstd'", "kip_zca")
    refused(lambda: settled(found_set(x=pixels(), space=None)), "perhaps 'unit'")
    assert settled(found, space="meanstd").answers["space"]["from"] == "user"


def test_a_space_that_the_statistics_contradict() -> None:
    found = found_set(x=pixels())  # pixels, said to be normalised
    refused(lambda: settled(found), "'meanstd'", "look like 'unit'", "--space")
    assert settled(found, space="meanstd").answers["space"]["from"] == "user"
    notes = settled(found, space="unit").notes
    assert any("format says space 'meanstd'" in note for note in notes)
    refused(lambda: settled(found_set(space="unit", constants=None)), "look like 'meanstd'")


def test_pixels_are_whitened_for_a_whitened_dataset() -> None:
    digits = datasets.facts("digits")
    x = torch.rand(10, *digits.shape, generator=torch.Generator().manual_seed(0))
    space = Space("zca", whitening=zca.fit(torch.rand(100, *digits.shape)))
    result = settled(found_set(x=x, space="unit", constants=None), digits, space)
    torch.testing.assert_close(result.data_set.x, normalise(x, space))
    torch.testing.assert_close(unnormalise(result.data_set.x, space, clamp=False), x)


def test_whitened_sets_need_a_whitened_dataset() -> None:
    x = torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.25
    found = found_set(x=x, space="zca")
    refused(lambda: settled(found), "dataset.zca", "true")
    result = settled(found, into=Space("zca"))
    assert torch.equal(result.data_set.x, x) and "whitening" in result.notes[0]
    assert proposals(found, Options()) == {"zca": True}
    kip = found_set(x=x, space="kip_zca")
    refused(lambda: settled(kip), "kip_zca", "dataset.zca", "kip")
    assert torch.equal(settled(kip, into=Space("kip_zca")).data_set.x, x)
    assert proposals(kip, Options()) == {"zca": "kip"}


def test_constants() -> None:
    found = found_set(x=normalise(pixels(100), space_of(CIFAR100)), y=torch.arange(100),
                      constants=None)  # fmt: skip
    refused(lambda: settled(found, CIFAR100), "--constants", "dc, mtt")
    refused(lambda: settled(found, CIFAR100, constants="mtz"), "mtz", "dc, gvbsm, mtt")
    assert settled(found, CIFAR100, constants="mtt").answers["constants"]["from"] == "user"
    refused(lambda: settled(found_set(x=pixels(), space="unit"), constants="dc"), "--constants")
    own = MNIST.model_copy(update={"constants": {}, "name": "npz"})
    grey = found_set(x=torch.randn(10, 1, 28, 28), constants=None)
    space = Space("meanstd", mean=(0.1,), std=(0.3,))
    assert settled(grey, own, space).answers["constants"] == {
        "value": "measured",
        "from": "evident",
    }
    refused(lambda: settled(found_set(x=grey.x), own, space), "no published constants")


def test_proposals_spare_a_conversion() -> None:
    found = found_set(constants="mtt")
    spec = datasets.DatasetSpec(name="cifar100")
    assert proposals(found, Options(), spec) == {"constants": "mtt"}
    assert proposals(found, Options(constants="dc"), spec) == {"constants": "dc"}
    assert proposals(found_set(constants="nobody"), Options(), spec) == {}
    assert proposals(found_set(space="unit", constants=None), Options(), spec) == {}


def test_shapes_and_classes_must_be_the_datasets() -> None:
    found = found_set()
    refused(lambda: settled(found, MNIST), "[3, 32, 32]", "mnist", "cifar10, svhn")
    canvas = found_set(x=torch.randn(10, 3, 64, 64))
    refused(lambda: settled(canvas), "[3, 64, 64]", "cifar10")
    refused(lambda: settled(found_set(y=torch.arange(10) + 1)), "labels 1 to 10", "10 classes")
    soft = found_set(y=torch.randn(10, 100), kind="logit")
    refused(lambda: settled(soft), "100 classes", "cifar100")
    refused(lambda: settled(found_set(x=torch.full((10, 3, 32, 32), torch.nan))), "not finite")
    assert "cifar10, svhn" in guess_dataset(found)
    assert "no built-in dataset" in guess_dataset(found_set(y=torch.arange(10) + 50))


# --- settling: labels ----------------------------------------------------------------------------


def test_missing_labels_are_class_major() -> None:
    result = settled(found_set(x=normalise(pixels(20), space_of(CIFAR10)), y=None, kind=None))
    assert result.data_set.y.tolist() == [label for label in range(10) for _ in range(2)]
    assert result.answers["labels"]["value"] == "assumed_class_major"
    assert any("class by class" in note for note in result.notes)
    odd = found_set(x=normalise(pixels(12), space_of(CIFAR10)), y=None, kind=None)
    refused(lambda: settled(odd), "12 images", "--labels")


def test_uneven_classes_are_noted() -> None:
    result = settled(found_set(y=torch.tensor([0, 0, 1, 2, 3, 4, 5, 6, 7, 9])))
    assert any("0 to 2 images" in note for note in result.notes)
    fewer = found_set(x=normalise(pixels(), space_of(CIFAR100)))
    refused(lambda: settled(fewer, CIFAR100), "labels 0 to 9", "100 classes", "cifar10, svhn")


SOFT = torch.randn(10, 10, generator=torch.Generator().manual_seed(3)) + 6 * torch.eye(10)
CENTRED = torch.eye(10) - 0.1


@pytest.mark.parametrize(
    ("y", "proposed", "impossible"),
    [
        (SOFT, "logit", ("probability", "index", "centred")),
        (SOFT.softmax(1), "probability", ("index", "centred")),
        (torch.eye(10), "probability", ("centred",)),
        (CENTRED, "centred", ("probability", "index")),
    ],
    ids=["logit", "probability", "one-hot", "centred"],
)
def test_kinds_of_float_labels(
    y: Tensor, proposed: KindOption, impossible: tuple[KindOption, ...]
) -> None:
    found = found_set(y=y, kind=None)
    refused(lambda: settled(found), "--labels-kind", f"'{proposed}'")
    assert propose_kind(y)[0] == proposed
    result = settled(found, labels_kind=proposed)
    assert result.data_set.kind == proposed and torch.equal(result.data_set.y, y)
    for kind in impossible:
        refused(lambda kind=kind: settled(found, labels_kind=kind), f"'{kind}'")  # type: ignore[misc]


def test_one_hot_labels_may_be_classes() -> None:
    result = settled(found_set(y=torch.eye(10)[[3, 1, 2, 0, 4, 5, 6, 7, 8, 9]], kind=None),
                     labels_kind="index")  # fmt: skip
    assert result.data_set.y.tolist() == [3, 1, 2, 0, 4, 5, 6, 7, 8, 9]


def test_logits_that_look_like_probabilities_are_a_question() -> None:
    found = found_set(y=SOFT.softmax(1), kind="logit")
    refused(lambda: settled(found), "look like probabilities")
    assert settled(found, labels_kind="logit").data_set.kind == "logit"
    refused(lambda: settled(found_set(), labels_kind="logit"), "integer labels")


def test_soft_labels_in_another_order_than_the_rows_are_noted() -> None:
    assert settled(found_set(y=SOFT, kind="logit")).notes == ()
    (note,) = settled(found_set(y=SOFT.roll(1, 0), kind="logit")).notes
    assert note.startswith("Only 0 %")


def test_labels_from_a_file(tmp_path: Path) -> None:
    wanted = torch.tensor([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    torch.save(wanted, tmp_path / "a.pt")
    np.save(tmp_path / "b.npy", wanted.numpy().astype(">i2"))
    np.savez(tmp_path / "c.npz", x=np.zeros(3), labels=wanted.numpy())
    (tmp_path / "d.txt").write_text("\n".join(map(str, wanted.tolist())) + "\n")
    for name in ("a.pt", "b.npy", "c.npz", "d.txt"):
        result = settled(found_set(), labels=str(tmp_path / name))
        assert torch.equal(result.data_set.y, wanted)
        assert result.answers["labels"] == {"value": name, "from": "user"}
    (tmp_path / "e.csv").write_text("\n".join(",".join(map(str, row)) for row in SOFT.tolist()))
    result = settled(found_set(), labels=str(tmp_path / "e.csv"), labels_kind="logit")
    torch.testing.assert_close(result.data_set.y, SOFT)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"cat\ndog\n"), ("a.txt", b"1 2\n3\n"), ("a.txt", b""), ("a.txt", b"\xff\xfe\0"),
        ("a.txt", b"1\n2\n"), ("a.npy", b"\x93NUMPY\1\0\x10\0{'descr': '<f8'"),
        ("a.npz", b"PK\3\4broken"),
    ],
)  # fmt: skip
def test_unusable_label_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(lambda: settled(found_set(), labels=str(tmp_path / name)), name, "--labels")


def test_label_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([Payload(tmp_path / "pwned")] * 10), allow_pickle=True)
    refused(lambda: settled(found_set(), labels=str(tmp_path / "a.npy")), "a.npy", "object")
    refused(lambda: settled(found_set(), labels=str(tmp_path / "missing")), "missing", "--labels")


def test_step_sizes(tmp_path: Path) -> None:
    assert settled(found_set(), lr="0.05").data_set.lr == 0.05
    assert settled(found_set(lr=0.1), lr="0.05,0.01").data_set.lr == (0.05, 0.01)
    torch.save(torch.tensor(0.25), tmp_path / "lr.pt")
    result = settled(found_set(), lr=str(tmp_path / "lr.pt"))
    assert result.data_set.lr == 0.25 and result.answers["lr"]["from"] == "user"
    for wrong in ("-1", "0", "nan", "0.1,inf", str(tmp_path / "none")):
        refused(lambda wrong=wrong: settled(found_set(), lr=wrong), "--lr")  # type: ignore[misc]
    (note,) = settled(found_set(hints={"lr_not_saved": True})).notes
    assert "--lr" in note


# --- settling: the order of classes --------------------------------------------------------------


def test_class_folders_are_numbers_not_words() -> None:
    ids = tuple(sorted(map(str, range(100))))  # 0, 1, 10, 11, ...: how tools sort them
    found = found_set(x=normalise(pixels(100), space_of(CIFAR100)), y=torch.arange(100),
                      class_ids=ids)  # fmt: skip
    assert settled(found, CIFAR100).data_set.y.tolist() == [int(name) for name in ids]
    shifted = found_set(x=found.x, y=found.y, class_ids=tuple(str(i) for i in range(1, 101)))
    refused(lambda: settled(shifted, CIFAR100), "--class-order", "'100'")


def test_classes_by_name() -> None:
    ids = tuple(name.upper() for name in reversed(CIFAR10.classes))
    result = settled(found_set(class_ids=ids))
    assert result.data_set.y.tolist() == list(range(9, -1, -1))
    assert result.answers["class_order"]["from"] == "evident"
    refused(lambda: settled(found_set(class_ids=("cat",) * 10)), "'cat'", "twice")
    refused(lambda: settled(found_set(class_ids=("pot", *ids[1:]))), "'pot'", "--class-order")
    refused(lambda: settled(found_set(class_ids=ids[:9])), "9 classes", "10")


def test_classes_by_wordnet_id_and_imagenet_index() -> None:
    facts = datasets.facts("imagenette")
    assert facts.wnids and facts.indices
    x = torch.randn(10, *facts.shape, generator=torch.Generator().manual_seed(0))
    for ids in (facts.wnids, [f"new{index:03d}" for index in facts.indices]):
        result = settled(found_set(x=x, class_ids=tuple(reversed(list(ids)))), facts)
        assert result.data_set.y.tolist() == list(range(9, -1, -1))


def test_class_order_file(tmp_path: Path) -> None:
    order = [3, 1, 2, 0, 4, 5, 6, 7, 9, 8]
    path = tmp_path / "order.txt"
    path.write_text("# theirs: ours\n" + "\n".join(
        CIFAR10.classes[n] if n % 2 else str(n) for n in order
    ))  # fmt: skip
    assert settled(found_set(), class_order=str(path)).data_set.y.tolist() == order
    soft = settled(found_set(y=SOFT, kind="logit"), class_order=str(path)).data_set.y
    assert torch.equal(soft[:, order], SOFT)
    numbered = found_set(class_ids=tuple(str(n) for n in reversed(range(10))))
    assert settled(numbered, class_order=str(path)).data_set.y.tolist() == order[::-1]
    path.write_text("\n".join("0123456788"))
    refused(lambda: settled(found_set(), class_order=str(path)), "order.txt", "twice")
    path.write_text("cat\n")
    refused(lambda: settled(found_set(), class_order=str(path)), "order.txt", "1 classes")


# --- proposals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "space"),
    [
        (pixels(), "unit"),
        (normalise(pixels(), space_of(CIFAR10)), "meanstd"),
        (torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.25, "zca"),
        (pixels() * 255, "uint8"),
        (torch.full((2, 3, 8, 8), 0.02), "unknown"),
    ],
)
def test_space_proposals(x: Tensor, space: SpaceOption) -> None:
    assert propose_space(x)[0] == space


def test_F_and_selection_pass_through() -> None:
    F = torch.zeros(10, 2, 4)
    result = settled(found_set(F=F, selected_on_test=True))
    assert result.F is F and result.data_set.F is None
    assert any("highest test accuracy" in note for note in result.notes)
    refused(lambda: settled(found_set(F=F[:9])), "F [9, 2, 4]")
