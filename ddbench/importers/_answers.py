"""The files that a user's answers name: labels, step sizes, class names.

Axes: N images, K classes.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from ddbench.errors import BadInput
from ddbench.file_kinds import npy_header
from ddbench.importers import Options, _archive, _labels, _parts
from ddbench.importers._source import Limits, Source

_MAX_TEXT = 1 << 26  # bytes
_MAX_ARRAY = 1 << 30  # bytes
_MOST_LINES = 100_000  # of classes or step sizes; no dataset has as many classes
_LIMITS = Limits()
_Item = TypeVar("_Item")


def check(options: Options) -> None:
    """Refuse what cannot be read as a file before anything opens it: a pipe would never end."""
    numbers = options.lr is not None and _numbers_in(options.lr) is not None
    named = {
        "--labels": options.labels,
        "--lr": None if numbers else options.lr,
        "--class-order": options.class_order,
    }
    for field, path in named.items():
        if path is not None:
            with _opened(Path(path), field):
                pass


def labels(path: Path, count: int) -> Tensor:
    """y of a torch, numpy or text file, int64 [N] or float32 [N, K]; ``count`` is N.

    Text has one line per image: a class, or K numbers.
    """
    with _opened(path, "--labels") as source:
        value = _labels.whole_numbers(_value(source, count))
        return _parts.labels(value, source, path.name, count)


def step_size(text: str) -> float | tuple[float, ...]:
    """``0.01``, ``0.01,0.02`` or the content of a file."""
    numbers = _numbers_in(text)
    if numbers is None:
        with _opened(Path(text), "--lr") as source:
            return _parts.step_size(_value(source, _MOST_LINES), source, source.path.name)
    if not all(0 < number < _parts.LARGEST_STEP for number in numbers):
        raise BadInput(f"found '{text}'", field="--lr", allowed="positive numbers, or a file")
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def lines(path: Path) -> list[str]:
    """The lines of a text, without empty ones and what follows a ``#``."""
    with _opened(path, "--class-order") as source:
        found = (line.split("#")[0].strip() for line in _lines(source))
        return _at_most(source, _MOST_LINES, (line for line in found if line))


def _numbers_in(text: str) -> list[float] | None:
    """Numbers between commas; None where the text is no such list."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return None


# --- reading -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(path: Path, field: str) -> Iterator[Source]:
    """One file, errors of which name the option ``field``."""
    try:
        with Source.open(path, unpack=False) as source:
            if source.is_folder:
                raise source.bad("is no single file")
            yield source
    except BadInput as error:
        raise error.at(prefix=None if error.field else field) from None


def _value(source: Source, rows: int) -> Any:
    """Tensor, number or list in a torch, numpy or text file; of a text at most ``rows`` lines."""
    name = source.path.name
    if source.is_torch(name):
        return source.load_torch(name)
    head = source.head(name, len(npy.MAGIC_PREFIX))
    if head == npy.MAGIC_PREFIX or head.startswith(b"PK"):
        try:
            return _numpy(source.read_bytes(name, _MAX_ARRAY))
        except (*_archive.DAMAGE, KeyError) as error:
            cause = " ".join(str(error).split())
            raise source.bad(f"holds no plain array of numbers ({cause})") from None
    return _numbers(source, rows)


def _numpy(data: bytes) -> Tensor:
    """The array of an npy, or the only one (or ``labels``, ``y``, ``lr``) of an npz."""
    if data.startswith(npy.MAGIC_PREFIX):
        return _array(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        known = [name for name in names if name.removesuffix(".npy") in ("labels", "y", "lr")]
        (name,) = known or names
        info = archive.getinfo(name)
        if info.file_size > min(_MAX_ARRAY, _archive.unpacked_limit(len(data), _LIMITS)):
            raise ValueError(f"'{name}' unpacks to far more than numbers shrink to")
        with _archive.opened(archive, info) as stream:
            return _array(stream.read())


def _array(data: bytes) -> Tensor:
    shape, fortran, dtype, start = npy_header(io.BytesIO(data))
    rest = data[start:]
    plain = dtype.kind in "fiu" and dtype.itemsize <= 8 and not dtype.hasobject
    if not plain or math.prod(shape) * dtype.itemsize != len(rest):
        raise ValueError(f"{dtype} {list(shape)} over {len(rest)} bytes")
    flat = np.frombuffer(rest, dtype).astype(dtype.newbyteorder("="))
    return torch.from_numpy(flat.reshape(shape, order="F" if fortran else "C").copy())


def _lines(source: Source) -> Iterator[str]:
    """The lines of a text, one after the other."""
    data = io.BytesIO(source.read_bytes(source.path.name, _MAX_TEXT))
    try:
        yield from io.TextIOWrapper(data, encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise source.bad("is neither a torch, nor a numpy, nor a text file") from None


def _numbers(source: Source, most: int) -> Tensor:
    """Numbers in lines, [N] where every line has one, else [N, K]."""
    words = (line.replace(",", " ").split() for line in _lines(source))
    try:
        arrays = (np.array([float(word) for word in line]) for line in words if line)
        rows = _at_most(source, most, arrays)
    except ValueError:
        raise source.bad("holds words where numbers belong") from None
    if not rows or len({len(row) for row in rows}) > 1:
        raise source.bad("has lines of different lengths" if rows else "is empty")
    values = torch.from_numpy(np.stack(rows))
    return values[:, 0] if values.shape[1] == 1 else values


def _at_most(source: Source, most: int, items: Iterator[_Item]) -> list[_Item]:
    """All items, of which there may be ``most``."""
    found = list(itertools.islice(items, most + 1))
    if len(found) > most:
        raise source.bad(f"has more than {most} lines")
    return found
