"""HDF5 files of other programs: numeric arrays at the root, nothing that leads anywhere else.

Axes: none of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from ddbench.errors import BadInput
from ddbench.store.tree import Array

Header = tuple[tuple[int, ...], np.dtype[Any]]

_DEFLATE_LIMIT = 1100  # deflate shrinks at most 1032 times
_FILTERS = {1, 2, 3, 32000}  # deflate, shuffle, Fletcher's checksum, LZF: those of every h5py


def headers(path: Path) -> dict[str, Header] | None:
    """Shape and dtype of the arrays at the root; None for a result of ddbench.

    Raises:
        BadInput: not HDF5, or damaged.
    """

    def scan(file: Any) -> dict[str, Header] | None:
        if "schema" in file.attrs:
            return None
        nodes = {name: file[name] for name in file if _is_plain(file, name)}
        return {
            name: (node.shape, node.dtype)
            for name, node in nodes.items()
            if isinstance(node, h5py.Dataset) and node.shape is not None
        }

    return _opened(path, scan)


def read_array(path: Path, name: str, most: int) -> Array:
    """The array ``name`` at the root, of at most ``most`` bytes.

    Raises:
        BadInput: it is missing, no array of numbers, a link, outside this file, packed with a
            plug-in, larger than ``most`` or than its stored bytes can be; or the file is damaged.
    """

    def read(file: Any) -> Array:
        node = file[name] if name in file.keys() and _is_plain(file, name) else None
        if not isinstance(node, h5py.Dataset):
            raise BadInput(f"'{name}' is no array in this file (links are not followed)", file=path)
        problem = _problem(node, path.stat().st_size, most)
        if problem:
            raise BadInput(f"'{name}' {problem}", file=path)
        return np.asarray(node[()])

    return _opened(path, read)


def _opened(path: Path, use: Callable[[Any], Any]) -> Any:
    try:
        with h5py.File(path, "r", locking=False) as file:
            return use(file)
    except (BadInput, KeyboardInterrupt):
        raise
    except Exception as error:
        # HDF5 reports damage as almost any exception type, depending on which byte is wrong.
        cause = " ".join(str(error).split())[:160]
        raise BadInput(f"cannot be read as HDF5 ({cause})", file=path) from None


def _is_plain(file: Any, name: str) -> bool:
    return isinstance(file.get(name, getlink=True), h5py.HardLink)


def _problem(node: Any, size: int, most: int) -> str | None:
    """Why an array is not read, before memory is taken for it."""
    if node.external or node.is_virtual:
        return "points to other files"
    wide = node.dtype.itemsize > 8  # numbers that only numpy has
    if node.shape is None or node.dtype.kind not in "fiub" or node.dtype.names or wide:
        return f"holds {node.dtype}, not plain numbers"
    filters = node.id.get_create_plist()
    kinds = {filters.get_filter(i)[0] for i in range(filters.get_nfilters())}
    if kinds - _FILTERS:
        return "is packed in a way that needs a plug-in"
    item = node.id.get_type().get_size()
    claimed = math.prod(node.shape) * item
    chunk = math.prod(node.chunks) * item if node.chunks else 0
    stored = node.id.get_storage_size()
    largest = stored * _DEFLATE_LIMIT if node.chunks else stored
    if stored > size or max(claimed, chunk) > largest:
        return f"claims the shape {node.shape}, more than the file can hold"
    if claimed > most:
        return f"has {claimed} bytes, more than the {most} that are read"
    return None
