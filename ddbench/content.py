"""Identity of files, and of this package, by their content."""

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


COMMIT_FILE = "_commit.txt"
"""In a copy of this package that is no checkout (an image, a submission): the commit it is of."""


@cache
def code_digest() -> str:
    """SHA-256 over the names and bytes of this package's ``*.py`` and ``*.yaml`` files, in hex.

    Equal for a checkout, an installed package and a copy of the same code. Read once per process.
    """
    package = Path(__file__).resolve().parent
    files = {
        path.relative_to(package).as_posix(): path
        for path in package.rglob("*")
        if path.suffix in (".py", ".yaml") and "__pycache__" not in path.parts
    }
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@cache
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    del size, mtime_ns  # part of the cache's key only
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
