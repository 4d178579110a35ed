"""Corrupt and hostile files through the real commands: refused in one line, nothing run or left.

Every case is a small file, folder or archive that is wrong in one way. ``import`` and ``evaluate``
exit with 2 and say why; ``inspect`` may say what kind of file it is. None of them executes
anything, writes anything, or takes memory or time for sizes that a header merely claims.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import pickle
import re
import struct
import tarfile
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from ddbench.cli import main
from ddbench.importers._source import TORCH_LEGACY

CLASSES, SHAPE = 10, (1, 8, 8)  # of the dataset digits, whose images need no download
IMPORT = ("--dataset", "digits")
EVALUATE = (*IMPORT, "--protocol", "dc", "--repeats", "1", "--set", "evaluation.epochs=1")
SECONDS = 2.0  # of CPU per command
MEMORY = 256 << 20  # bytes of resident memory that no command adds
LINE = 600  # characters of a message

Build = Callable[[Path, Path], Path]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        build: gets an empty folder and the path of a file that only a payload would create; gives
            what the user names.
        words: what the reason says (regular expression).
        options: answers that a user adds; ``{at}`` is the folder.
        space: the value space that the user gives.
    """

    build: Build
    words: str
    options: tuple[str, ...] = ()
    space: str | None = "unit"


CASES: dict[str, Case] = {}


def case(words: str, *options: str, space: str | None = "unit") -> Callable[[Build], Build]:
    """Register a builder under its name."""

    def register(build: Build) -> Build:
        CASES[build.__name__.strip("_").replace("_", " ")] = Case(build, words, options, space)
        return build

    return register


def cases(name: str, made: dict[str, tuple[Any, str]], put: Callable[[Path, Any], Path]) -> None:
    """Register one case per entry of ``made``: what ``put`` writes, and the reason."""
    for key, (content, words) in made.items():
        CASES[f"{name}: {key}"] = Case(
            lambda at, evidence, content=content: put(
                at, content(evidence) if callable(content) else content
            ),
            words,
        )


# --- what is right, before one thing is made wrong -----------------------------------------------


def images(count: int = CLASSES, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


def labels(count: int = CLASSES) -> Tensor:
    return torch.arange(count)


def save(path: Path, value: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path, **options)
    return path


def pair(at: Path, x: Any = None, y: Any = None, **beside: Any) -> Path:
    """The files of trajectory matching; those that are not given are right."""
    save(at / "labels_best.pt", labels() if y is None else y)
    for name, value in beside.items():
        save(at / f"{name}_best.pt", value)
    return save(at / "images_best.pt", images() if x is None else x)


def savez(at: Path, **arrays: Any) -> Path:
    np.savez(at / "set.npz", **{"images": images().numpy(), "labels": labels().numpy()} | arrays)
    return at / "set.npz"


def folder(at: Path) -> Path:
    """Class folders with one PNG each."""
    for c in range(CLASSES):
        (at / "set" / f"{c:05d}").mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 20 * c, np.uint8)).save(at / "set" / f"{c:05d}" / "0.png")
    return at / "set"


def hdf5(at: Path, **arrays: Any) -> Path:
    with h5py.File(at / "set.h5", "w") as file:
        for name, array in ({"x": images().numpy(), "y": labels().numpy()} | arrays).items():
            if array is not None:
                file[name] = array
    return at / "set.h5"


def tensors(at: Path, **changed: Any) -> Path:
    content = safetensors_bytes({"x": images(), "y": labels()} | changed)
    (at / "set.safetensors").write_bytes(content)
    return at / "set.safetensors"


RIGHT: dict[str, Callable[[Path], Path]] = {
    "torch files": pair,
    "npz": savez,
    "folder": folder,
    "hdf5": hdf5,
    "safetensors": tensors,
}


# --- pickles -------------------------------------------------------------------------------------


class Call:
    """Calls a function when unpickled."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


class Stateful:
    """Runs code where its state is set."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = str(evidence)

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["evidence"]).touch()


def touch(evidence: Path) -> Call:
    return Call(os.system, f"touch '{evidence}'")


def zip_of(path: Path, pickled: bytes, **storages: bytes) -> Path:
    """A container of ``torch.save`` around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key.removeprefix('s')}", data)
    return path


def legacy_of(path: Path, pickled: bytes, keys: tuple[str, ...] = (), tail: bytes = b"") -> Path:
    """The older container: pickles one after the other."""
    head = [pickle.dumps(value, protocol=2) for value in (1001, {"little_endian": True})]
    path.write_bytes(
        TORCH_LEGACY + b"".join(head) + pickled + pickle.dumps(list(keys), protocol=2) + tail
    )
    return path


def dumped(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)


def text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def integer(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def integers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(kind: bytes = b"ctorch\nFloatStorage\n", count: int = 640, key: str = "0") -> bytes:
    return b"(" + text("storage") + kind + text(key) + text("cpu") + integer(count) + b"tQ"


def tensor(
    shape: tuple[int, ...], stride: tuple[int, ...], *, count: int = 640, offset: int = 0,
    kind: bytes = b"ctorch\nFloatStorage\n",
) -> bytes:  # fmt: skip
    """The opcodes of a tensor over storage 0."""
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(kind, count) + integer(offset)
        + integers(shape) + integers(stride) + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def images_zip(at: Path, opcodes: bytes) -> Path:
    """``images_best.pt`` with the pickle of ``opcodes`` over one storage of 640 floats."""
    save(at / "labels_best.pt", labels())
    return zip_of(at / "images_best.pt", b"\x80\x02" + opcodes + b".", s0=bytes(4 * 640))


PAYLOADS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "os.system": (lambda e: dumped([touch(e), images()]), "posix.system"),
    "eval": (lambda e: dumped(Call(eval, f"open({str(e)!r}, 'w')")), "__builtin__.eval"),
    "calls within calls": (
        lambda e: dumped({"data": [Call(getattr, Call(__import__, "os"), "system")]}),
        "__builtin__.getattr",
    ),
    "torch.load within": (
        lambda e: dumped(Call(torch.load, str(e))), r"torch\.serialization\.load",
    ),
    "state that runs code": (lambda e: dumped([Stateful(e)]), "copyreg|copy_reg|Stateful"),
    "state of a tensor": (
        lambda e: b"\x80\x02" + tensor((2,), (1,), count=2) + b"}b.", "sets the state|damaged",
    ),
    "name by text": (
        lambda e: b"\x80\x04" + text("posix") + text("system") + b"\x93" + text(f"touch {e}")
        + b"\x85R.", "posix.system",
    ),
    "instance opcode": (
        lambda e: b"(" + text(f"touch {e}") + b"iposix\nsystem\n.", "opcode INST",
    ),
    "object opcode": (
        lambda e: b"\x80\x02(cposix\nsystem\n" + text(f"touch {e}") + b"o.", "posix.system",
    ),
    "extension registry": (lambda e: b"\x80\x02\x82\x01.", "opcode EXT1"),
    "persistent id of text": (lambda e: b"\x80\x02Pposix.system\n.", "opcode PERSID"),
    "persistent id that is no storage": (
        lambda e: b"\x80\x02(" + text("module") + text("os") + b"tQ.", "damaged|no storage",
    ),
    "storage of a function": (
        lambda e: b"\x80\x02" + storage(kind=b"cposix\nsystem\n") + b".", "posix.system",
    ),
    "unknown class": (
        lambda e: b"\x80\x02cvendor.model\nNet\n)\x81.", r"vendor\.model\.Net",
    ),
    "numpy objects": (
        lambda e: dumped(np.array([touch(e), None], dtype=object)), "posix.system",
    ),
    "numpy scalar of a pickle": (
        lambda e: b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n" + text("O8")
        + b"\x89\x88\x87R" + dumped(touch(e))[2:-1] + b"\x86R.", "posix.system",
    ),
    "doubled lists": (
        lambda e: b"\x80\x02]" + b"q\0]h\0ah\0a" * 40 + b".", "nests lists too deep|repeats",
    ),
    "list in itself": (lambda e: b"\x80\x02]q\0h\0a.", "nests lists too deep"),
    "lists in lists": (
        lambda e: b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "nests lists too deep",
    ),
    "tuples in tuples": (lambda e: b"\x80\x02)" + b"\x85" * 100_000 + b".", "nests"),
    "many values": (
        lambda e: b"\x80\x02](" + b"K\1" * 150_000 + b"e.", "repeats them too often",
    ),
    "a name of a megabyte": (
        lambda e: b"\x80\x02cposix\n" + b"s" * (1 << 20) + b"\n.", "posix.ssss",
    ),
    "an integer of 2000 bits": (
        lambda e: b"\x80\x02" + integer(1 << 2000) + b".", "integer beyond",
    ),
    "text that claims 4 GB": (
        lambda e: b"\x80\x02X" + struct.pack("<I", (1 << 32) - 1) + b"a.", "damaged or cut short",
    ),
    "bytes that claim an exabyte": (
        lambda e: b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"a.", "damaged or cut short",
    ),
    "more taken than given": (lambda e: b"\x80\x02aaa.", "damaged"),
    "a memo that is not there": (lambda e: b"\x80\x02h\x07.", "damaged"),
    "no end": (lambda e: b"\x80\x02]", "damaged"),
}  # fmt: skip

cases("zip", PAYLOADS, lambda at, data: zip_of(at / "images_best.pt", data))
cases("legacy", PAYLOADS, lambda at, data: legacy_of(at / "images_best.pt", data))


@case("pickle of Python objects")
def a_plain_pickle(at: Path, evidence: Path) -> Path:
    (at / "set.pkl").write_bytes(pickle.dumps(touch(evidence)))
    return at / "set.pkl"


@case("not a file of torch.save|no format that is known|begins with")
def a_pickle_of_protocol_0(at: Path, evidence: Path) -> Path:
    (at / "images_best.pt").write_bytes(pickle.dumps(touch(evidence), protocol=0))
    return at / "images_best.pt"


@case("pickled .*Linear|torch.nn")
def a_pickled_network(at: Path, evidence: Path) -> Path:
    return save(at / "images_best.pt", torch.nn.Linear(2, 2))


@case("code/__torch__")
def a_script_of_torch(at: Path, evidence: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(at / "images_best.pt")
    return at / "images_best.pt"


# --- containers ----------------------------------------------------------------------------------


def damaged(at: Path, change: Callable[[bytearray], bytes]) -> Path:
    """``images_best.pt`` with other bytes."""
    path = pair(at)
    path.write_bytes(change(bytearray(path.read_bytes())))
    return path


def flipped(data: bytearray, place: bytes, behind: int) -> bytes:
    data[data.index(place) + behind] ^= 0xFF
    return bytes(data)


def repacked(at: Path, compression: int, **more: bytes) -> Path:
    """The same members, packed otherwise, with more of them."""
    path = pair(at)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in (members | more).items():
            archive.writestr(name, data)
    return path


BYTES: dict[str, tuple[Any, str]] = {
    "cut in the middle": (lambda d: bytes(d[: len(d) // 2]), "damaged|no format"),
    "cut before its end": (lambda d: bytes(d[:-10]), "damaged|no format"),
    "a changed bit in the pickle": (
        lambda d: flipped(d, b"_rebuild_tensor_v2", 3), "damaged|pickled",
    ),
    "only its head": (lambda d: bytes(d[:4]), "damaged|no format"),
    "nothing": (lambda d: b"", "empty"),
    "text": (lambda d: b"<html>404 Not Found</html>", "begins with|not a file of torch"),
    "zeros": (lambda d: bytes(4096), "begins with|not a file of torch"),
    "a pointer of Git LFS": (
        lambda d: b"version https://git-lfs.github.com/spec/v1\n", "begins with|not a file",
    ),
}  # fmt: skip
for _name, (_change, _words) in BYTES.items():
    CASES[f"bytes: {_name}"] = Case(
        lambda at, evidence, change=_change: damaged(at, change), _words
    )


@case("damaged|cut short|CRC")
def a_zip_with_a_wrong_checksum(at: Path, evidence: Path) -> Path:
    return damaged(at, lambda data: flipped(data, b"torch\nFloatStorage", 0))


@case("compressed member")
def a_compressed_member(at: Path, evidence: Path) -> Path:
    return repacked(at, zipfile.ZIP_DEFLATED)


@case("compressed member|no part")
def a_zip_bomb(at: Path, evidence: Path) -> Path:
    return repacked(at, zipfile.ZIP_DEFLATED, bomb=bytes(64 << 20))


@case("pickles instead of one|no part")
def two_pickles(at: Path, evidence: Path) -> Path:
    return repacked(at, zipfile.ZIP_STORED, **{"b/data.pkl": pickle.dumps(touch(evidence))})


@case("two members of one name")
def members_of_one_name(at: Path, evidence: Path) -> Path:
    path = pair(at)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(archive.namelist()[0], dumped(touch(evidence)))
    return path


@case("claims members larger than the file")
def members_that_overlap(at: Path, evidence: Path) -> Path:
    """One block of numbers that fifty entries of the directory show."""
    path = zip_of(at / "images_best.pt", dumped([]), s0=bytes(4096))
    data = path.read_bytes()
    start, stop = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    last = data[data.rindex(b"PK\1\2") : stop]
    directory = data[start:stop] + b"".join(last[:-1] + bytes([65 + i]) for i in range(50))
    end = bytearray(data[stop:])
    struct.pack_into("<HHI", end, 8, 54, 54, len(directory))
    path.write_bytes(data[:start] + directory + bytes(end))
    return path


@case("(?i)no such file")
def nothing_there(at: Path, evidence: Path) -> Path:
    return at / "images_best.pt"


@case("cannot be read|no such file")
def a_link_to_itself(at: Path, evidence: Path) -> Path:
    (at / "images_best.pt").symlink_to(at / "images_best.pt")
    return at / "images_best.pt"


@case("neither a file nor a folder")
def a_pipe(at: Path, evidence: Path) -> Path:
    os.mkfifo(at / "images_best.pt")
    return at / "images_best.pt"


@case("neither a file nor a folder")
def a_device(at: Path, evidence: Path) -> Path:
    (at / "images_best.pt").symlink_to("/dev/zero")
    return at / "images_best.pt"


@case("no format that is known|begins with")
def escape_codes_in_a_name(at: Path, evidence: Path) -> Path:
    path = at / "a\x1b[2J\nb\udcff.pt"
    path.write_bytes(b"\x1b[2J" * 4)
    return path


# --- tensors -------------------------------------------------------------------------------------


FAKES: dict[str, tuple[Any, str]] = {
    "declares more than it stores": (
        tensor((10, 1, 8, 8), (64, 64, 8, 1), count=10**12), "declares 4000000000000 bytes",
    ),
    "is larger than its storage": (tensor((100, 1, 8, 8), (64, 64, 8, 1)), "more than the 640"),
    "has 10^12 entries by strides of 0": (
        tensor((10**6, 1, 1000, 1000), (0, 0, 0, 0)), "more than the 640",
    ),
    "has negative sizes": (tensor((-10, 1, 8, 8), (64, 64, 8, 1)), "damaged"),
    "has negative strides": (tensor((10, 1, 8, 8), (-64, 64, 8, 1), offset=576), "damaged"),
    "has huge strides": (tensor((10, 1, 8, 8), (1 << 60, 64, 8, 1)), "more than the 640"),
    "begins behind its storage": (
        tensor((10, 1, 8, 8), (64, 64, 8, 1), offset=1 << 40), "more than the 640",
    ),
    "begins before its storage": (
        tensor((10, 1, 8, 8), (64, 64, 8, 1), offset=-64), "damaged",
    ),
    "overflows 64 bits": (
        tensor((1 << 32, 1 << 32, 1 << 32, 3), (0, 0, 0, 0)), "more than the 640",
    ),
    "overflows 64 bits with a size of 0": (
        tensor((1 << 62, 1 << 62, 0, 8), (0, 0, 0, 0)), "damaged|more than|shape|no images|images",
    ),
    "has 10^5 axes": (tensor((1,) * 10_000, (1,) * 10_000), "images_best|dim|axes"),
    "has fewer strides than axes": (tensor((10, 1, 8, 8), (64, 8, 1)), "differ in length"),
    "has fractional sizes": (
        tensor((10, 1, 8, 8), (64, 64, 8, 1)).replace(integer(10), b"G" + struct.pack(">d", 10.5)),
        "damaged",
    ),
    "shows its storage as another type": (
        tensor((10, 1, 8, 8), (64, 64, 8, 1), kind=b"ctorch\nDoubleStorage\n"),
        "declares 5120 bytes",
    ),
}  # fmt: skip
cases("a tensor that", FAKES, images_zip)

TENSORS: dict[str, tuple[dict[str, Any], str]] = {
    "complex images": ({"x": images().to(torch.complex64)}, "Complex"),
    "boolean images": ({"x": images() > 0.5}, "bool"),
    "integer images": ({"x": (images() * 255).long()}, "int64"),
    "sparse images": ({"x": images().to_sparse()}, "sparse"),
    "quantised images": (
        {"x": torch.quantize_per_tensor(images(), 0.1, 0, torch.quint8)}, "quantize|qtensor",
    ),
    "images that are not numbers": ({"x": images().index_fill(0, labels(1), float("nan"))},
                                    "64 of 640 values that are not finite"),
    "infinite images": ({"x": images().index_fill(0, labels(1), float("inf"))}, "not finite"),
    "images beyond float32": ({"x": images().double() * 1e300}, "beyond float32"),
    "no image": ({"x": images(0), "y": labels(0)}, "no images"),
    "images without rows": ({"x": torch.zeros(10, 1, 0, 8)}, "no images|images"),
    "images of two channels": ({"x": images(shape=(2, 8, 8))}, "1 or 3 channels|images"),
    "images of three channels": ({"x": images(shape=(3, 8, 8))}, r"digits has \[1, 8, 8\]"),
    "images of another size": ({"x": images(shape=(1, 9, 8))}, r"digits has \[1, 8, 8\]"),
    "images without an axis": ({"x": images()[:, 0]}, "images"),
    "a dict of images": ({"x": {"x": images()}}, "images"),
    "labels out of range": ({"y": labels() + 1}, "1 to 10"),
    "labels below 0": ({"y": labels() - 1}, "-1 to 8"),
    "labels beyond everything": ({"y": labels() + (1 << 40)}, "10995116277"),
    "labels that lack a class": ({"y": labels().clamp(max=8)}, "0 to 8"),
    "fractional labels": ({"y": labels() + 0.5}, "not labels"),
    "labels that are not numbers": ({"y": torch.full((10, 10), float("nan"))}, "not finite"),
    "boolean labels": ({"y": labels() > 4}, "not labels"),
    "too few labels": ({"y": labels(9)}, "9 labels for 10 images"),
    "too many labels": ({"y": labels(11)}, "11 labels for 10 images"),
    "one label": ({"y": torch.tensor(3)}, "not labels"),
    "labels of another number of classes": (
        {"y": torch.eye(10)[:, :7].softmax(1), "lr": torch.tensor(0.1)},
        "which is it|labels of 7 classes|labels hold",
    ),
    "a step size of 0": ({"lr": torch.tensor(0.0)}, "not a step size"),
    "a step size below 0": ({"lr": torch.tensor(-0.1)}, "not a step size"),
    "a step size that is no number": ({"lr": torch.tensor(float("nan"))}, "not finite"),
    "a step size without end": ({"lr": float("inf")}, "not a step size"),
    "a step size of text": ({"lr": "0.1"}, "not a step size"),
    "features of other images": ({"features": torch.zeros(1, 9, 4)}, "features"),
    "features that are not numbers": (
        {"features": torch.full((1, 10, 4), float("nan"))}, "not finite",
    ),
}  # fmt: skip
for _name, (_parts, _words) in TENSORS.items():
    CASES[_name] = Case(lambda at, evidence, parts=_parts: pair(at, **parts), _words)


@case("mixes|images")
def a_dict_of_dc_with_other_entries(at: Path, evidence: Path) -> Path:
    entries = [[images(), labels()], [images(), labels(), torch.zeros(1, 10, 4)]]
    return save(at / "res_DC_digits_ConvNet_1ipc.pt", {"data": entries, "accs_all_exps": {}})


@case("labels of 7 classes", "--labels-kind", "logit")
def labels_of_7_classes(at: Path, evidence: Path) -> Path:
    return pair(at, y=torch.zeros(10, 7))


@case("cannot be of kind 'probability'", "--labels-kind", "probability")
def logits_called_probabilities(at: Path, evidence: Path) -> Path:
    return pair(at, y=torch.randn(10, 10))


# --- archives ------------------------------------------------------------------------------------


def zipped(at: Path, *names: str, mode: int = 0, packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(at / "set.zip", "w") as archive:
        for name in names:
            info = zipfile.ZipInfo("x")
            info.filename = name  # the constructor would clean it
            info.compress_type = packing
            info.external_attr = mode << 16
            archive.writestr(info, b"text")
    return at / "set.zip"


def tarred(at: Path, mode: str = "w", **fields: Any) -> Path:
    """A tar with one member of these fields, and one that is right."""
    with tarfile.open(at / "set.tar", mode) as archive:  # type: ignore[call-overload]
        member = tarfile.TarInfo("a/image.png")
        for name, value in fields.items():
            setattr(member, name, value)
        archive.addfile(member)
        archive.addfile(tarfile.TarInfo("b/image.png"))
    return at / "set.tar"


LEADS = "leads out of the folder"
SLIPS = {
    "..": "../escaped.pt", "... deeper": "a/../../../escaped.pt", "from the root": "/escaped.pt",
    "backslashes": "..\\..\\escaped.pt", "a drive": "C:/escaped.pt", "a share": "//host/escaped.pt",
}  # fmt: skip
for _name, _slip in SLIPS.items():
    CASES[f"zip slip: {_name}"] = Case(lambda at, e, slip=_slip: zipped(at, "a.pt", slip), LEADS)
    CASES[f"tar slip: {_name}"] = Case(lambda at, e, slip=_slip: tarred(at, name=slip), LEADS)
CASES["zip slip: full path"] = Case(lambda at, e: zipped(at, str(e)), LEADS)

PLAIN = "no plain file"
for _kind, _fields in {
    "link": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "hard link": {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"},
    "device": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
    "pipe": {"type": tarfile.FIFOTYPE},
    "sparse file": {"type": tarfile.GNUTYPE_SPARSE},
}.items():
    CASES[f"tar with a {_kind}"] = Case(
        lambda at, evidence, fields=_fields: tarred(at, **fields), PLAIN
    )


@case(PLAIN)
def zip_with_a_link(at: Path, evidence: Path) -> Path:
    return zipped(at, "a", mode=0o120777)


@case("leads out of the folder")
def zip_with_a_nameless_file(at: Path, evidence: Path) -> Path:
    return zipped(at, "")


@case("damaged")
def zip_that_begins_before_itself(at: Path, evidence: Path) -> Path:
    """Its list of files lies further back than there are bytes."""
    path = savez(at)
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\5\6") + 16
    struct.pack_into("<I", data, place, struct.unpack_from("<I", data, place)[0] + 60_000)
    path.write_bytes(bytes(data))
    return path


@case("twice")
def zip_with_a_file_and_a_folder_of_one_name(at: Path, evidence: Path) -> Path:
    return zipped(at, "a/b", "a")


@case("cannot be read|is a file|twice|damaged|leads")
def zip_with_a_file_below_a_file(at: Path, evidence: Path) -> Path:
    return zipped(at, "a", "a/b")


@case("cannot be read|too long|damaged")
def zip_with_a_name_of_60000_letters(at: Path, evidence: Path) -> Path:
    return zipped(at, "a" * 60_000)


@case("unpacks to far more")
def tar_bomb(at: Path, evidence: Path) -> Path:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        member = tarfile.TarInfo("a/image.png")
        member.size = 80 << 20
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    (at / "set.tar.gz").write_bytes(gzip.compress(raw.getvalue(), 1))
    return at / "set.tar.gz"


@case("more files than")
def tar_of_more_files_than_bytes(at: Path, evidence: Path) -> Path:
    """Empty files, whose headers shrink to almost nothing."""
    headers = (tarfile.TarInfo(f"a/{index}").tobuf() for index in range(2000))
    (at / "set.tar.gz").write_bytes(gzip.compress(b"".join(headers)))
    return at / "set.tar.gz"


@case("unpacks to far more|share their bytes")
def zip_bomb_in_an_archive(at: Path, evidence: Path) -> Path:
    with zipfile.ZipFile(at / "set.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a/image.png", bytes(80 << 20))
    return at / "set.zip"


@case("no format that is known")
def an_archive_in_an_archive(at: Path, evidence: Path) -> Path:
    path = pair(at)
    with zipfile.ZipFile(at / "inner.zip", "w") as archive:
        archive.write(path, "images_best.pt")
    with zipfile.ZipFile(at / "set.zip", "w") as archive:
        archive.write(at / "inner.zip", "inner.zip")
    return at / "set.zip"


@case("damaged|encrypted")
def an_encrypted_archive(at: Path, evidence: Path) -> Path:
    path = zipped(at, "a/image.png")
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(bytes(data))
    return path


@case("damaged|no format")
def a_directory_of_entries_that_are_not_there(at: Path, evidence: Path) -> Path:
    """65535 files claimed, one held."""
    path = zipped(at, "a/image.png")
    data = bytearray(path.read_bytes())
    struct.pack_into("<HH", data, data.rindex(b"PK\5\6") + 8, 65535, 65535)
    struct.pack_into("<I", data, data.rindex(b"PK\5\6") + 12, 1 << 30)
    path.write_bytes(bytes(data))
    return path


@case("list of files is too long")
def a_million_entries_of_one_file(at: Path, evidence: Path) -> Path:
    """A directory of 10^6 entries that all show one file."""
    path = zipped(at, "a")
    data = path.read_bytes()
    start, stop = data.index(b"PK\1\2"), data.rindex(b"PK\5\6")
    count = 1_000_000
    end = struct.pack(
        "<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, (stop - start) * count, start
    )
    place = start + (stop - start) * count
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, place, 1)
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 65535, 65535, (1 << 32) - 1, (1 << 32) - 1, 0)
    with path.open("wb") as stream:
        stream.write(data[:start])
        stream.write(data[start:stop] * count)
        stream.write(end + locator + tail)
    return path


@case("damaged|no format|begins with")
def a_damaged_gzip(at: Path, evidence: Path) -> Path:
    (at / "set.tar.gz").write_bytes(gzip.compress(bytes(10_000))[:-30])
    return at / "set.tar.gz"


@case("damaged|too long|unpacks")
def a_tar_whose_header_claims_a_gigabyte(at: Path, evidence: Path) -> Path:
    """An extended header, which readers take into memory as a whole."""
    member = tarfile.TarInfo("a")
    member.type, member.size = tarfile.XHDTYPE, 1 << 30
    (at / "set.tar").write_bytes(member.tobuf() + bytes(10_240))
    return at / "set.tar"


# --- folders -------------------------------------------------------------------------------------


@case("no format that is known.*empty")
def an_empty_folder(at: Path, evidence: Path) -> Path:
    (at / "set").mkdir()
    return at / "set"


@case("link that leads outside")
def a_folder_with_a_link_out(at: Path, evidence: Path) -> Path:
    root = folder(at)
    (root / "00000" / "1.png").symlink_to("/etc/passwd")
    return root


@case("link that leads outside")
def a_folder_with_a_linked_folder(at: Path, evidence: Path) -> Path:
    root = folder(at)
    (root / "00010").symlink_to("/etc")
    return root


@case("link that leads outside")
def a_folder_with_a_loop_of_links(at: Path, evidence: Path) -> Path:
    root = folder(at)
    (root / "a").symlink_to(root / "b")
    (root / "b").symlink_to(root / "a")
    return root


@case("neither a file nor a folder")
def a_folder_with_a_pipe(at: Path, evidence: Path) -> Path:
    root = folder(at)
    os.mkfifo(root / "00000" / "1.png")
    return root


def png(width: int, height: int, extra: bytes = b"") -> bytes:
    """A PNG that claims its size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b"")


def jpeg() -> bytes:
    stream = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64), np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def ztxt(size: int) -> bytes:
    data = b"Comment\0\0" + zlib.compress(bytes(size), 9)
    return (
        struct.pack(">I", len(data))
        + b"zTXt"
        + data
        + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    )


PICTURES: dict[str, tuple[Any, str]] = {
    "claims 10^10 pixels": (("1.png", png(100_000, 100_000)), "more pixels"),
    "claims 2^31 pixels a side": (("1.png", png(2**31 - 1, 2**31 - 1)), "more pixels|decoded"),
    "has no pixels": (("1.png", png(8, 8)), "cannot be decoded"),
    "has a text of 100 MB": (("1.png", png(8, 8, ztxt(100 << 20))), "cannot be decoded"),
    "is a truncated JPEG": (("1.jpg", jpeg()[:-200]), "cannot be decoded"),
    "is no JPEG": (("1.jpg", png(8, 8)), "is no JPEG"),
    "is no PNG": (("1.png", jpeg()), "is no PNG"),
    "is empty": (("1.png", b""), "is no PNG"),
    "is a pickle": (("1.png", b"\x80\x04cposix\nsystem\n."), "is no PNG"),
    "has another size": (("1.jpg", jpeg()), "all have to have one size"),
    "is of a kind that is not read": (("1.gif", b"GIF89a"), "of a kind that is not read"),
}


def with_picture(at: Path, named: tuple[str, bytes]) -> Path:
    root = folder(at)
    (root / "00000" / named[0]).write_bytes(named[1])
    return root


cases("an image that", PICTURES, with_picture)


@case("several places")
def class_folders_in_many_places(at: Path, evidence: Path) -> Path:
    for place in range(300):
        for c in range(2):
            path = at / "set" / f"place{place}" / str(c) / "0.png"
            path.parent.mkdir(parents=True)
            path.touch()
    return at / "set"


@case("two folders of one number")
def two_folders_of_one_class(at: Path, evidence: Path) -> Path:
    root = folder(at)
    (root / "00000").rename(root / "1")
    return root


@case("9 classes|named by|names 9")
def a_class_without_a_folder(at: Path, evidence: Path) -> Path:
    root = folder(at)
    (root / "00009" / "0.png").unlink()
    return root


def store(at: Path, put: Callable[[Path], object]) -> Path:
    """Class folders with a store of soft labels whose first batch ``put`` writes."""
    root = folder(at)
    path = root / "fkd" / "epoch_0" / "batch_0.tar"
    path.parent.mkdir(parents=True)
    put(path)
    return root


def batch(**changed: Any) -> list[Any]:
    crop = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(10, 1)
    parts = {"crop": crop, "flip": torch.zeros(10, dtype=torch.bool), "partner": None,
             "lam": None, "box": None, "logits": torch.eye(10).half()}  # fmt: skip
    return list((parts | changed).values())


BATCHES: dict[str, tuple[Any, str]] = {
    "runs code": (lambda e: batch(lam=touch(e)), "posix.system"),
    "is an empty file": (b"", "not a file of torch.save"),
    "is a tar": (tarfile.TarInfo("a").tobuf() + bytes(1024), "not a file of torch.save"),
    "has too few parts": (batch()[:4], "no batch of soft labels"),
    "has logits of other rows": (batch(logits=torch.eye(9).half()), "no valid batch"),
    "has logits that are not finite": (
        batch(logits=torch.full((10, 10), float("inf")).half()), "not finite",
    ),
    "has boxes out of the image": (batch(crop=torch.full((10, 4), 0.9)), "leaves the image"),
    "has partners that are not there": (
        batch(partner=torch.full((10,), 99), lam=0.5), "no permutation",
    ),
    "has a lambda that is no number": (
        batch(partner=torch.arange(10), lam=float("nan")), "lambda",
    ),
    "has a turned box": (
        batch(partner=torch.arange(10), lam=0.5, box=[5, 5, 2, 2]), "turned around",
    ),
    "labels other classes": (batch(logits=torch.eye(10)[:, :5].half()), "labels 5 classes"),
}  # fmt: skip
cases(
    "a stored batch that", BATCHES,
    lambda at, made: store(
        at, lambda path: path.write_bytes(made) if isinstance(made, bytes) else save(path, made)
    ),
)  # fmt: skip


@case("lacks batches")
def a_store_that_claims_a_billion_epochs(at: Path, evidence: Path) -> Path:
    root = store(at, lambda path: save(path, batch()))
    save(root / "fkd" / "epoch_1000000000" / "batch_0.tar", batch())
    return root


# --- arrays --------------------------------------------------------------------------------------


def npy(shape: tuple[int, ...], descr: str = "<f4", data: bytes = b"", pad: int = 0) -> bytes:
    """A numpy file of version 2 with any header."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}}}".encode()
    header += b" " * pad + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + data


def npz_of(at: Path, member: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    labelled = io.BytesIO()
    np.save(labelled, labels().numpy())
    with zipfile.ZipFile(at / "set.npz", "w", compression) as archive:
        archive.writestr("images.npy", member)
        archive.writestr("labels.npy", labelled.getvalue())
    return at / "set.npz"


ARRAYS: dict[str, tuple[Any, str]] = {
    "claims 10^12 numbers": (npy((10**12,)), "claims"),
    "claims 10^12 images": (npy((10**12, 1, 8, 8)), "claims"),
    "overflows 64 bits": (npy((2**32, 2**32, 2**32, 4)), "claims"),
    "has negative sizes": (npy((-10, -1, 8, 8), data=bytes(2560)), "shape"),
    "claims less than it holds": (npy((1, 1, 8, 8), data=bytes(2560)), "claims 256 bytes"),
    "holds objects": (npy((10,), "|O", dumped([1])), "not plain numbers"),
    "holds text": (npy((10,), "<U4", bytes(160)), "not plain numbers"),
    "holds times": (npy((10,), "<M8[s]", bytes(80)), "not plain numbers"),
    "holds numbers of 16 bytes": (
        npy((10, 1, 8, 8), "<f16", bytes(10240)), "not plain numbers",
    ),
    "holds complex numbers": (npy((10, 1, 8, 8), "<c8", bytes(5120)), "not plain numbers"),
    "has a header that is code": (
        npy((1,), "<f4").replace(b"'<f4'", b"f('')"), "header cannot be read",
    ),
    "has a header of another kind": (
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 3) + b"[1]", "header cannot be read",
    ),
    "is cut in its header": (npy((10, 1, 8, 8))[:20], "damaged"),
    "is of a later version": (b"\x93NUMPY\x09\x00" + bytes(100), "damaged"),
    "is no array": (b"text", "damaged"),
}  # fmt: skip
cases("an array that", ARRAYS, npz_of)


@case("header|damaged")
def an_array_with_a_header_of_a_gigabyte(at: Path, evidence: Path) -> Path:
    """Spaces that shrink to nothing, and that readers take into memory as a whole."""
    path = savez(at)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("F.npy", "w", force_zip64=True) as stream,
    ):
        stream.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 30))
        for _ in range(400):
            stream.write(b" " * (1 << 20))
    return path


@case("unpacks to far more")
def a_packed_array_of_zeros(at: Path, evidence: Path) -> Path:
    zeros = npy((300_000, 1, 8, 8), data=bytes(300_000 * 256))
    return npz_of(at, zeros, zipfile.ZIP_DEFLATED)


for _packing in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
    CASES[f"an array packed by method {_packing}"] = Case(
        lambda at, evidence, packing=_packing: npz_of(
            at, npy((10, 1, 8, 8), data=bytes(2560)), packing
        ),
        "packed oddly",
    )
    CASES[f"an archive packed by method {_packing}"] = Case(
        lambda at, evidence, packing=_packing: zipped(at, "a/image.png", packing=packing),
        "packed oddly",
    )


@case("two arrays of one name")
def arrays_of_one_name(at: Path, evidence: Path) -> Path:
    path = savez(at)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("images.npy", npy((10, 1, 8, 8), data=bytes(2560)))
    return path


@case("has both 'x' and 'images'")
def two_arrays_of_images(at: Path, evidence: Path) -> Path:
    return savez(at, x=images().numpy())


@case("damaged|cut|claims")
def an_archive_cut_within_an_array(at: Path, evidence: Path) -> Path:
    path = savez(at)
    data = path.read_bytes()
    directory = data[data.index(b"PK\1\2") :]
    tail = bytearray(directory)
    cut = data[:1000]
    struct.pack_into("<I", tail, len(tail) - 6, len(cut))
    path.write_bytes(cut + bytes(tail))
    return path


for _name, (_arrays, _words) in {
    "not finite": ({"images": np.full((10, 1, 8, 8), np.nan, np.float32)}, "not finite"),
    "a size": ({"images": np.zeros((10, 9, 9, 1), np.float32)}, "digits has"),
    "channels": ({"images": np.zeros((10, 5, 8, 8), np.float32)}, "neither axis|images"),
    "labels too many": ({"labels": np.arange(11)}, "10 images but 11 labels"),
    "labels out of range": ({"labels": np.arange(10) - 5}, "-5 to 4"),
    "labels huge": (
        {"labels": np.arange(10, dtype=np.uint64) + np.uint64(2**63)},
        "has labels|fit",
    ),
    "fractional labels": ({"labels": np.arange(10) / 3}, "labels are"),
    "lr": ({"lr": np.array([np.inf])}, "lr is"),
    "F": ({"F": np.zeros((9, 1, 4), np.float32)}, "features are"),
}.items():
    CASES[f"npz with wrong values: {_name}"] = Case(
        lambda at, evidence, arrays=_arrays: savez(at, **arrays), _words
    )


# --- safetensors ---------------------------------------------------------------------------------


def safetensors_of(at: Path, header: Any, data: bytes = bytes(4096)) -> Path:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    (at / "set.safetensors").write_bytes(struct.pack("<Q", len(content)) + content + data)
    return at / "set.safetensors"


def entry(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HEADERS: dict[str, tuple[Any, str]] = {
    "leads behind the file": ({"x": entry([10, 1, 8, 8], [10**9, 10**9 + 2560])}, "safetensors"),
    "claims 10^12 numbers": ({"x": entry([10**12], [0, 4096])}, "safetensors"),
    "overflows 64 bits": ({"x": entry([2**32, 2**32, 2**32], [0, 4096])}, "safetensors"),
    "lets tensors overlap": (
        {"x": entry([512], [0, 2048]), "y": entry([512], [1024, 3072])}, "safetensors",
    ),
    "runs backwards": ({"x": entry([1], [2048, 4])}, "safetensors"),
    "has an unknown dtype": ({"x": entry([1024], [0, 4096], "F99")}, "safetensors"),
    "is no JSON": (b"{" + b"x" * 100, "safetensors"),
    "is deep": (b'{"x":' * 100_000 + b"1" + b"}" * 100_000, "safetensors"),
    "is a list": (b"[]", "safetensors|begins with"),
}  # fmt: skip
cases("a header that", HEADERS, safetensors_of)


@case("safetensors|begins with")
def a_header_of_an_exabyte(at: Path, evidence: Path) -> Path:
    (at / "set.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{" + bytes(100))
    return at / "set.safetensors"


def described(at: Path, **changed: Any) -> Path:
    """A file as ours, whose description says something wrong."""
    right = {"dataset": "digits", "space": "meanstd", "mean": [0.5], "std": [0.5], "kind": "index"}
    text = changed.pop("text", None) or json.dumps(right | changed)
    normalised = {"x": (images() - 0.5) / 0.1, "y": labels()}
    content = safetensors_bytes(normalised, metadata={"ddbench": text})
    (at / "set.safetensors").write_bytes(content)
    return at / "set.safetensors"


for _name, (_said, _words) in {
    "that is no JSON": ({"text": "{"}, "no JSON"),
    "that is deep": ({"text": "[" * 100_000}, "no JSON"),
    "with a field of its own": ({"run": "x"}, "unknown field"),
    "of another space": ({"space": "rgb"}, "space"),
    "of numbers that are none": ({"mean": [float("nan")]}, "finite|JSON"),
    "with a deviation of 0": ({"std": [0.0]}, "std|deviation"),
    "with a deviation below 0": ({"std": [-1.0]}, "std|deviation"),
    "with classes of another dataset": ({"classes": ["a", "b"]}, "names 2 classes"),
}.items():
    CASES[f"a description {_name}"] = Case(
        lambda at, evidence, said=_said: described(at, **said), _words, (), None
    )


# --- HDF5 ----------------------------------------------------------------------------------------


def other_file(at: Path) -> str:
    with h5py.File(at / "other.h5", "w") as file:
        file["x"] = images().numpy()
    return str(at / "other.h5")


def hdf5_with(at: Path, put: Callable[[Any], object]) -> Path:
    with h5py.File(at / "set.h5", "w") as file:
        file["y"] = labels().numpy()
        put(file)
    return at / "set.h5"


@case("no format|no images|links")
def hdf5_with_a_link_to_another_file(at: Path, evidence: Path) -> Path:
    other = other_file(at)
    return hdf5_with(at, lambda file: file.__setitem__("x", h5py.ExternalLink(other, "x")))


@case("no format|no images|links")
def hdf5_with_a_soft_link(at: Path, evidence: Path) -> Path:
    return hdf5_with(at, lambda file: file.__setitem__("x", h5py.SoftLink("/../../etc/passwd")))


@case("points to other files")
def hdf5_with_data_in_another_file(at: Path, evidence: Path) -> Path:
    def put(file: Any) -> None:
        file.create_dataset("x", (10, 1, 8, 8), "f4", external=[("/etc/passwd", 0, 2560)])

    return hdf5_with(at, put)


@case("points to other files")
def hdf5_with_a_virtual_array(at: Path, evidence: Path) -> Path:
    other = other_file(at)

    def put(file: Any) -> None:
        layout = h5py.VirtualLayout((10, 1, 8, 8), "f4")
        layout[:] = h5py.VirtualSource(other, "x", (10, 1, 8, 8))
        file.create_virtual_dataset("x", layout)

    return hdf5_with(at, put)


for _name, _dtype in {
    "references": h5py.ref_dtype,
    "texts of any length": h5py.string_dtype(),
    "lists of any length": h5py.vlen_dtype(np.float32),
    "records": np.dtype([("a", "f4"), ("b", "i8")]),
    "opaque bytes": np.dtype("V8"),
    "numbers of 16 bytes": np.dtype(np.longdouble),
    "complex numbers": np.dtype("c8"),
}.items():
    CASES[f"hdf5 of {_name}"] = Case(
        lambda at, evidence, dtype=_dtype: hdf5_with(
            at, lambda file: file.create_dataset("x", (10, 1, 8, 8), dtype)
        ),
        "not plain numbers",
    )


@case("more than the file can hold|claims")
def hdf5_that_claims_10_to_the_12_numbers(at: Path, evidence: Path) -> Path:
    return hdf5_with(
        at,
        lambda file: file.create_dataset(
            "x", (10**10, 1, 10, 10), "f4", chunks=(1, 1, 10, 10), compression="gzip"
        ),
    )


@case("more than the file can hold|more than the")
def hdf5_bomb(at: Path, evidence: Path) -> Path:
    def put(file: Any) -> None:
        zeros = np.zeros((300_000, 1, 8, 8), np.float32)
        file.create_dataset("x", data=zeros, chunks=(100_000, 1, 8, 8), compression="gzip")

    return hdf5_with(at, put)


@case("damaged or cut short")
def truncated_hdf5(at: Path, evidence: Path) -> Path:
    path = hdf5(at)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


@case("damaged or cut short")
def hdf5_signature_alone(at: Path, evidence: Path) -> Path:
    (at / "set.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    return at / "set.h5"


@case("no format|no images")
def hdf5_group_in_place_of_images(at: Path, evidence: Path) -> Path:
    return hdf5_with(at, lambda file: file.create_group("x"))


@case("schema|damaged|newer|result")
def hdf5_that_claims_to_be_a_result(at: Path, evidence: Path) -> Path:
    path = hdf5(at)
    with h5py.File(path, "a") as file:
        file.attrs["schema"] = "ddbench/999"
    return path


# --- files that options name ---------------------------------------------------------------------


def option(name: str, made: dict[str, tuple[Any, str]], file: str) -> None:
    """Register cases of a right set with a wrong file beside it."""
    for key, (content, words) in made.items():

        def build(at: Path, evidence: Path, content: Any = content) -> Path:
            value = content(evidence) if callable(content) else content
            if isinstance(value, bytes):
                (at / file).write_bytes(value)
            else:
                save(at / file, value)
            return savez(at)

        CASES[f"{name} {key}"] = Case(build, words, (name, f"{{at}}/{file}"))


def packed_array(at: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("labels.npy", npy((20 << 20,), "<f8", bytes(160 << 20)))
    return stream.getvalue()


option(
    "--labels",
    {
        "runs code": (touch, "posix.system"),
        "is a pickle": (lambda e: pickle.dumps(touch(e)), "neither a torch|pickle"),
        "is empty": (b"", "is empty"),
        "is an array of objects": (npy((10,), "|O", dumped([1])), "no plain array"),
        "claims 10^12 numbers": (npy((10**12,)), "no plain array"),
        "is a bomb": (packed_array, "no plain array|unpacks"),
        "has too many lines": (b"1\n" * (5 << 20), "labels for 10 images|lines"),
        "has words": (b"cat\ndog\n", "words"),
        "has a number that is none": (b"nan\n" * 10, "not finite|not labels"),
        "has fractions": (b"0.5\n" * 10, "not labels"),
        "is a folder of text": (gzip.compress(b"text"), "neither a torch"),
    },
    "answers",
)
option(
    "--lr",
    {
        "runs code": (touch, "posix.system"),
        "holds no number": (b"nan\n", "not a step size"),
        "holds text": (b"fast\n", "words"),
        "holds 0": (b"0\n", "not a step size"),
        "holds a network": (lambda e: torch.nn.Linear(2, 2), "Linear"),
        "holds a table": (b"0.1 0.2\n0.1 0.2 0.3\n", "different lengths"),
        "has too many lines": (b"0.1\n" * (2 << 20), "step size|lines|more than"),
    },
    "answers",
)
option(
    "--class-order",
    {
        "has a class twice": (b"0\n" * 10, "a class twice"),
        "has 10^7 lines": (b"0\n" * 10**7, "names|lines|more than"),
        "has other classes": (b"cat\n" * 10, "is no class of"),
        "is empty": (b"", "names 0 classes"),
        "is a pickle": (lambda e: pickle.dumps(touch(e)), "neither a torch|not.*text"),
        "has one endless line": (b"a" * (20 << 20), "names 1 classes|more than|lines"),
    },
    "answers",
)
for _option in ("--labels", "--lr", "--class-order"):

    def _pipe(at: Path, evidence: Path) -> Path:
        os.mkfifo(at / "answers")
        return savez(at)

    CASES[f"{_option} is a pipe"] = Case(
        _pipe, "neither a file nor a folder", (_option, "{at}/answers")
    )
    CASES[f"{_option} is not there"] = Case(
        lambda at, evidence: savez(at), "No such file", (_option, "{at}/answers")
    )
    CASES[f"{_option} is a folder"] = Case(
        lambda at, evidence: savez(at), "no single file|is a folder", (_option, "{at}")
    )
CASES["--lr text"] = Case(lambda at, e: savez(at), "fast: --lr: .*No such", ("--lr", "fast"))
CASES["--lr nan"] = Case(lambda at, e: savez(at), "positive numbers", ("--lr", "nan"))
CASES["--lr 1e999"] = Case(lambda at, e: savez(at), "positive numbers", ("--lr", "1e999"))
CASES["--replicate beyond"] = Case(lambda at, e: savez(at), "0 to 0", ("--replicate", "7"))
CASES["--replicate below 0"] = Case(lambda at, e: savez(at), "0 to 0", ("--replicate", "-1"))


# --- the commands --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What a command did."""

    code: int
    out: str
    err: str
    seconds: float
    memory: int


def peak_memory() -> int:
    """Resident memory of this process in bytes, the most since it was last cleared."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) << 10 if found else 0


class Place:
    """Folders of one test, and the commands run in them."""

    def __init__(self, root: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.input, self.scratch, self.evidence = root / "in", root / "scratch", root / "evidence"
        self.results, self.output = root / "results", root / "out.h5"
        self.root, self.capture = root, capture
        self.input.mkdir()
        self.scratch.mkdir()

    def tree(self) -> list[str]:
        """Everything below the test's folder; of the results' folder what is in it."""
        found = (path.relative_to(self.root) for path in self.root.rglob("*"))
        return sorted(str(path) for path in found if path != Path("results"))

    def call(self, *words: object) -> Told:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        memory, began = peak_memory(), time.process_time()
        code = main([str(word) for word in words])
        seconds, grown = time.process_time() - began, peak_memory() - memory
        return Told(code, *self.capture.readouterr(), seconds, grown)


@pytest.fixture
def place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Place:
    """A working folder, a folder for temporary files, and the dataset already read once."""
    found = Place(tmp_path, capfd)
    monkeypatch.setattr(tempfile, "tempdir", str(found.scratch))
    monkeypatch.setenv("TMPDIR", str(found.scratch))
    monkeypatch.chdir(found.scratch)
    return found


def words_of(made: Case, at: Path) -> tuple[str, ...]:
    given = tuple(word.format(at=at) for word in made.options)
    return given if made.space is None else (*given, "--space", made.space)


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Modules are imported once, so that time and memory are those of the files."""
    path = savez(tmp_path_factory.mktemp("warm"))
    main(["inspect", str(path)])


@pytest.mark.parametrize("kind", RIGHT)
def test_what_the_cases_make_wrong_is_right_otherwise(kind: str, place: Place) -> None:
    path = RIGHT[kind](place.input)
    told = place.call("import", path, *IMPORT, "--space", "unit", "-o", place.output)
    assert told.code == 0, told.err
    assert place.output.is_file() and not list(place.scratch.iterdir())


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_refused_and_leaves_nothing(
    name: str, place: Place, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    made = CASES[name]
    path = made.build(place.input, place.evidence)
    place.capture.readouterr()
    recwarn.clear()
    answers, before = words_of(made, place.input), place.tree()
    commands = {
        "import": ("import", path, *IMPORT, *answers, "-o", place.output),
        "evaluate": ("evaluate", path, *EVALUATE, *answers, "--results", place.results),
        "inspect": ("inspect", path),
    }
    for command, words in commands.items():
        told = place.call(*words)
        assert told.code in ((0, 2) if command == "inspect" else (2,)), (command, told)
        assert told.err.count("\n") == (1 if told.code else 0), (command, told.err)
        assert told.err.startswith("ddbench: ") or not told.code
        assert "Traceback" not in told.err + told.out
        assert told.err.rstrip("\n").isprintable() and len(told.err) < LINE, (command, told.err)
        if command != "inspect":
            assert re.search(made.words, told.err), (command, told.err)
        assert place.tree() == before, (command, "something was left")
        assert told.seconds < SECONDS, (command, told.seconds)
        assert told.memory < MEMORY, (command, told.memory >> 20)
    assert not place.evidence.exists()
    assert not caplog.records and not recwarn.list, (caplog.text, [str(w) for w in recwarn])
