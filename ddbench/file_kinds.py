"""What kind of file something is, by its first bytes and its headers; contents are never opened."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    import numpy as np

_NPY = b"\x93NUMPY"
HDF5 = b"\x89HDF\r\n\x1a\n"
HEAD_BYTES = 512  # bytes read to tell the kind
_MAX_HEADER = 1 << 24  # bytes of a safetensors header that are read
_MAX_NPY_HEADER = 1 << 16  # bytes; numpy's own are some hundred
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_PICKLE = "pickle (never opened: it can run any code)"
_SIGNATURES = (
    (HDF5, "HDF5 of another program"),
    (_TORCH_LEGACY, "torch file (legacy pickle)"),
    *((bytes((0x80, version)), _PICKLE) for version in range(2, 6)),
    (b"\x89PNG\r\n\x1a\n", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"\x1f\x8b", "gzip archive"),
)
PLAIN_ZIP = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""``zipfile`` unpacks the others without a bound: a megabyte may become gigabytes at once."""

_MAX_LIST = 1 << 24  # bytes of a zip's list of files; each takes some hundred

_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


def describe_file(path: Path, head: bytes, size: int) -> dict[str, Any]:
    """``format`` and, where it is safe to read, ``arrays``."""
    if not head:
        return {"format": "empty file"}
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    if head.startswith(_NPY):
        with path.open("rb") as file:
            return {"format": "npy (one numpy array)", "arrays": {"": _described(file)}}
    name = next((name for first, name in _SIGNATURES if head.startswith(first)), None)
    if name is None and head[257:262] == b"ustar":
        name = "tar archive"
    if name is not None:
        return {"format": name}
    return _safetensors(path, head, size) or {"format": "unknown"}


def _zip(path: Path) -> dict[str, Any]:
    """Torch and numpy both write zip archives; only names and array headers are read."""
    try:
        with opened_zip(path) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if any(name.endswith("/data.pkl") for name in names):
                return {"format": "torch file (zip; holds a pickle, which is never opened)"}
            if not names or not all(name.endswith(".npy") for name in names):
                return {"format": "zip archive"}
            arrays = {}
            for member in members:
                name = member.filename.removesuffix(".npy")
                if member.compress_type not in PLAIN_ZIP:
                    arrays[name] = {"problem": "is packed oddly"}
                    continue
                with archive.open(member) as file:
                    arrays[name] = _described(file)
            return {"format": "npz (numpy arrays)", "arrays": arrays}
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, ValueError):
        return {"format": "zip archive, damaged or encrypted"}


@contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip for reading, whose list of files is not longer than any that holds a set.

    Raises:
        zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError: it is none.
        OSError: it cannot be read.
    """
    with _Listing(path) as stream, zipfile.ZipFile(cast(IO[bytes], stream)) as archive:
        stream.bounded = False
        yield archive


class _Listing(io.FileIO):
    """A file of which no read is long while ``zipfile`` takes its list of files into memory."""

    bounded = True

    def read(self, size: int | None = -1, /) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        wanted = left if size is None or size < 0 else min(size, left)
        if self.bounded and wanted > _MAX_LIST:
            raise zipfile.BadZipFile("its list of files is too long; unpack it yourself")
        return super().read(max(0, wanted))

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_SET and offset < 0:
            raise zipfile.BadZipFile("it refers to bytes before its beginning")
        return super().seek(offset, whence)


class NpyHeader(NamedTuple):
    """What a numpy file says of its array; ``size`` is that of the header in bytes."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    size: int


def npy_header(stream: IO[bytes]) -> NpyHeader:
    """The header at the start of a stream, of which little more is read, whatever it claims.

    Raises:
        ValueError: it is none.
        OSError, zipfile.BadZipFile, ...: what reading the stream raises.
    """
    from numpy.lib import format as npy

    start = io.BytesIO(stream.read(_MAX_NPY_HEADER))
    try:
        version = npy.read_magic(start)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(start)
    except Exception as error:  # numpy parses it as Python: also errors of syntax and tokens
        cause = " ".join(str(error).split())[:100]
        raise ValueError(f"its header cannot be read: {cause}") from None
    return NpyHeader(shape, fortran, dtype, start.tell())


def _described(file: IO[bytes]) -> dict[str, Any]:
    """Shape and dtype of a numpy array; its content is not read."""
    try:
        header = npy_header(file)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
        return {"problem": "its header cannot be read"}
    found = {"shape": list(header.shape), "dtype": str(header.dtype)}
    return {**found, "problem": "holds pickled objects"} if header.dtype.hasobject else found


def _safetensors(path: Path, head: bytes, size: int) -> dict[str, Any] | None:
    if len(head) < 9 or head[8:9] != b"{":
        return None
    (length,) = struct.unpack("<Q", head[:8])
    if length > min(size - 8, _MAX_HEADER):
        return None
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(length)
    try:
        entries = json.loads(text)
        arrays = {
            name: {"shape": entry["shape"], "dtype": entry["dtype"]}
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return {"format": "safetensors", "arrays": arrays}


def describe_folder(path: Path) -> dict[str, Any]:
    """Images per sub-folder, one level down."""
    counts = {
        folder.name: sum(file.suffix.lower() in _IMAGES for file in folder.iterdir())
        for folder in sorted(path.iterdir())
        if folder.is_dir()
    }
    found = {name: count for name, count in counts.items() if count}
    kind = "image folder (one sub-folder per class)" if found else "folder"
    return {"format": kind, "images_per_class": found}
