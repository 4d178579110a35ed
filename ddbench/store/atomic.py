"""Publishing a file as a whole: readers see the old one or the new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Give a temporary sibling to write to; it becomes ``path`` when the block ends well.

    The file is on the disk before it gets its name. When anything fails, the temporary is removed
    and what was at ``path`` before stays.

    Raises:
        OSError: the file system refused (full, read-only, gone).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def sync(path: Path) -> None:
    """Wait until the content of ``path`` is on the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Wait until the names in ``directory`` are on the disk, where the file system can do that."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of ``path`` left; only for who holds the lock on it."""
    prefix = f".{path.name}."
    with contextlib.suppress(FileNotFoundError):
        for sibling in list(path.parent.iterdir()):
            if sibling.name.startswith(prefix) and sibling.suffix == ".tmp":
                sibling.unlink(missing_ok=True)
