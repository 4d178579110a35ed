"""HDF5 of other programs: arrays x or images, y or labels, and F, lr at the root."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ddbench.errors import BadInput
from ddbench.importers import Found, _named_arrays

if TYPE_CHECKING:
    from ddbench.importers._source import Source

SUMMARY = "HDF5 of other programs with images and labels (also F, lr)"

_MAGIC = b"\x89HDF\r\n\x1a\n"


def matches(source: Source) -> str | None:
    """Whether it is one HDF5 file with an array of images, and no result of ddbench."""
    if len(source.names) != 1 or source.head(source.names[0], len(_MAGIC)) != _MAGIC:
        return None
    from ddbench.store import foreign_hdf5

    try:
        found = foreign_hdf5.headers(source.file(source.names[0]))
    except BadInput:
        return None
    return None if found is None else _named_arrays.reason(found, "HDF5 of another program")


def read(source: Source) -> Sequence[Found]:
    """The one set.

    Raises:
        BadInput: damaged, links, arrays larger than what the file can hold or than is read, or
            arrays that are no set.
    """
    import torch

    from ddbench.importers import _archive
    from ddbench.store import foreign_hdf5

    (name,) = source.names
    path = source.file(name)
    source.check_size(name)
    most = _archive.unpacked_limit(source.size(name), source.limits)
    try:
        headers = foreign_hdf5.headers(path)
        if headers is None:
            raise source.bad("is a result of ddbench, which needs no import")
        parts = _named_arrays.parts(source, headers)
        for array in parts.values():
            _named_arrays.check_elements(source, array, headers[array][0])
        arrays = {part: foreign_hdf5.read_array(path, array, most) for part, array in parts.items()}
    except BadInput as error:
        raise source.bad(error.problem, allowed=error.allowed) from None
    source.use(name)
    tensors = {
        part: torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
        for part, array in arrays.items()
    }
    unread = sorted(set(headers) - set(parts.values()))
    return [_named_arrays.found(source, tensors, hints={"unread": unread} if unread else {})]
