"""Sets of others in folders, archives, npz, HDF5 and safetensors: what is read, and what is not."""

from __future__ import annotations

import io
import json
import lzma
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from ddbench import importers, views_replay
from ddbench.errors import BadInput
from ddbench.importers import Found, _archive, _fkd
from ddbench.importers._source import Limits, Source

FILE_FORMATS = ("class_folders", "hdf5_file", "npz", "safetensors_file")


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test does to an importer, temporary folders are gone afterwards."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    yield
    assert not list(scratch.iterdir())


def imported(name: str, path: Path, limits: Limits | None = None) -> Found:
    """The one set at ``path``; of the formats here, only ``name`` claims it."""
    with Source.open(path, limits) as source:
        claims = [n for n in FILE_FORMATS if importers.importer(n).matches(source)]
        assert claims == [name]
        (found,) = importers.importer(name).read(source)
        assert source.used and all(len(digest) == 64 for digest in source.used.values())
        return found


def refused(name: str, path: Path, words: str, limits: Limits | None = None) -> None:
    """Opening or reading says why not, in one line that names the file."""
    with pytest.raises(BadInput, match=words) as caught, Source.open(path, limits) as source:
        importers.importer(name).matches(source)
        importers.importer(name).read(source)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


def pixels(count: int, side: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray[Any, Any]:
    """uint8 [count, side, side, channels]."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), np.uint8)


def put(path: Path, image: np.ndarray[Any, Any], **options: Any) -> None:
    """One image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(path, **options)


def folder_set(root: Path, names: list[str], x: np.ndarray[Any, Any]) -> Path:
    """Images at ``names`` below ``root``."""
    for name, image in zip(names, x, strict=True):
        put(root / name, image)
    return root


def nchw(x: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(x).permute(0, 3, 1, 2)


# --- class folders -------------------------------------------------------------------------------

FAMILIES = {
    "SRe2L, CDA or G-VBSM": "new{c:03d}/class{c:03d}_id{i:03d}.png",
    "RDED": "{c:05d}/class{c:05d}_id{i:05d}.png",
    "D4M": "{c}/{c}-image{i}0.png",
    "DD-Ranking": "{c:05d}/{i:05d}.png",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_pattern_is_read_class_by_class(family: str, tmp_path: Path) -> None:
    x = pixels(24)
    names = [FAMILIES[family].format(c=c, i=i) for c in range(12) for i in range(2)]
    found = imported("class_folders", folder_set(tmp_path / "set", names, x))
    assert torch.equal(found.x, nchw(x)) and found.x.dtype == torch.uint8
    assert found.y is not None and found.y.tolist() == [c for c in range(12) for _ in range(2)]
    assert (found.space, found.kind, found.class_ids) == ("unit", "index", ())
    assert found.hints["family"] == family and found.views is None


def test_images_of_a_class_are_sorted_by_number(tmp_path: Path) -> None:
    names = [f"{c}/{c}-image{i}.png" for c in (0, 1) for i in (0, 2, 10)]
    x = pixels(6)
    found = imported("class_folders", folder_set(tmp_path / "set", names, x))
    assert torch.equal(found.x, nchw(x))


@pytest.mark.parametrize(
    ("folders", "ids"),
    [
        (["n01440764", "n02102040"], ("n01440764", "n02102040")),
        (["dog", "cat"], ("cat", "dog")),
        (["cat1", "dog0"], ("cat1", "dog0")),
    ],
)
def test_names_of_classes_are_kept(
    folders: list[str], ids: tuple[str, ...], tmp_path: Path
) -> None:
    x = pixels(2)
    found = imported("class_folders", folder_set(tmp_path, [f"a/{f}/0.png" for f in folders], x))
    assert found.class_ids == ids and found.y is not None and found.y.tolist() == [0, 1]
    order = [folders.index(name) for name in ids]
    assert torch.equal(found.x, nchw(x[order])) and found.hints["root"] == "a"


def test_grey_images_have_one_channel_and_mixed_ones_three(tmp_path: Path) -> None:
    grey, colour = pixels(2, channels=1), pixels(1)
    found = imported("class_folders", folder_set(tmp_path / "g", ["0/0.png", "1/0.png"], grey))
    assert torch.equal(found.x, nchw(grey))
    put(tmp_path / "g" / "1" / "1.png", colour[0])
    found = imported("class_folders", tmp_path / "g")
    assert torch.equal(found.x[:2], nchw(grey).expand(-1, 3, -1, -1))
    assert torch.equal(found.x[2:], nchw(colour))


def test_palettes_and_opaque_rgba_are_read_as_rgb(tmp_path: Path) -> None:
    x = pixels(2)
    for name, mode in (("0/0.png", "RGBA"), ("1/0.png", "P")):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(x[0] // 128 * 255).convert(mode).save(path)
    found = imported("class_folders", tmp_path / "set")
    assert torch.equal(found.x[0], nchw(x)[0] // 128 * 255)
    path = tmp_path / "set" / "0" / "1.png"
    Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save(path)
    refused("class_folders", tmp_path / "set", "transparent")


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims its size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def bad_image(case: str) -> tuple[str, bytes]:
    """Name and bytes of an image that is refused."""
    stream = io.BytesIO()
    if case == "truncated":
        Image.fromarray(pixels(1, side=64)[0]).save(stream, "JPEG")
        return "9.jpg", stream.getvalue()[:-400]
    if case == "no PNG":
        Image.fromarray(pixels(1)[0]).save(stream, "JPEG")
        return "9.png", stream.getvalue()
    if case == "mode":
        Image.fromarray(np.zeros((8, 8), np.uint16)).save(stream, "PNG")
        return "9.png", stream.getvalue()
    if case == "gif":
        Image.fromarray(pixels(1)[0]).save(stream, "GIF")
        return "9.gif", stream.getvalue()
    side = {"bomb": 60_000, "large": 5_000, "size": 9}[case]
    return "9.png", png_of(side, side)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("truncated", "cannot be decoded"),
        ("no PNG", "is no PNG"),
        ("mode", "mode I"),
        ("gif", "of a kind that is not read"),
        ("bomb", "more pixels than"),
        ("large", "claims 5000x5000"),
        ("size", "cannot be decoded"),
    ],
)
def test_an_unusable_image_is_refused(case: str, words: str, tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set", ["0/0.png", "1/0.png"], pixels(2))
    name, data = bad_image(case)
    (root / "1" / name).write_bytes(data)
    refused("class_folders", root, words)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["1/0.png", "01/0.png"], "two folders of one number"),
        (["a/0/0.png", "a/1/0.png", "b/0/0.png", "b/1/0.png"], "several places.*allowed: a, b"),
        (["0/0.png"], "no two folders"),
    ],
)
def test_unclear_folders_are_refused(names: list[str], words: str, tmp_path: Path) -> None:
    refused("class_folders", folder_set(tmp_path / "set", names, pixels(len(names))), words)


def test_mixed_sizes_and_too_many_pixels_are_refused(tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set", ["0/0.png", "1/0.png"], pixels(2))
    refused("class_folders", root, "too many", Limits(elements=100))
    put(root / "1" / "1.png", pixels(1, side=9)[0])
    refused("class_folders", root, "9x9 pixels, '0/0.png' 8x8")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set", ["0/0.png", "1/0.png"], pixels(2))
    put(tmp_path / "secret.png", pixels(1)[0])
    (root / "1" / "1.png").symlink_to(tmp_path / "secret.png")
    refused("class_folders", root, "link that leads outside")


# --- archives ------------------------------------------------------------------------------------


def archive_of(root: Path, path: Path) -> Path:
    """``root`` packed as the ending of ``path`` says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(root.rglob("*")):
                archive.write(file, Path("outer", file.relative_to(root)))
    else:
        kind = path.suffix.removeprefix(".")
        with tarfile.open(path, f"w:{'' if kind == 'tar' else kind}") as archive:
            archive.add(root, "outer")
    return path


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tar.xz", "tar.bz2"])
def test_an_archive_is_read_like_its_folder(ending: str, tmp_path: Path) -> None:
    names = [f"{c}/{i}.png" for c in range(3) for i in range(2)]
    root = folder_set(tmp_path / "set", names, pixels(6))
    path = archive_of(root, tmp_path / f"set.{ending}")
    assert _archive.is_archive(path)
    packed, plain = imported("class_folders", path), imported("class_folders", root)
    assert torch.equal(packed.x, plain.x) and packed.hints["root"] == "outer"
    assert packed.y is not None and plain.y is not None and torch.equal(packed.y, plain.y)


def test_files_of_torch_and_numpy_are_no_archives(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "batch_0.tar")
    np.savez(tmp_path / "a.npz", x=np.zeros(1))
    with lzma.open(tmp_path / "a.xz", "wb") as stream:
        stream.write(b"text" * 500)
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8bno")
    for path in tmp_path.glob("*.*"):
        assert not _archive.is_archive(path), path.name


def entry(name: str, mode: int = 0o644 | stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([entry("a/../../evil.png")], "leads out"),
        ([entry("/tmp/evil.png")], "leads out"),
        ([entry("a\\..\\evil.png")], "leads out"),
        ([entry("link", 0o777 | stat.S_IFLNK)], "no plain file"),
        ([entry("pipe", 0o777 | stat.S_IFIFO)], "no plain file"),
        ([entry("a.png"), entry("a.png")], "twice"),
        ([entry(f"{i}.png") for i in range(9)], "more files"),
    ],
)
def test_a_hostile_zip_is_refused(
    members: list[zipfile.ZipInfo], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, b"/etc/passwd")
    refused("class_folders", path, words, Limits(files=8))
    assert not (tmp_path / "evil.png").exists()


def test_zip_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("aa", b"0" * 100)
        archive.writestr("bb", b"0" * 100)
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 0)  # the header of the first
    path.write_bytes(data)
    refused("class_folders", path, "share their bytes")


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_a_bomb_is_stopped_early(ending: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    (root / "zeros").write_bytes(bytes(8 << 20))
    path = archive_of(root, tmp_path / f"set.{ending}")
    assert path.stat().st_size < 1 << 14
    refused("class_folders", path, "unpacks to far more", Limits(total_bytes=1 << 20))
    assert _archive.unpacked_limit(1 << 20, Limits()) == 100 << 20


def test_a_zip_whose_sizes_lie_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1 << 20))
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<I", 10)  # its uncompressed size
    path.write_bytes(data)
    refused("class_folders", path, "damaged archive")


def tar_member(kind: bytes, name: str = "a.png", link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (tar_member(tarfile.SYMTYPE, link="/etc/passwd"), "no plain file"),
        (tar_member(tarfile.LNKTYPE, link="../x"), "no plain file"),
        (tar_member(tarfile.CHRTYPE), "no plain file"),
        (tar_member(tarfile.FIFOTYPE), "no plain file"),
        (tar_member(tarfile.REGTYPE, "../evil"), "leads out"),
        (tar_member(tarfile.REGTYPE, "/evil"), "leads out"),
    ],
)
def test_a_hostile_tar_is_refused(member: tarfile.TarInfo, words: str, tmp_path: Path) -> None:
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(member)
    refused("class_folders", path, words)
    assert not (tmp_path / "evil").exists()


def test_a_tar_with_a_repeated_name_a_long_header_or_its_end_missing(tmp_path: Path) -> None:
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
        archive.addfile(tarfile.TarInfo("a"))
    refused("class_folders", path, "twice")
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        long = tarfile.TarInfo("a")
        long.pax_headers = {"comment": "x" * (2 << 20)}
        archive.addfile(long)
    refused("class_folders", path, "header is too long")
    with tarfile.open(path, "w") as archive:
        large = tarfile.TarInfo("a")
        large.size = 5000
        archive.addfile(large, io.BytesIO(bytes(5000)))
    path.write_bytes(path.read_bytes()[:2000])
    refused("class_folders", path, "damaged archive")


# --- FKD stores ----------------------------------------------------------------------------------


def batch(rows: int, classes: int = 4, seed: int = 0, **changes: Any) -> list[Any]:
    """A stored batch with CutMix; ``changes`` replaces items by their place (``_0``, ...)."""
    generator = torch.Generator().manual_seed(seed)
    items: list[Any] = [
        torch.tensor([0.25, 0.0, 0.5, 0.75]).expand(rows, 4).clone(),
        torch.rand(rows, generator=generator) < 0.5,
        torch.randperm(rows, generator=generator),
        0.75,
        [np.int64(value) for value in (0, 1, 4, 5)],
        torch.randn(rows, classes, generator=generator).half(),
    ]
    for place, value in changes.items():
        items[int(place[1:])] = value
    return items


def store_at(root: Path, epochs: list[list[list[Any]]]) -> None:
    for e, batches in enumerate(epochs):
        for b, items in enumerate(batches):
            (root / f"epoch_{e}").mkdir(parents=True, exist_ok=True)
            torch.save(items, root / f"epoch_{e}" / f"batch_{b}.tar")


def sampled(
    schedule: _fkd.Schedule, epochs: int, classes: int, ipc: int, agree: float = 0.8
) -> list[list[list[Any]]]:
    """A store without indices, whose logits name the class with probability ``agree``."""
    labels = torch.arange(classes).repeat_interleave(ipc)
    order = _fkd.sampler_order(len(labels), epochs, schedule)
    generator = torch.Generator().manual_seed(1)
    stored = []
    for row in order:
        kept = torch.rand(len(row), generator=generator) < agree
        other = torch.randint(classes, (len(row),), generator=generator)
        logits = torch.nn.functional.one_hot(torch.where(kept, labels[row], other), classes).half()
        stored.append([batch(len(part), _5=part) for part in logits.split(16)])
    return stored


def labelled(root: Path, classes: int = 5, ipc: int = 8) -> Path:
    """Images of ``classes`` x ``ipc``."""
    names = [
        f"syn/new{c:03d}/class{c:03d}_id{i:03d}.png" for c in range(classes) for i in range(ipc)
    ]
    return folder_set(root, names, pixels(len(names)))


@pytest.mark.parametrize("schedule", ["two_per_epoch", "one_per_epoch"])
def test_the_order_of_rows_is_told_by_the_labels(schedule: _fkd.Schedule, tmp_path: Path) -> None:
    root = labelled(tmp_path / "set")
    store_at(root / "labels" / "run", sampled(schedule, 3, 5, 8))
    found = imported("class_folders", root)
    assert found.hints["fkd"]["order"] == schedule
    agreement = found.hints["fkd"]["agreement"]
    assert agreement[schedule] > 0.7 and min(agreement.values()) < 0.5
    assert json.loads(json.dumps(found.hints)) == found.hints
    assert found.views is not None and found.views.path == str(root.resolve() / "labels" / "run")
    assert len(found.views.checksums) == 9 and "epoch_2/batch_2.tar" in found.views.checksums
    assert found.kind == "index"
    files = (root / "labels").rglob("*.tar")
    assert found.hints["view_bytes"] == sum(file.stat().st_size for file in files)


def test_one_epoch_tells_the_order_and_chance_does_not(tmp_path: Path) -> None:
    root = labelled(tmp_path / "set")
    store_at(root / "fkd", sampled("one_per_epoch", 1, 5, 8))
    assert imported("class_folders", root).hints["fkd"]["order"] == "two_per_epoch"
    store_at(root / "fkd", sampled("one_per_epoch", 2, 5, 8, agree=0.0))
    assert imported("class_folders", root).hints["fkd"]["order"] is None


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("_0", torch.zeros(4, 3), "crop boxes are"),
        ("_0", torch.full((4, 4), 0.9), "leaves the image"),
        ("_1", torch.zeros(4), "flips are"),
        ("_2", torch.zeros(4, dtype=torch.int64), "no permutation"),
        ("_2", torch.arange(4.0), "int64"),
        ("_2", None, "do not come together"),
        ("_3", 1.5, "lambda is 1.5"),
        ("_3", None, "do not come together"),
        ("_3", "many", "no valid batch"),
        ("_4", [3, 0, 1, 4], "turned around"),
        ("_4", [0, 1, 2], "four integers"),
        ("_4", [0, 1, 2, 2.5], "four integers"),
        ("_5", torch.zeros(4, 4, dtype=torch.int64), "logits are int64"),
    ],
)
def test_a_strange_batch_is_refused(place: str, value: Any, words: str, tmp_path: Path) -> None:
    torch.save(batch(4, **{place: value}), tmp_path / "batch_0.tar")
    with Source.open(tmp_path) as source, pytest.raises(BadInput, match=words):
        _fkd.read_batch(source, "batch_0.tar")


def test_a_batch_without_mix_or_with_mixup_is_read(tmp_path: Path) -> None:
    torch.save(batch(4, _2=None, _3=None, _4=None), tmp_path / "plain.tar")
    torch.save([*batch(4, _4=None), torch.tensor([3, 0, 1, 2])], tmp_path / "mixup.tar")
    torch.save({"a": 1}, tmp_path / "none.tar")
    with Source.open(tmp_path) as source:
        plain, mixup = (_fkd.read_batch(source, f"{name}.tar") for name in ("plain", "mixup"))
        assert (plain.mix, mixup.mix, len(plain)) == ("none", "mixup", 4)
        assert mixup.index is not None and mixup.index.tolist() == [3, 0, 1, 2]
        with pytest.raises(BadInput, match="no batch of soft labels"):
            _fkd.read_batch(source, "none.tar")


def broken_store(root: Path, case: str) -> None:
    stored = sampled("two_per_epoch", 2, 5, 8)
    if case == "rows":
        stored[1].pop()
        stored[0].pop()
    if case == "kind":
        stored[0][1] = batch(16, 5, _4=None)
    if case == "classes":
        stored = [[[*items[:5], items[5][:, :4]] for items in epoch] for epoch in stored]
    if case == "twice":
        index = [torch.zeros(16, dtype=torch.int64), torch.arange(16), torch.arange(8)]
        stored = [[[*i, n] for i, n in zip(e, index, strict=True)] for e in stored]
    store_at(root / "fkd", stored)
    if case == "missing":
        (root / "fkd" / "epoch_1" / "batch_0.tar").unlink()
    if case == "two":
        shutil.copytree(root / "fkd", root / "fkd2")


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("rows", "32 rows for 40 images"),
        ("kind", "same kind as the first"),
        ("classes", "labels 4 classes, the folders go to 4"),
        ("twice", "every image once"),
        ("missing", "lacks batches"),
        ("two", "several stores"),
    ],
)
def test_labels_that_do_not_belong_to_the_images_are_refused(
    case: str, words: str, tmp_path: Path
) -> None:
    root = labelled(tmp_path / "set")
    broken_store(root, case)
    refused("class_folders", root, words)


def test_labels_without_images_in_an_archive_or_in_another_order_are_refused(
    tmp_path: Path,
) -> None:
    store_at(tmp_path / "fkd", sampled("two_per_epoch", 1, 2, 11))
    refused("class_folders", tmp_path / "fkd", "soft labels alone are no set")
    names = [f"{c}/{i}.png" for c in range(2) for i in range(11)]
    root = folder_set(tmp_path / "set", names, pixels(22))
    shutil.copytree(tmp_path / "fkd", root / "fkd")
    refused("class_folders", root, "pad the numbers")
    packed = archive_of(root, tmp_path / "set.zip")
    refused("class_folders", packed, "referenced and not copied")


@pytest.mark.golden
@pytest.mark.parametrize(
    ("writer", "store"),
    [("gvbsm", "gvbsm"), ("gvbsm", "gvbsm_norm"), ("sre2l", "sre2l"), ("rded", None)],
)
def test_golden_folders_and_labels(
    golden: Callable[[str], Any], writer: str, store: str | None, tmp_path: Path
) -> None:
    """Every file that the references wrote; the teachers' inputs are rebuilt from them."""
    data = golden("decoupled/relabel.npz")
    for name in data.files:
        target = name.removeprefix(f"tree/{writer}/file/")
        if target == name and (target := name.removeprefix(f"fkd/{store}/")) != name:
            target = f"fkd/{target.removesuffix('/file')}.tar" if name.endswith("/file") else name
        if target != name:
            (tmp_path / "set" / target).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / target).write_bytes(data[name].tobytes())
    found = imported("class_folders", tmp_path / "set")
    decoded = torch.from_numpy(data[f"tree/{writer}/decoded"]).flatten(0, 1).permute(0, 3, 1, 2)
    levels = 0 if writer == "gvbsm" else 3  # JPEG libraries differ
    assert int((found.x.int() - decoded.int()).abs().max()) <= levels
    assert found.y is not None and found.y.tolist() == data[f"tree/{writer}/label"].tolist()
    if store is None:
        return
    assert found.hints["fkd"]["epochs"] == int(data["fkd/epochs"])
    order = torch.from_numpy(data[f"fkd/{store}/order"])
    assert torch.equal(_fkd.sampler_order(order.shape[1], len(order), "two_per_epoch"), order)
    compared = 0
    with Source.open(tmp_path / "set") as source:
        known = _fkd.find(source)
        assert known is not None
        for e, names in enumerate(known.epochs):
            batches = [_fkd.read_batch(source, name) for name in names]
            rows = order[e].split([len(stored) for stored in batches])
            for b, (stored, index) in enumerate(zip(batches, rows, strict=True)):
                compared += check_batch(
                    data, f"fkd/{store}/epoch_{e}/batch_{b}/", stored, index, found
                )
    assert compared > len(known.epochs[0])


def check_batch(data: Any, prefix: str, stored: _fkd.FkdBatch, index: Tensor, found: Found) -> int:
    """Compare one batch with golden data; 1 if the teachers' input was compared too."""
    assert stored.mix_partner is not None and stored.mix_box is not None
    assert torch.equal(stored.crop, torch.from_numpy(data[f"{prefix}coords"]))
    assert torch.equal(stored.logits, torch.from_numpy(data[f"{prefix}logits_fp16"]))
    assert stored.flip.tolist() == data[f"{prefix}flip"].tolist()
    assert stored.mix_partner.tolist() == data[f"{prefix}mix_index"].tolist()
    assert stored.mix_lambda == float(data[f"{prefix}lam"])
    assert list(stored.mix_box) == data[f"{prefix}bbox"].tolist()
    assert stored.index is None or torch.equal(stored.index, index)
    if f"{prefix}teacher_input" not in data.files:
        return 0
    x = views_replay.views(
        found.x[index], stored.crop, stored.flip, size=int(data["fkd/size"]),
        mean=data["cfg/mean"].tolist(), std=data["cfg/std"].tolist(),
    )  # fmt: skip
    x = views_replay.mix(x, stored.mix_partner, lam=stored.mix_lambda, box=stored.mix_box)
    atol = 0.05 if stored.index is None else 1e-5  # SRe2L's images are JPEG
    torch.testing.assert_close(
        x, torch.from_numpy(data[f"{prefix}teacher_input"]), rtol=0, atol=atol
    )
    return 1


@pytest.mark.golden
def test_golden_views(golden: Callable[[str], Any]) -> None:
    """Crops and mixes."""
    data = golden("decoupled/relabel.npz")
    for name in sorted({name.split("/")[1] for name in data.files if name.startswith("crop/")}):
        image = torch.from_numpy(data[f"crop/{name}/image"]).permute(2, 0, 1)
        crop, flip = (torch.from_numpy(data[f"crop/{name}/{key}"]) for key in ("coords", "flip"))
        found = views_replay.views(
            image.expand(len(crop), -1, -1, -1), crop, flip, size=int(data[f"crop/{name}/size"]),
            mean=data["cfg/mean"].tolist(), std=data["cfg/std"].tolist(),
        )  # fmt: skip
        wanted = torch.from_numpy(data[f"crop/{name}/output_load"])
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    x, partner = torch.from_numpy(data["mix/input"]), torch.from_numpy(data["mix/perm"])
    box = data["mix/bbox"][int(data["mix/cutmix_used"])].tolist()
    cut = views_replay.mix(x, partner, lam=None, box=box)
    assert torch.equal(cut, torch.from_numpy(data["mix/cutmix_output"]))
    assert torch.equal(x, torch.from_numpy(data["mix/input"]))
    lam = float(data["mix/lam"][int(data["mix/mixup_lam_used"])])
    torch.testing.assert_close(
        views_replay.mix(x, partner, lam=lam, box=None), torch.from_numpy(data["mix/mixup_output"])
    )


def test_an_unmixed_batch_and_a_mix_without_share() -> None:
    x = torch.rand(2, 1, 4, 4)
    assert views_replay.mix(x, None, lam=None, box=None) is x
    with pytest.raises(ValueError, match="a box or lam"):
        views_replay.mix(x, torch.tensor([1, 0]), lam=None, box=None)
    grey = torch.arange(16, dtype=torch.uint8).view(1, 4, 4)
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert torch.equal(views_replay.view(grey, whole, flip=True, size=4), grey.flip(2))


# --- named arrays: npz, HDF5, safetensors --------------------------------------------------------

ARRAY_FORMATS = ("npz", "hdf5_file", "safetensors_file")


def arrays_at(path: Path, name: str, arrays: dict[str, np.ndarray[Any, Any]]) -> Path:
    """The arrays as one file of a format."""
    if name == "npz":
        np.savez(path.with_suffix(".npz"), **arrays)
        return path.with_suffix(".npz")
    if name == "hdf5_file":
        with h5py.File(path.with_suffix(".h5"), "w") as file:
            for key, value in arrays.items():
                file[key] = value
        return path.with_suffix(".h5")
    tensors = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()}
    save_file(tensors, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def plain_set(**changes: Any) -> dict[str, np.ndarray[Any, Any]]:
    """x, y of four images in two classes; None takes an array out."""
    drawn = np.random.default_rng(0)
    arrays = {"x": drawn.standard_normal((4, 3, 8, 8)).astype(np.float32), "y": np.arange(4) // 2}
    return {name: value for name, value in {**arrays, **changes}.items() if value is not None}


@pytest.mark.parametrize("name", ARRAY_FORMATS)
def test_named_arrays_are_read(name: str, tmp_path: Path) -> None:
    drawn = np.random.default_rng(1)
    arrays = plain_set(
        F=drawn.standard_normal((4, 2, 5)).astype(np.float32), lr=np.float64(0.02), z=np.ones(3)
    )
    found = imported(name, arrays_at(tmp_path / "set", name, arrays))
    assert found.F is not None and found.y is not None
    assert torch.equal(found.x, torch.from_numpy(arrays["x"]))
    assert torch.equal(found.F, torch.from_numpy(arrays["F"]))
    assert found.y.dtype == torch.int64 and found.y.tolist() == [0, 0, 1, 1]
    assert found.lr == 0.02 and found.hints == {"unread": ["z"]}
    assert (found.space, found.kind, found.constants) == (None, None, None)


@pytest.mark.parametrize("name", ARRAY_FORMATS)
def test_other_names_types_and_axes_are_understood(name: str, tmp_path: Path) -> None:
    x = pixels(4)
    labels = np.eye(4)
    found = imported(name, arrays_at(tmp_path / "a", name, {"images": x, "labels": labels}))
    assert torch.equal(found.x, nchw(x)) and found.space == "unit"
    assert found.y is not None and found.y.dtype == torch.float32 and found.y.shape == (4, 4)
    arrays = plain_set(y=None, lr=np.array([0.1, 0.2]))
    arrays["x"] = arrays["x"].astype(np.float64).transpose(0, 2, 3, 1)
    found = imported(name, arrays_at(tmp_path / "b", name, arrays))
    assert found.y is None and found.lr == (0.1, 0.2) and found.x.dtype == torch.float32
    assert torch.equal(found.x, torch.from_numpy(plain_set()["x"]))


def nan_images() -> np.ndarray[Any, Any]:
    x = plain_set()["x"]
    x[0, 0, 0, :2] = np.nan
    return x


@pytest.mark.parametrize("name", ARRAY_FORMATS)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": np.zeros((4, 3, 8), np.float32)}, "images are float32"),
        ({"x": np.zeros((4, 5, 8, 8), np.float32)}, "neither axis 1 nor 3"),
        ({"x": np.zeros((4, 3, 8, 8), np.int64)}, "images are int64"),
        ({"x": nan_images()}, "images hold 2 values"),
        ({"y": np.zeros(3, np.int64)}, "4 images but 3 labels"),
        ({"y": np.zeros(4)}, "labels are float64"),
        ({"labels": np.zeros(4, np.int64)}, "both 'y' and 'labels'"),
        ({"F": np.zeros((3, 1, 5), np.float32)}, "features are"),
        ({"lr": np.float64(-1)}, "lr is"),
        ({"lr": np.zeros((2, 2))}, "lr is"),
    ],
)
def test_arrays_that_are_no_set_are_refused(
    name: str, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    refused(name, arrays_at(tmp_path / "set", name, plain_set(**changes)), words)


@pytest.mark.parametrize("name", ARRAY_FORMATS)
def test_large_arrays_and_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    path = arrays_at(tmp_path / "set", name, plain_set())
    refused(name, path, "768 numbers, more than the 100", Limits(elements=100))
    refused(name, path, "bytes, more than the 100 that are read", Limits(file_bytes=100))
    path.write_bytes(path.read_bytes()[:-900])
    refused(name, path, "damaged|cannot be read|no valid")


@pytest.mark.parametrize("name", ARRAY_FORMATS)
def test_arrays_without_images_are_not_claimed(name: str, tmp_path: Path) -> None:
    path = arrays_at(tmp_path / "set", name, {"x_train": np.zeros(3), "weight": np.zeros(3)})
    with Source.open(path) as source:
        assert all(importers.importer(n).matches(source) is None for n in FILE_FORMATS)
    refused(name, path, "has no images")


def npy(header: str, data: bytes = b"") -> bytes:
    """A member of an npz with any header."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (10**12,)}"), "damaged npz"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"), "claims 10"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9,)}"), "claims 36 bytes"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"), "not plain numbers"),
        (npy("{'descr': '<c8', 'fortran_order': False, 'shape': ()}", bytes(8)), "not plain"),
        (b"nothing", "damaged npz"),
    ],
)
def test_a_lying_npz_is_refused(member: bytes, words: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("x.npy", member)
    refused("npz", tmp_path / "set.npz", words)


def test_pickled_objects_and_bombs_in_an_npz_are_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    np.savez(tmp_path / "a.npz", x=np.array([Payload()], dtype=object))
    refused("npz", tmp_path / "a.npz", "holds object")
    assert not (tmp_path / "executed").exists()
    np.savez_compressed(tmp_path / "b.npz", x=np.zeros((1000, 3, 32, 32), np.float32))
    refused("npz", tmp_path / "b.npz", "unpacks to far more", Limits(total_bytes=1 << 20))


def test_the_order_of_axes_and_bytes_in_an_npz_does_not_matter(tmp_path: Path) -> None:
    x = plain_set()["x"]
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(x).astype(">f4"), y=np.arange(4, dtype=">i2"))
    found = imported("npz", tmp_path / "a.npz")
    assert torch.equal(found.x, torch.from_numpy(x))
    assert found.y is not None and found.y.tolist() == [0, 1, 2, 3]


def test_kip_is_known_by_its_name(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((10, 32, 32, 3)).astype(np.float32)
    y = np.eye(10, dtype=np.float32) - np.float32(0.1)
    path = tmp_path / "kip_cifar10_ConvNet3_ssize10_zca_nol_noaug_ckpt1000.npz"
    np.savez(path, images=x, labels=y)
    found = imported("npz", path)
    assert torch.equal(found.x, nchw(x)) and (found.space, found.kind) == ("kip_zca", "centred")
    assert found.hints["dataset"] == "cifar10" and found.hints["network"] == "ConvNet3"
    other = path.rename(tmp_path / "kip_cifar10_ConvNet_ssize10_nozca_l_noaug_ckpt1000.npz")
    found = imported("npz", other)
    assert (found.space, found.kind) == (None, "centred")


def safetensors_bytes(entries: dict[str, Any], data: bytes = b"") -> bytes:
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + data


def tensor_entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "content",
    [
        safetensors_bytes({"x": tensor_entry([1, 1, 2, 2], 0, 16)}),
        safetensors_bytes({"x": tensor_entry([1, 1, 2, 2], 100, 116)}, bytes(16)),
        safetensors_bytes({"x": tensor_entry([10**12], 0, 16)}, bytes(16)),
        safetensors_bytes({"x": tensor_entry([1 << 62, 4], 0, 16)}, bytes(16)),
        safetensors_bytes({"x": tensor_entry([-1, 4], 0, 16)}, bytes(16)),
        safetensors_bytes(
            {"x": tensor_entry([1, 1, 2, 2], 0, 16), "y": tensor_entry([4], 8, 24)}, bytes(24)
        ),
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 2) + b"{]" + bytes(8),
        b"\0",
    ],
)
def test_a_lying_safetensors_header_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "set.safetensors"
    path.write_bytes(content)
    refused("safetensors_file", path, "no valid safetensors|no safetensors header")
    with Source.open(path) as source:
        assert importers.importer("safetensors_file").matches(source) is None


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("{", "is no JSON"),
        ('{"dataset": "a", "kind": "index", "space": "lab"}', "metadata.ddbench.space"),
        ('{"dataset": "a", "kind": "index", "space": "unit", "extra": 1}', "unknown field"),
        ('{"version": 2, "dataset": "a", "kind": "index", "space": "unit"}', "version"),
    ],
)
def test_metadata_that_is_not_ours_is_refused(metadata: str, words: str, tmp_path: Path) -> None:
    tensors = {"x": torch.zeros(2, 1, 4, 4), "y": torch.tensor([0, 1])}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"ddbench": metadata})
    refused("safetensors_file", tmp_path / "a.safetensors", words)


def test_features_per_class_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    tensors = {"x": torch.zeros(2, 1, 4, 4), "y": torch.tensor([0, 2]), "F": torch.zeros(2, 1, 3)}
    said = {
        "dataset": "a",
        "kind": "index",
        "space": "unit",
        "features": {"granularity": "per_class"},
    }
    metadata = {"ddbench": json.dumps(said)}
    save_file(tensors, tmp_path / "a.safetensors", metadata=metadata)
    refused("safetensors_file", tmp_path / "a.safetensors", "F for 2 classes, labels 0 to 2")
    del tensors["F"]
    save_file(tensors, tmp_path / "a.safetensors", metadata=metadata)
    refused("safetensors_file", tmp_path / "a.safetensors", "lacks F or y")


def test_a_safetensors_dtype_without_a_float32_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1, 1, 2, 2, dtype=torch.complex64)}, path)
    refused("safetensors_file", path, "holds C64")
    save_file({"x": torch.ones(1, 1, 2, 2, dtype=torch.bfloat16)}, path)
    assert imported("safetensors_file", path).x.dtype == torch.float32


def hostile_hdf5(path: Path, case: str, secret: Path) -> None:
    with h5py.File(secret, "w") as file:
        file["x"] = np.zeros((2, 1, 4, 4), np.float32)
    with h5py.File(path, "w") as file:
        if case == "external link":
            file["x"] = h5py.ExternalLink(str(secret), "/x")
        elif case == "soft link":
            file["inner/x"] = np.zeros((2, 1, 4, 4), np.float32)
            file["x"] = h5py.SoftLink("/inner/x")
        elif case == "external storage":
            file.create_dataset("x", (2, 1, 4, 4), "f4", external=[(str(secret), 0, 128)])
        elif case == "virtual":
            layout = h5py.VirtualLayout((2, 1, 4, 4), "f4")
            layout[:] = h5py.VirtualSource(str(secret), "x", (2, 1, 4, 4))
            file.create_virtual_dataset("x", layout)
        elif case == "text":
            file["x"] = np.array([b"a", b"b"], dtype=h5py.string_dtype())
        elif case == "reference":
            file.create_dataset("x", (2,), h5py.ref_dtype)
        elif case == "huge":
            file.create_dataset("x", (1 << 24, 3, 1, 1), "f4", chunks=(1 << 10, 3, 1, 1))
        elif case == "bomb":
            zeros = np.zeros((300, 3, 32, 32), np.float32)
            file.create_dataset("x", data=zeros, compression="gzip")
        else:
            file["x/images"] = np.zeros(3)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("external link", "has no images"),
        ("soft link", "has no images"),
        ("external storage", "points to other files"),
        ("virtual", "points to other files"),
        ("text", "not plain numbers"),
        ("reference", "not plain numbers"),
        ("huge", "more than the file can hold"),
        ("bomb", "that are read"),
        ("group", "has no images"),
    ],
)
def test_a_hostile_hdf5_is_refused(case: str, words: str, tmp_path: Path) -> None:
    hostile_hdf5(tmp_path / "set.h5", case, tmp_path / "secret.h5")
    refused("hdf5_file", tmp_path / "set.h5", words, Limits(total_bytes=1 << 20))


def test_a_result_of_ours_is_no_foreign_hdf5(tmp_path: Path) -> None:
    path = arrays_at(tmp_path / "set", "hdf5_file", plain_set())
    with h5py.File(path, "a") as file:
        file.attrs["schema"] = 1
    with Source.open(path) as source:
        assert importers.importer("hdf5_file").matches(source) is None
    refused("hdf5_file", path, "result of ddbench")
