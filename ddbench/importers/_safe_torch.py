"""Files of ``torch.save``, loaded without trusting them.

Two lines of defence. First the container is checked and its pickle followed without executing
anything (``_outline``): names, sizes and bounds. Then ``torch.load(weights_only=True)`` reads it;
numpy's few names stand for inert builders below, inside that one call only.
"""

from __future__ import annotations

import io
import math
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ddbench.errors import BadInput
from ddbench.file_kinds import opened_zip
from ddbench.importers import _outline
from ddbench.importers._outline import NumpyNode, Outline, TensorOutline, Unreadable
from ddbench.importers._source import TORCH_LEGACY, Limits, clipped

_MAX_PICKLE = 1 << 26  # bytes; a list of 10^5 tensors takes some 10^7
_MAX_NODES = 100_000  # values in lists and dicts; a buffer of ten experts has some 10^4
_MAX_DEPTH = 32
_REPEATS = 4  # tensors may share storages, but together not be many times the file
_PARTS = {"data.pkl", "byteorder", "version", ".format_version", ".storage_alignment"}


def load(path: Path, shown: object, limits: Limits) -> Any:
    """Tensors, numbers and texts of a file, in its lists, tuples and dicts.

    Tensors are on the CPU, contiguous, without gradient; numpy arrays become tensors, numpy
    scalars Python numbers.

    Args:
        shown: what messages call the file.

    Raises:
        BadInput: another kind of file, damage, anything but the above, or values not finite.
    """
    with _refusals(shown):
        _preflight(path, limits)
        legacy = _head(path) == TORCH_LEGACY
        # memory keeps the oldest format (a tar that is unpacked) out of reach; mapping bounds
        # what a storage can read by the file
        source: Any = io.BytesIO(path.read_bytes()) if legacy else str(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(_BUILDERS)):
            warnings.simplefilter("ignore")
            value = torch.load(source, map_location="cpu", weights_only=True, mmap=not legacy)
        return _Plain(limits).of(value, "")


def skeleton(path: Path, shown: object, limits: Limits) -> Any:
    """The same with tensors on the ``meta`` device and numpy scalars 0; reads no numbers."""
    with _refusals(shown):
        return _Plain(limits).of(_preflight(path, limits).value, "")


@contextmanager
def _refusals(shown: object) -> Iterator[None]:
    try:
        yield
    except BadInput as error:
        raise error.at(file=shown) from None
    except Unreadable as error:
        raise BadInput(clipped(str(error)), file=shown) from None
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror or error})", file=shown) from None
    except Exception as error:  # torch reports damage as almost any type
        cause = " ".join(f"{type(error).__name__} {error}".split())[:160]
        raise BadInput(f"is damaged or cut short ({cause})", file=shown) from None


# --- before torch sees it ------------------------------------------------------------------------


def _preflight(path: Path, limits: Limits) -> Outline:
    size = path.stat().st_size
    if size > limits.file_bytes:
        raise Unreadable(f"has {size} bytes, more than the {limits.file_bytes} that are read")
    head = _head(path)
    with path.open("rb") as stream:
        if head == TORCH_LEGACY:
            found = _legacy(stream, size)
        elif head.startswith(b"PK\x03\x04"):
            found = _zip(path, size)
        elif head[:1] == b"\x80":
            raise Unreadable(
                "is a pickle of Python objects, which could run code and is not opened"
            )
        else:
            raise Unreadable("is not a file of torch.save")
    if any(math.prod(t.shape) > limits.elements for t in found.tensors):
        raise Unreadable(f"holds a tensor of more than {limits.elements} numbers")
    if sum(tensor.nbytes for tensor in found.tensors) > _REPEATS * size:
        raise Unreadable("shows the same stored numbers as many tensors")
    return found


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(len(TORCH_LEGACY))


def _zip(path: Path, size: int) -> Outline:
    """The zip container: ``NAME/data.pkl`` and one uncompressed member per storage."""
    with opened_zip(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if len(members) != len(archive.infolist()):
            raise Unreadable("holds two members of one name")
        prefix = _prefix(list(members))
        for name, info in members.items():
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise Unreadable(f"has the compressed member '{name}', which torch never writes")
            if not _is_part(name.removeprefix(prefix)) or not name.startswith(prefix):
                raise Unreadable(f"has the member '{name}', which is no part of stored tensors")
        if sum(info.file_size for info in members.values()) > size:
            raise Unreadable("claims members larger than the file")
        if members[f"{prefix}data.pkl"].file_size > _MAX_PICKLE:
            raise Unreadable(f"holds a pickle of more than {_MAX_PICKLE} bytes")
        found = _outline.read_bytes(archive.read(f"{prefix}data.pkl"))
    for storage in found.storages.values():
        member = members.get(f"{prefix}data/{storage.key}")
        if member is None or member.file_size < storage.nbytes:
            raise Unreadable(
                f"declares {storage.nbytes} bytes in storage '{storage.key}' and holds "
                f"{member.file_size if member else 'none'}"
            )
    return found


def _prefix(names: list[str]) -> str:
    """The one folder of the container, with its slash."""
    found = [name for name in names if PurePosixPath(name).name == "data.pkl"]
    if len(found) != 1:
        raise Unreadable(f"holds {len(found)} pickles instead of one")
    return found[0].removesuffix("data.pkl")


def _is_part(name: str) -> bool:
    kind, _, key = name.partition("/")
    if kind == "data" or name == ".data/serialization_id":
        return bool(key) and "/" not in key
    return name in _PARTS


def _legacy(stream: IO[bytes], size: int) -> Outline:
    """Magic number, version, system, content, keys, then per storage its count and numbers."""
    stream.seek(len(TORCH_LEGACY))
    for _ in range(2):
        _outline.outline(stream)
    start = stream.tell()
    found = _outline.outline(stream)
    keys = _outline.outline(stream).value
    if stream.tell() - start > _MAX_PICKLE:
        raise Unreadable(f"holds a pickle of more than {_MAX_PICKLE} bytes")
    if not isinstance(keys, list) or sorted(keys) != sorted(found.storages):
        raise Unreadable("is damaged (its storages are not those that its content names)")
    wanted = sum(8 + storage.nbytes for storage in found.storages.values())
    if wanted > size - stream.tell():
        raise Unreadable(f"declares {wanted} bytes of numbers, more than the file holds")
    return found


# --- what numpy's names stand for ----------------------------------------------------------------


class _Dtype:
    """Stands for ``numpy.dtype``: a number's kind, width and byte order."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        del align, copy
        if not (isinstance(code, str) and code[:1] in "biuf" and code[1:] in {"1", "2", "4", "8"}):
            raise Unreadable(f"holds numpy data of dtype '{code!s:.20}', not plain numbers")
        self.code = code
        self.order: Literal["<", ">", "|", "="] = "="

    def __setstate__(self, state: Any) -> None:
        if any(part is not None for part in state[2:5]):
            raise Unreadable("holds numpy data with named fields or sub-arrays, not plain numbers")
        if state[1] not in ("<", ">", "|", "="):
            raise Unreadable("holds numpy data of unknown byte order")
        self.order = state[1]

    def array(self, data: bytes, shape: tuple[int, ...], fortran: bool) -> Tensor:
        dtype = np.dtype(self.code).newbyteorder(self.order)
        if math.prod(shape) * dtype.itemsize != len(data):
            raise Unreadable(f"claims an array {list(shape)} over {len(data)} bytes")
        flat = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
        found = flat.reshape(shape, order="F" if fortran else "C")
        return torch.from_numpy(np.ascontiguousarray(found))


class _Array:
    """Stands for ``numpy.ndarray``."""

    value: Tensor | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise Unreadable("holds a numpy array of objects, not of plain numbers")
        self.value = dtype.array(data, tuple(shape), bool(fortran))


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    del kind, shape, code  # always an empty array that is then filled
    return _Array()


def _scalar(dtype: Any, data: Any = b"") -> float | int | bool:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
        raise Unreadable("holds a numpy scalar that is no number")
    value: float | int | bool = dtype.array(data, (), False).item()
    return value


_BUILDERS: tuple[tuple[Any, str], ...] = (
    *((_scalar, name) for name in _outline.SCALARS),
    *((_reconstruct, name) for name in _outline.RECONSTRUCTS),
    (_Dtype, _outline.DTYPE),
    (_Array, _outline.NDARRAY),
)


# --- afterwards ----------------------------------------------------------------------------------


class _Plain:
    """Copies what was loaded (or outlined) into plain data, counting as it goes."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.nodes = 0
        self.tensors: dict[int, tuple[object, Tensor]] = {}  # the object kept, so its id stays its

    def of(self, value: Any, place: str, depth: int = 0) -> Any:
        self.nodes += 1
        if self.nodes > _MAX_NODES or depth > _MAX_DEPTH:
            raise Unreadable("nests lists too deep or repeats them too often")
        match value:
            case None | bool() | int() | float() | str() | bytes():
                return value
            case Tensor() | TensorOutline() | _Array() | NumpyNode():
                if id(value) not in self.tensors:
                    self.tensors[id(value)] = (value, self._tensor(value, place))
                return self.tensors[id(value)][1]
            case list() | tuple():
                items = (self.of(v, f"{place}[{i}]", depth + 1) for i, v in enumerate(value))
                return list(items) if isinstance(value, list) else tuple(items)
            case dict():
                return {k: self.of(v, f"{place}[{k!r}]", depth + 1) for k, v in value.items()}
        raise Unreadable(f"holds a {type(value).__name__}, which is neither tensor nor plain data")

    def _tensor(self, value: Any, place: str) -> Any:
        if isinstance(value, TensorOutline):
            dtype = getattr(torch, value.dtype)
            return torch.empty(value.shape, dtype=dtype, device="meta")
        if isinstance(value, NumpyNode):
            return _numpy_outline(value)
        found = value.value if isinstance(value, _Array) else value.detach()
        if found is None or found.layout != torch.strided or found.device.type != "cpu":
            raise Unreadable("holds a tensor that is not dense")
        if found.numel() > self.limits.elements:
            raise Unreadable(f"holds a tensor of more than {self.limits.elements} numbers")
        found = found.contiguous().clone()  # not mapped from the file any more
        if found.is_floating_point() and (count := int((~torch.isfinite(found)).sum())):
            raise Unreadable(f"{place or 'its tensor'} has {count} of {found.numel()} values that "
                             "are not finite")  # fmt: skip
        return found


def _numpy_outline(node: NumpyNode) -> Any:
    if node.path in _outline.SCALARS:
        return 0.0
    if node.path in _outline.RECONSTRUCTS and isinstance(node.state, tuple):
        shape = node.state[1]
        if isinstance(shape, tuple) and math.prod(shape) < sys.maxsize:
            return torch.empty(shape, device="meta")
    raise Unreadable("holds numpy data that are no numbers")
