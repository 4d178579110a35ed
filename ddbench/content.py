"""Identity of files by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex.

    A file whose path, size and modification time are unchanged is not read again by this process.

    Raises:
        OSError: it cannot be read.
    """
    stat = path.stat()
    return _digest(path.resolve(), stat.st_size, stat.st_mtime_ns)


def files_sha256(files: Mapping[str, Path]) -> str:
    """SHA-256 over the names (in the mapping's order) and bytes of several files, in hex."""
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(f"{name}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


@cache
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    del size, mtime_ns  # part of the cache's key only
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
