"""HDF5 as a flat mapping of paths to arrays, texts and attributes, with checksums.

The only module that touches HDF5. The root attribute ``checksums`` is the table of contents: every
dataset and attribute that the writer wrote, with its SHA-256. What others add to a file later is
ignored; what they change, and what a disk damages, is found. HDF5's own checksums are switched on
too (new-style metadata): they guard the structures that are parsed before any content can be
hashed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from ddbench.errors import BadInput
from ddbench.store import schema
from ddbench.store.output import DeferredErrors

Array = np.ndarray[Any, Any]
Attribute = str | int | float | bool | Array

_DEFLATE_LIMIT = 1100  # deflate shrinks at most 1032 times
_SMALL = 4096  # bytes: below this a chunk index costs more than compression saves


@dataclass(frozen=True, eq=False)
class Leaf:
    """A dataset with its attributes; ``value`` None is a group that carries attributes."""

    value: Array | str | None
    attrs: Mapping[str, Attribute] = field(default_factory=dict)


# --- writing -----------------------------------------------------------------------------------


def write_tree(path: Path, attrs: Mapping[str, Attribute], leaves: Mapping[str, Leaf]) -> None:
    """Write a new file. Equal content gives equal bytes.

    Raises:
        ValueError: a value that the schema does not allow or HDF5 cannot hold.
        OSError: the file system refused.
    """
    _check(leaves)
    checksums = {f"@{name}": _digest(value, {}) for name, value in attrs.items()}
    checksums |= {path: _digest(leaf.value, leaf.attrs) for path, leaf in leaves.items()}
    listed = json.dumps(checksums, sort_keys=True)
    with DeferredErrors(path) as output:
        with h5py.File(output, "w", libver=("v110", "v110")) as file:
            _put_attributes(file, {**attrs, "checksums": listed})
            for name in sorted(leaves):
                _put(file, name, leaves[name])
                output.check()
        output.check()


def _check(leaves: Mapping[str, Leaf]) -> None:
    for path, leaf in leaves.items():
        entry = schema.entry_at(path)
        if leaf.value is not None:
            problem = entry.problem(leaf.value) if entry else "is not part of the schema"
            if problem:
                raise ValueError(f"{path} {problem}")


def _put(file: Any, path: str, leaf: Leaf) -> None:
    if leaf.value is None:
        target = file.require_group(path)
    elif isinstance(leaf.value, str):
        target = file.create_dataset(path, data=_text(leaf.value), track_times=False)
    else:
        options = _storage(leaf.value)
        target = file.create_dataset(path, data=leaf.value, track_times=False, **options)
    _put_attributes(target, leaf.attrs)


def _storage(value: Array) -> dict[str, Any]:
    """Compression where it pays: integers and bits do, the noise of floats does not."""
    if value.ndim == 0 or value.size == 0:
        return {}
    if value.dtype.kind in "iub" and value.nbytes >= _SMALL:
        return {"chunks": True, "compression": "gzip", "compression_opts": 4, "shuffle": True}
    return {}


def _put_attributes(target: Any, attrs: Mapping[str, Attribute]) -> None:
    for name in sorted(attrs):
        value = attrs[name]
        target.attrs.create(name, _text(value) if isinstance(value, str) else value)


def _text(value: str) -> Array:
    """Text as a scalar of fixed length; raises ``ValueError`` for what it cannot hold."""
    if "\0" in value:
        raise ValueError("text in a result file cannot hold a zero character")
    data = value.encode()
    return np.array(data, dtype=schema.text_dtype(len(data)))


# --- reading -----------------------------------------------------------------------------------


class TreeFile:
    """An open file of ours; everything it returns has been checked."""

    def __init__(self, file: Any, path: Path) -> None:
        self._file = file
        self._path = path
        self._size = path.stat().st_size
        self.attrs = self._root_attributes()

    def paths(self) -> list[str]:
        """The paths of all datasets (and of groups that carry attributes), sorted."""
        return sorted(path for path in self._checksums if not path.startswith("@"))

    def has(self, path: str) -> bool:
        """Whether the writer put something at ``path``."""
        return path in self._checksums

    def leaf(self, path: str) -> Leaf:
        """The content at ``path``.

        Raises:
            BadInput: it is missing, damaged, or not what the schema says.
        """
        if path not in self._checksums:
            raise self.bad(f"has no '{path}', which it should hold")
        node = self._node(path)
        attrs = self._attributes(node)
        value = self._value(node, path) if isinstance(node, h5py.Dataset) else None
        if _digest(value, attrs) != self._checksums[path]:
            raise self.bad(f"'{path}' does not match its checksum: damaged, or edited by others")
        return Leaf(value, attrs)

    def dtype(self, path: str) -> np.dtype[Any]:
        """The stored dtype at ``path``, without reading it."""
        dtype: np.dtype[Any] = self._file[path].dtype
        return dtype

    def attribute(self, path: str, name: str) -> Any:
        """One attribute of what is at ``path``, whose values are not read and so not checked.

        Raises:
            BadInput: one of the two is missing.
        """
        found = self._attributes(self._node(path)).get(name)
        if found is None:
            raise self.bad(f"'{path}' has no attribute '{name}', which it should hold")
        return found

    def nbytes(self, path: str) -> int:
        """Bytes of the values at ``path``, uncompressed; raises ``BadInput`` if it is missing."""
        return int(self._node(path).nbytes)

    def _node(self, path: str) -> Any:
        try:
            return self._file[path]
        except KeyError:
            raise self.bad(f"has no '{path}', which it should hold") from None

    def bad(self, problem: str) -> BadInput:
        """The error for a file that cannot be used."""
        return BadInput(problem, file=self._path)

    def _root_attributes(self) -> dict[str, Attribute]:
        if "schema" not in self._file.attrs:
            raise self.bad(
                "is an HDF5 file, but not a ddbench result; see what it holds with "
                f"'ddbench inspect {self._path}' and convert it with 'ddbench import'"
            )
        attrs = self._attributes(self._file)
        version = attrs["schema"]
        if not isinstance(version, int) or version < 1:
            raise self.bad(f"has the unknown schema '{version}'")
        if version > schema.VERSION:
            raise self.bad(
                f"written by a newer ddbench (schema {version}); "
                f"this one reads up to {schema.VERSION}: upgrade ddbench"
            )
        listed = attrs.pop("checksums", None)
        for name in schema.REQUIRED:
            if name not in attrs:
                raise self.bad(f"has no attribute '{name}', which it should hold")
        if not isinstance(listed, str):
            raise self.bad("has no attribute 'checksums', which it should hold")
        self._checksums: dict[str, str] = dict(json.loads(listed))
        self._verify_attributes(attrs)
        return attrs

    def _verify_attributes(self, attrs: Mapping[str, Attribute]) -> None:
        for entry, expected in self._checksums.items():
            name = entry.removeprefix("@")
            if name == entry:
                continue
            if name not in attrs:
                raise self.bad(f"has no attribute '{name}', which it should hold")
            if _digest(attrs[name], {}) != expected:
                raise self.bad(
                    f"attribute '{name}' does not match its checksum: damaged, or edited by others"
                )

    def _attributes(self, node: Any) -> dict[str, Attribute]:
        attrs: dict[str, Attribute] = {}
        stored = node.attrs  # h5py makes a new object every time
        for name in stored:
            attribute = stored.get_id(name)
            if _stored_bytes(attribute) > self._size:
                raise self.bad(f"attribute '{name}' claims to be larger than the file")
            value = _values(attribute, attribute.read)
            if value is None:
                value = stored[name]
            if isinstance(value, bytes):
                value = value.decode()
            if not isinstance(value, h5py.Empty):
                attrs[name] = value.item() if isinstance(value, np.generic) else value
        return attrs

    def _value(self, node: Any, path: str) -> Array | str:
        self._check_size(node, path)
        whole = h5py.h5s.ALL
        value = _values(node.id, lambda values, mtype: node.id.read(whole, whole, values, mtype))
        if value is None:
            value = node[()]
        if isinstance(value, bytes):
            return value.decode()
        value = np.asarray(value)
        entry = schema.entry_at(path)
        problem = entry.problem(value) if entry else None
        if problem:
            raise self.bad(f"'{path}' {problem}")
        result: Array = value
        return result

    def _check_size(self, node: Any, path: str) -> None:
        """Refuse shapes that the stored bytes cannot fill, before memory is taken for them."""
        item = node.id.get_type().get_size()
        stored = node.id.get_storage_size()
        claimed = math.prod(node.shape) * item
        largest = stored * _DEFLATE_LIMIT if node.chunks else stored
        chunk = math.prod(node.chunks) * item if node.chunks else 0
        if stored > self._size or max(claimed, chunk) > largest:
            raise self.bad(f"'{path}' claims the shape {node.shape}, more than the file can hold")
        if node.external or node.is_virtual:
            raise self.bad(f"'{path}' points to other files")


def _values(stored: Any, read: Callable[[Array, Any], None]) -> Any:
    """What h5py's ``[()]`` gives, in half the time; None for what has to be left to it.

    The bytes are taken as they are stored, by the dtype that h5py gives them.
    """
    kind, shape = stored.get_type(), stored.shape
    dtype = _dtype(kind.encode())
    if (
        dtype.hasobject
        or dtype.itemsize != kind.get_size()
        or shape is None
        or not math.prod(shape)
    ):
        return None
    values = np.empty(shape, dtype)
    read(values, kind)
    return values[()]


@lru_cache(maxsize=1024)
def _dtype(encoded: bytes) -> np.dtype[Any]:
    """The numpy dtype of an encoded HDF5 type, which takes a while to make."""
    found: np.dtype[Any] = h5py.h5t.decode(encoded).dtype
    return found


def _stored_bytes(attribute: Any) -> int:
    try:
        return int(attribute.get_storage_size())
    except RuntimeError:  # h5py takes none at all for an error
        return 0


@contextlib.contextmanager
def open_tree(path: Path) -> Iterator[TreeFile]:
    """Open a result file for reading.

    Raises:
        BadInput: it is missing, not HDF5, not ours, too new or damaged; also for whatever the
            block meets while it reads on.
    """
    try:
        with path.open("rb"):
            pass
        if not path.is_file() or not h5py.is_hdf5(path):
            raise BadInput("is not an HDF5 file", file=path)
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", file=path) from None
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield TreeFile(file, path)
    except (BadInput, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except Exception as error:
        # HDF5 reports damage as almost any exception type, depending on which byte is wrong.
        cause = " ".join(str(error).split())[:160]
        raise BadInput(f"is damaged or cut short ({cause})", file=path) from error


# --- checksums ---------------------------------------------------------------------------------


def _digest(value: Array | str | float | None, attrs: Mapping[str, Attribute]) -> str:
    """SHA-256 over type, shape and bytes of the value, then the attributes by name."""
    state = hashlib.sha256()
    _feed(state, value)
    for name in sorted(attrs):
        state.update(f"\n{name} ".encode())
        _feed(state, attrs[name])
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    if value is None:
        state.update(b"group ")
    elif isinstance(value, str):
        data = value.encode()
        state.update(f"text {len(data)} ".encode() + data)
    else:
        _feed_array(state, np.asarray(value))


def _feed_array(state: Any, array: Array) -> None:
    if array.dtype.names:
        for name in array.dtype.names:
            state.update(f"{name} ".encode())
            _feed_array(state, array[name])
    else:
        state.update(f"{array.dtype.str} {array.shape} ".encode())
        state.update(np.ascontiguousarray(array))
