"""A file for HDF5 to write to that fails only after HDF5 is done with it."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO


class DeferredErrors:
    """A binary file whose write errors wait for ``check``.

    The HDF5 library does not survive a full disk: what it could not write it tries again whenever
    an object is closed, and the process ends in a segmentation fault (measured with HDF5 2.0 and
    h5py 3.16). Here it is told that all is well, and the error is raised once it let go.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._error: BaseException | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> DeferredErrors:
        self._file = self._path.open("w+b", buffering=0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def check(self) -> None:
        """Raise the first error, if there was one."""
        if self._error is not None:
            raise self._error

    # --- what h5py asks of a file object ---

    def write(self, data: Any) -> int:
        """Write all of ``data``; always claims to have done so."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while len(rest) and self._error is None:
            try:
                rest = rest[self._open.write(rest) :]
            except BaseException as error:  # an interrupt must not unwind through HDF5 either
                self._error = error
        return size

    def read(self, size: int = -1) -> bytes:
        """As for any file; h5py knows a file object by this method, and reads with ``readinto``."""
        return self._open.read(size)

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer``, with zeros beyond the end."""
        view = memoryview(buffer).cast("B")
        data = self._open.read(len(view)) or b""
        view[:] = data.ljust(len(view), b"\0")
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As for any file."""
        return self._open.seek(offset, whence)

    def tell(self) -> int:
        """As for any file."""
        return self._open.tell()

    def truncate(self, size: int) -> int:
        """Set the length; an error waits as in ``write``."""
        try:
            return self._open.truncate(size)
        except BaseException as error:
            self._error = self._error or error
            return size

    def flush(self) -> None:
        """Nothing is held back."""

    @property
    def _open(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("the file is not open")
        return self._file
