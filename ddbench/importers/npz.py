"""NumPy archives with images and labels; among them KIP's.

KIP's images are in its own whitened space and its labels one-hot minus 1/K, as the files' names say
(justincui03/dc_benchmark data_loader/kip_data_loader.py:12-37).
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ddbench.file_kinds import npy_header, opened_zip
from ddbench.importers import Found, _named_arrays

if TYPE_CHECKING:
    import numpy as np

    from ddbench.importers._source import Source

SUMMARY = "NumPy .npz with images and labels (also F, lr); KIP's kip_*.npz"

_KIP = re.compile(r"kip_(?P<dataset>[^_]+)_(?P<network>[^_]+)_ssize(?P<images>\d+)_.*\.npz")


def matches(source: Source) -> str | None:
    """Whether it is one npz file with an array of images."""
    if len(source.names) != 1 or source.head(source.names[0], 4) != b"PK\x03\x04":
        return None
    try:
        with opened_zip(source.file(source.names[0])) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return None
    if not all(name.endswith(".npy") for name in names):
        return None
    return _named_arrays.reason([name.removesuffix(".npy") for name in names], "NumPy arrays")


def read(source: Source) -> Sequence[Found]:
    """The one set.

    Raises:
        BadInput: damaged, pickled objects, arrays larger than what the file can hold or than is
            read, or arrays that are no set.
    """
    import torch

    from ddbench.importers import _archive

    (name,) = source.names
    source.check_size(name)
    with _archive.damage(source.bad("").file, "npz file"):
        with opened_zip(source.file(name)) as archive:
            known = {member.removesuffix(".npy"): member for member in archive.namelist()}
            if len(known) != len(archive.namelist()):
                raise source.bad("holds two arrays of one name")
            parts = _named_arrays.parts(source, known)
            most = _archive.unpacked_limit(source.size(name), source.limits)
            arrays = {
                part: _array(source, archive, known[array], most) for part, array in parts.items()
            }
    source.use(name)
    unread = sorted(set(known) - set(parts.values()))
    hints: dict[str, Any] = {"unread": unread} if unread else {}
    tensors = {part: torch.from_numpy(array) for part, array in arrays.items()}
    match = _KIP.fullmatch(name.rsplit("/", maxsplit=1)[-1])
    if match is None:
        return [_named_arrays.found(source, tensors, hints=hints)]
    stated: dict[str, Any] = {"hints": {**hints, "method": "kip", **match.groupdict()}}
    if "_zca_" in name:
        stated["space"] = "kip_zca"
    if "y" in tensors and tensors["y"].is_floating_point():
        stated["kind"] = "centred"
    return [_named_arrays.found(source, tensors, **stated)]


def _array(
    source: Source, archive: zipfile.ZipFile, member: str, most: int
) -> np.ndarray[Any, Any]:
    """One array in the machine's byte order; its header is believed only where the bytes agree."""
    from numpy.lib import format as npy

    from ddbench.importers import _archive

    info = archive.getinfo(member)
    with _archive.opened(archive, info) as stream:
        shape, _, dtype, start = npy_header(stream)
    name = member.removesuffix(".npy")
    if dtype.hasobject or dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise source.bad(f"'{name}' holds {dtype}, not plain numbers")
    _named_arrays.check_elements(source, name, shape)
    claimed = math.prod(shape) * dtype.itemsize
    if claimed != info.file_size - start:
        raise source.bad(f"'{name}' claims {claimed} bytes but holds {info.file_size - start}")
    if info.file_size > most:
        raise source.bad(f"'{name}' unpacks to far more than images shrink to")
    with archive.open(info) as stream:
        array = npy.read_array(stream, allow_pickle=False)
    return array.astype(dtype.newbyteorder("="), copy=False)
