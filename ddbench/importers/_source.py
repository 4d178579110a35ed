"""What the user pointed at, opened for reading: a file, a folder or an unpacked archive.

Foreign material is hostile until shown otherwise: nothing outside the root is reached, nothing is
executed, and nothing is larger than a limit. Torch-free at the top.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ddbench.errors import BadInput
from ddbench.file_kinds import opened_zip

TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How a file of ``torch.save`` without a zip container begins: protocol 2, the magic number."""

_ZIP = b"PK\x03\x04"
_KEPT = 8  # loaded files; a store of soft labels has thousands
_SHOWN = 300  # characters of a text in a message


@dataclass(frozen=True)
class Limits:
    """The most that is read of foreign material.

    Attributes:
        file_bytes: of one file.
        total_bytes: of all that an archive unpacks to.
        files: entries of a folder or archive.
        elements: numbers in one tensor or array.
    """

    file_bytes: int = 4 << 30
    total_bytes: int = 64 << 30
    files: int = 5_000_000
    elements: int = 1 << 31


@dataclass(frozen=True, eq=False)
class Source:
    """A file or folder of others.

    Attributes:
        path: as the user named it.
        root: the folder itself, or the file's folder.
        is_folder: whether it is one (an unpacked archive is).
        names: regular files below ``root`` as sorted posix names, without hidden ones; a single
            file: its name alone.
        limits: what is refused as too large.
        is_archive: whether the root is a temporary folder that an archive was unpacked into.
        used: SHA-256 of every file that was read, by name.
    """

    path: Path
    root: Path
    is_folder: bool
    names: tuple[str, ...]
    limits: Limits = Limits()
    is_archive: bool = False
    used: dict[str, str] = field(default_factory=dict)
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)
    _outlined: dict[str, Any] = field(default_factory=dict, repr=False)
    _refused: dict[str, BadInput] = field(default_factory=dict, repr=False)

    @staticmethod
    @contextlib.contextmanager
    def open(path: Path, limits: Limits | None = None, *, unpack: bool = True) -> Iterator[Source]:
        """Open what lies at ``path``; archives are unpacked into a folder that is removed again.

        Args:
            unpack: whether to; otherwise an archive is a file like others.

        Raises:
            BadInput: nothing there, not readable, links that leave the folder, special files, too
                many entries, or a damaged archive.
        """
        with contextlib.ExitStack() as stack:
            try:
                source = _opened(path, limits or Limits(), stack if unpack else None)
            except OSError as error:
                raise BadInput(f"cannot be read ({error.strerror or error})", file=path) from None
            yield source

    # --- files ---------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether ``name`` is there to be read; a single file's neighbours are."""
        try:
            return self.file(name).is_file()
        except BadInput:
            return False

    def file(self, name: str) -> Path:
        """Where ``name`` lies; raises ``BadInput`` if that is outside the root."""
        if name == self.path.name and not self.is_folder:
            return self.path
        pure = PurePosixPath(name)
        found = (self.root / pure).resolve()
        if pure.is_absolute() or ".." in pure.parts or not found.is_relative_to(self.root):
            raise self.bad("leads outside the folder", name=name)
        return found

    def size(self, name: str) -> int:
        """Bytes of a file."""
        with self._reading(name):
            return self.file(name).stat().st_size

    def head(self, name: str, size: int = 512) -> bytes:
        """The first ``size`` bytes of a file, or fewer."""
        with self._reading(name), self.file(name).open("rb") as stream:
            return stream.read(size)

    def read_bytes(self, name: str, limit: int | None = None) -> bytes:
        """A whole file; refused if larger than ``limit`` (default: the limit of a file)."""
        self.check_size(name, limit)
        self.use(name)
        with self._reading(name):
            return self.file(name).read_bytes()

    def check_size(self, name: str, limit: int | None = None) -> None:
        """Refuse a file that is larger than ``limit`` bytes (default: the limit of a file)."""
        most = self.limits.file_bytes if limit is None else limit
        if (size := self.size(name)) > most:
            raise self.bad(f"has {size} bytes, more than the {most} that are read", name=name)

    def sha256(self, name: str) -> str:
        """SHA-256 of a file, read in pieces."""
        if name in self.used:
            return self.used[name]
        with self._reading(name), self.file(name).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def use(self, *names: str) -> None:
        """Record that files were read."""
        for name in names:
            self.used[name] = self.sha256(name)

    def bad(
        self,
        problem: str,
        *,
        name: str | None = None,
        allowed: str | Iterable[object] | None = None,
        field: str | None = None,
    ) -> BadInput:
        """The error for this source, or for its file ``name``; not longer than one can read."""
        if allowed is not None and not isinstance(allowed, str):
            allowed = ", ".join(str(item) for item in allowed)
        allowed = allowed and clipped(allowed)
        return BadInput(clipped(problem), file=self.shown(name), allowed=allowed, field=field)

    def shown(self, name: str | None = None) -> Path:
        """How messages call this source, or its file ``name``."""
        if name is None or (not self.is_folder and name == self.path.name):
            return self.path
        return (self.path if self.is_folder else self.path.parent) / name

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self.bad(f"cannot be read ({error.strerror or error})", name=name) from None

    # --- torch files ---------------------------------------------------------------------------

    def is_torch(self, name: str) -> bool:
        """Whether a file is a container of ``torch.save``, by its first bytes and member names."""
        try:
            return is_torch(self.file(name))
        except (BadInput, OSError):
            return False

    def load_torch(self, name: str) -> Any:
        """Content of a file of ``torch.save``, on the CPU, detached and finite.

        The last few are kept.

        Raises:
            BadInput: anything but plain tensors, numbers, texts and their lists and dicts.
        """
        if name in self._refused:
            raise self._refused[name]
        if name not in self._loaded:
            from ddbench.importers._safe_torch import load

            self.check_size(name)
            value = load(self.file(name), self.shown(name), self.limits)
            self.use(name)
            while len(self._loaded) >= _KEPT:
                del self._loaded[next(iter(self._loaded))]
            self._loaded[name] = value
        return self._loaded[name]

    def skeleton(self, name: str) -> Any:
        """What ``load_torch`` would give with tensors that have shapes only; None if it fails.

        Reads no pixels and never raises for what a file holds: for ``matches``.
        """
        if name not in self._outlined:
            from ddbench.importers._safe_torch import skeleton

            try:
                found = skeleton(self.file(name), self.shown(name), self.limits)
            except BadInput as error:
                found, self._refused[name] = None, error
            self._outlined[name] = found
        return self._outlined[name]


def clipped(text: str) -> str:
    """A text for a message, without the middle where it is long: foreign names can be megabytes."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 60]} ... {text[-50:]}"


def _opened(path: Path, limits: Limits, stack: contextlib.ExitStack | None) -> Source:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        root = path.resolve()
        return Source(path, root, True, _walk(path, root, limits), limits)
    if not stat.S_ISREG(mode):
        raise BadInput("is neither a file nor a folder", file=path)
    if stack is not None and _is_archive(path):
        from ddbench.importers._archive import unpack

        into = stack.enter_context(tempfile.TemporaryDirectory(prefix="ddbench-"))
        root = unpack(path, Path(into), limits).resolve()
        return Source(path, root, True, _walk(path, root, limits), limits, is_archive=True)
    return Source(path, path.parent.resolve(), False, (path.name,), limits)


def is_torch(path: Path) -> bool:
    """Whether ``path`` is a container of ``torch.save``: a zip with ``data.pkl``, or a legacy one.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(len(TORCH_LEGACY))
    if head == TORCH_LEGACY:
        return True
    if not head.startswith(_ZIP):
        return False
    try:
        with opened_zip(path) as archive:
            return any(PurePosixPath(name).name == "data.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError):
        return False


def _is_archive(path: Path) -> bool:
    if is_torch(path):
        return False
    from ddbench.importers._archive import is_archive

    return is_archive(path)


def _walk(shown: Path, root: Path, limits: Limits) -> tuple[str, ...]:
    """Names of all regular files; hidden ones and linked folders inside the root are passed by."""
    found: list[str] = []
    waiting = [root]
    entries = 0
    while waiting:
        with os.scandir(waiting.pop()) as scan:
            for entry in scan:
                entries += 1
                if entries > limits.files:
                    raise BadInput(f"has more than {limits.files} entries", file=shown)
                name = Path(entry.path).relative_to(root).as_posix()
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                if entry.is_symlink() and not _stays(Path(entry.path), root):
                    raise BadInput(
                        "is a link that leads outside the folder, which is not followed; copy the "
                        "folder with 'cp -rL'",
                        file=shown / name,
                    )
                if entry.is_dir():
                    if not entry.is_symlink():
                        waiting.append(Path(entry.path))
                elif entry.is_file():
                    found.append(name)
                elif not entry.is_symlink():
                    raise BadInput("is neither a file nor a folder", file=shown / name)
    return tuple(sorted(found))


def _stays(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a loop of links
        return False
