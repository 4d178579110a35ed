"""Unpacking archives of others: zip and tar (plain, gzip, xz, bzip2), regular files only.

Sizes written in an archive are not believed: bytes are counted as they come out, and unpacking
stops where they are more than what images and tensors shrink to.
"""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, TYPE_CHECKING, Any, cast

from ddbench.errors import BadInput
from ddbench.file_kinds import PLAIN_ZIP, opened_zip
from ddbench.importers._source import clipped

if TYPE_CHECKING:
    from ddbench.importers._source import Limits

_PIECE = 1 << 20  # bytes read at once; no header of a tar member is longer
_SMALL = 64 << 20  # bytes that any archive may unpack to
_RATIO = 100  # beyond that, bytes per byte of the archive; images and floats reach 10
_ZIP = b"PK\x03\x04"
_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_ENTRY = 50  # bytes of an archive per file in it, at least, beyond the first thousand
_FEW = 1000
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What the readers of archives raise for damaged and for encrypted ones."""


def is_archive(path: Path) -> bool:
    """Whether ``path`` is a zip (not of torch or numpy) or a tar, by its first bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.startswith(_ZIP):
        return not _of_arrays(path)
    if head[257:262] == b"ustar":
        return True
    opener = _opener(head)
    if opener is None:
        return False
    try:
        with opener(path, "rb") as stream:
            return bytes(stream.read(512)[257:262]) == b"ustar"
    except (*DAMAGE, OSError):
        return False


def unpack(path: Path, into: Path, limits: Limits) -> Path:
    """Write the regular files of an archive below the empty folder ``into``, which is returned.

    Raises:
        BadInput: damaged or encrypted; names that lead out of the folder or come twice; links and
            special files; more files or bytes than allowed.
        OSError: the file system refused.
    """
    most = unpacked_limit(path.stat().st_size, limits)
    with path.open("rb") as stream:
        head = stream.read(8)
    files = min(limits.files, max(_FEW, path.stat().st_size // _ENTRY))
    with damage(path, "archive"):
        if head.startswith(_ZIP):
            _unzip(path, into, files, most)
        else:
            _untar(path, into, files, most)
    return into


def unpacked_limit(packed: int, limits: Limits) -> int:
    """The most bytes that ``packed`` compressed bytes may grow to."""
    return min(limits.total_bytes, max(_SMALL, _RATIO * packed))


@contextmanager
def damage(path: object, kind: str) -> Iterator[None]:
    """Turn what the readers of archives raise for damaged ones into ``BadInput``."""
    try:
        yield
    except DAMAGE as error:
        said = clipped(" ".join(str(error).split()))
        raise BadInput(f"is a damaged {kind}, or an encrypted one ({said})", file=path) from None


def opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    """A member's content; raises ``ValueError`` where it cannot be unpacked piece by piece."""
    if member.flag_bits & 1 or member.compress_type not in PLAIN_ZIP:
        raise ValueError(f"'{clipped(member.filename)}' is encrypted or packed oddly")
    return archive.open(member)


def _of_arrays(path: Path) -> bool:
    """Whether a zip is a file of ``torch.save`` or ``numpy.savez``."""
    try:
        with opened_zip(path) as archive:
            names = [PurePosixPath(name).name for name in archive.namelist()]
    except DAMAGE:
        return False
    return "data.pkl" in names or (bool(names) and all(name.endswith(".npy") for name in names))


def _opener(head: bytes) -> Callable[..., Any] | None:
    return next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)


# --- members -------------------------------------------------------------------------------------


def _target(path: Path, into: Path, name: str) -> Path:
    """Where a member goes; raises ``BadInput`` for a name that leads out of the folder."""
    pure, shown = PurePosixPath(name), clipped(name)
    strange = "\\" in name or "\0" in name or bool(PureWindowsPath(name).drive)
    if strange or not pure.parts or pure.is_absolute() or ".." in pure.parts:
        raise BadInput(f"holds the name '{shown}', which leads out of the folder", file=path)
    target = into / pure
    if target.exists():
        raise BadInput(f"holds '{shown}' twice", file=path)
    return target


class _Budget:
    """Counts what comes out; raises ``BadInput`` where it is too much."""

    def __init__(self, path: Path, files: int, size: int) -> None:
        self._path, self._files, self._size = path, files, size

    def entry(self) -> None:
        self._files -= 1
        if self._files < 0:
            raise BadInput("holds more files than are read", file=self._path)

    def spend(self, size: int) -> None:
        self._size -= size
        if self._size < 0:
            raise BadInput(
                "unpacks to far more than images and tensors shrink to; if it is what it should "
                "be, unpack it yourself and name the folder",
                file=self._path,
            )

    def counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.spend(len(piece))
            yield piece


def _write(target: Path, pieces: Iterable[bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as stream:
        stream.writelines(pieces)


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: stream.read(_PIECE), b"")


# --- zip -----------------------------------------------------------------------------------------


def _unzip(path: Path, into: Path, files: int, most: int) -> None:
    with opened_zip(path) as archive:
        members = archive.infolist()
        _check_overlap(path, members)
        budget = _Budget(path, files, most)
        for member in members:
            budget.entry()
            mode = stat.S_IFMT(member.external_attr >> 16)
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                shown = clipped(member.filename)
                raise BadInput(f"holds '{shown}', which is no plain file", file=path)
            if member.filename.endswith("/"):
                continue
            target = _target(path, into, member.orig_filename)
            with opened(archive, member) as stream:
                _write(target, budget.counted(_pieces(stream)))


def _check_overlap(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse members that share bytes: one small piece of data unpacked many times."""
    ordered = sorted(members, key=lambda member: member.header_offset)
    for member, following in itertools.pairwise(ordered):
        if member.header_offset + member.compress_size + 30 > following.header_offset:
            raise BadInput("holds files that share their bytes", file=path)


# --- tar -----------------------------------------------------------------------------------------


def _untar(path: Path, into: Path, files: int, most: int) -> None:
    with path.open("rb") as packed:
        opener = _opener(packed.read(8))
        packed.seek(0)
        plain = packed if opener is None else opener(packed, "rb")
        budget = _Budget(path, files, most)
        with tarfile.open(fileobj=cast(IO[bytes], _Pieces(plain, budget)), mode="r:") as archive:
            for member in archive:
                budget.entry()
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    shown = clipped(member.name)
                    raise BadInput(f"holds '{shown}', which is no plain file", file=path)
                target = _target(path, into, member.name)
                if hasattr(tarfile, "data_filter"):  # from Python 3.11.4: what it refuses besides
                    tarfile.data_filter(member, str(into))
                stream = archive.extractfile(member)
                assert stream is not None, "a regular member has content"
                _write(target, _pieces(stream))


class _Pieces(io.RawIOBase):
    """A stream in which no single read is long and each new byte is counted once.

    ``tarfile`` reads extended headers at whatever size they claim.
    """

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self._stream, self._budget, self._counted = stream, budget, 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _PIECE:
            raise tarfile.ReadError("a header is too long")
        data = self._stream.read(size)
        self._count(self._stream.tell())
        return data

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise tarfile.ReadError("not a plain archive")
        self._count(offset)
        return self._stream.seek(offset)

    def _count(self, position: int) -> None:
        if position > self._counted:
            self._budget.spend(position - self._counted)
            self._counted = position
