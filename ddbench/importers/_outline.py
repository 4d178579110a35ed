"""What a torch pickle would build, worked out without building it.

A stack machine for the few opcodes that ``torch.save`` writes. It calls nothing: tensors become
shapes over declared storages, numpy values become empty nodes, and any other name is refused. So
names, sizes and bounds are known before ``torch.load`` sees a byte. Torch-free.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import IO, Any

_MAX_OPCODES = 1_000_000  # a buffer of ten experts has some 3 * 10^5
_MAX_INT = 1 << 62

BYTES_OF = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2,
    "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip
_STORAGES = {
    f"torch.{name}Storage": dtype
    for name, dtype in {
        "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16",
        "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
        "Bool": "bool",
    }.items()
}  # fmt: skip
# The module has had both names: numpy 2 writes the first, numpy 1 the second.
NUMPY_MODULES = ("numpy._core.multiarray", "numpy.core.multiarray")
SCALARS = tuple(f"{module}.scalar" for module in NUMPY_MODULES)
RECONSTRUCTS = tuple(f"{module}._reconstruct" for module in NUMPY_MODULES)
DTYPE, NDARRAY = "numpy.dtype", "numpy.ndarray"
_KNOWN = {
    "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_parameter", "collections.OrderedDict", "_codecs.encode", "torch.Size",
    *_STORAGES, *SCALARS, *RECONSTRUCTS, DTYPE, NDARRAY,
}  # fmt: skip


class Unreadable(Exception):
    """A torch file is damaged, too large, or holds more than tensors and plain data."""


@dataclass(frozen=True)
class Storage:
    """A block of numbers that the pickle declares; its bytes lie elsewhere."""

    key: str
    dtype: str
    count: int

    @property
    def nbytes(self) -> int:
        return self.count * BYTES_OF[self.dtype]


@dataclass(frozen=True, eq=False)
class TensorOutline:
    """A tensor by its shape."""

    storage: Storage
    shape: tuple[int, ...]

    @property
    def dtype(self) -> str:
        return self.storage.dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * BYTES_OF[self.dtype]


@dataclass(frozen=True)
class Name:
    """A class or function that the pickle mentions."""

    path: str


@dataclass(eq=False)
class NumpyNode:
    """A numpy scalar, dtype or array; ``state`` is what a BUILD opcode gave it."""

    path: str
    args: tuple[Any, ...]
    state: Any = None


@dataclass(eq=False)
class Outline:
    """The value that the pickle describes, and every storage and tensor in it."""

    value: Any = None
    names: set[str] = field(default_factory=set)
    storages: dict[str, Storage] = field(default_factory=dict)
    tensors: list[TensorOutline] = field(default_factory=list)


def outline(stream: IO[bytes]) -> Outline:
    """Follow one pickle to its end.

    Raises:
        Unreadable: damage, a name that tensors do not need, or a tensor larger than its storage.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > _MAX_OPCODES:
                raise Unreadable(f"has more than {_MAX_OPCODES} pickle opcodes")
            machine.step(opcode.name, argument)
    except (Unreadable, KeyboardInterrupt):
        raise
    except Exception as error:  # of bytes that no writer wrote: any kind
        raise Unreadable(f"is damaged or cut short ({_cause(error)})") from None
    return machine.found


def _cause(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:120]


_MARK = object()
_PUSHES = {
    "MARK", "NONE", "NEWTRUE", "NEWFALSE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE", "BININT",
    "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES",
    "SHORT_BINBYTES", "BINSTRING", "SHORT_BINSTRING", "BINGET", "LONG_BINGET",
}  # fmt: skip
_BUILDS = {
    "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS",
}  # fmt: skip


class _Machine:
    def __init__(self) -> None:
        self.found = Outline()
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Follow one opcode."""
        if opcode in _PUSHES:
            self._push(opcode, argument)
        elif opcode in _BUILDS:
            self._build(opcode)
        elif opcode not in ("PROTO", "FRAME"):
            self._refer(opcode, argument)

    def _push(self, opcode: str, argument: Any) -> None:
        """Plain values, and the memo."""
        match opcode:
            case "MARK":
                argument = _MARK
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE":
                argument = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[opcode]()
            case "NEWTRUE" | "NEWFALSE":
                argument = opcode == "NEWTRUE"
            case "BINGET" | "LONG_BINGET":
                argument = self.memo[argument]
            case "LONG1" if abs(argument) > _MAX_INT:
                raise Unreadable("holds an integer beyond 64 bits")
        self.stack.append(argument)

    def _build(self, opcode: str) -> None:
        """Tuples, lists and dicts out of what is on the stack."""
        match opcode:
            case "TUPLE":
                self.stack.append(tuple(self._to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(tuple(self._pop(int(opcode[-1]))))
            case "APPEND" | "APPENDS":
                items = self._pop(1) if opcode == "APPEND" else self._to_mark()
                self._top(list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._pop(2) if opcode == "SETITEM" else self._to_mark()
                target = self._top(dict)
                for key, value in zip(items[::2], items[1::2], strict=True):
                    target[_plain_key(key)] = value

    def _refer(self, opcode: str, argument: Any) -> None:
        """Names, calls and storages: what other pickles run code with."""
        match opcode:
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "GLOBAL":
                self.stack.append(self._name(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                self.stack.append(self._name(".".join(self._pop(2))))
            case "BINPERSID":
                self.stack.append(self._storage(*self._pop(1)))
            case "REDUCE":
                self.stack.append(self._reduce(*self._pop(2)))
            case "BUILD":
                (state,) = self._pop(1)
                if isinstance(self.stack[-1], NumpyNode):
                    self.stack[-1].state = state
                elif not isinstance(self.stack[-1], dict):  # of an OrderedDict: its attributes
                    raise Unreadable("sets the state of something that has none")
            case "STOP":
                (self.found.value,) = self._pop(1)
            case _:
                raise Unreadable(f"uses the pickle opcode {opcode}, which tensors do not need")

    # --- the stack -----------------------------------------------------------------------------

    def _pop(self, count: int) -> list[Any]:
        items = self.stack[-count:]
        if len(items) < count or any(item is _MARK for item in items):
            raise Unreadable("is damaged (its pickle takes more than it gave)")
        del self.stack[-count:]
        return items

    def _to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise Unreadable(f"adds items to what is no {kind.__name__}")
        return self.stack[-1]

    # --- what names stand for ------------------------------------------------------------------

    def _name(self, path: str) -> Name:
        if path not in _KNOWN:
            raise Unreadable(_refusal(path))
        self.found.names.add(path)
        return Name(path)

    def _storage(self, saved: Any) -> Storage:
        """``("storage", type, key, location, count[, view])``; views are of old versions."""
        tag, kind, key, location, count, *view = saved
        known = isinstance(kind, Name) and kind.path in _STORAGES
        if tag != "storage" or not known or view not in ([], [None]):
            raise Unreadable("refers to something that is no storage of numbers")
        if not (isinstance(key, str) and isinstance(location, str) and _is_size(count)):
            raise Unreadable("is damaged (a storage without key or size)")
        storage = Storage(key, _STORAGES[kind.path], count)
        if self.found.storages.setdefault(key, storage) != storage:
            raise Unreadable(f"declares storage '{key}' twice, differently")
        return storage

    def _reduce(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise Unreadable("calls something that is no function")
        match function.path.rpartition(".")[2]:
            case "_rebuild_tensor_v2" | "_rebuild_tensor":
                return self._tensor(*arguments[:4])
            case "_rebuild_parameter":
                return arguments[0]
            case "OrderedDict" if not arguments:
                return {}
            case "encode" if len(arguments) == 2 and arguments[1] == "latin1":
                return str(arguments[0]).encode("latin1")
            case "Size" if len(arguments) == 1 and isinstance(arguments[0], tuple):
                return arguments[0]
            case "scalar" | "_reconstruct" | "dtype":
                return NumpyNode(function.path, arguments)
        raise Unreadable(f"calls {function.path} in a way that no writer does")

    def _tensor(self, storage: Any, offset: Any, shape: Any, stride: Any) -> TensorOutline:
        numbers = (offset, *shape, *stride)
        if not isinstance(storage, Storage) or not all(map(_is_size, numbers)):
            raise Unreadable("is damaged (a tensor without storage or shape)")
        if len(shape) != len(stride):
            raise Unreadable("is damaged (a tensor whose shape and strides differ in length)")
        reach = sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        last = offset + reach + 1 if math.prod(shape) else offset
        found = TensorOutline(storage, tuple(shape))
        if last > storage.count or found.nbytes > storage.nbytes:
            raise Unreadable(f"claims a tensor {list(shape)}, more than the {storage.count} "
                             "numbers stored for it")  # fmt: skip
        self.found.tensors.append(found)
        return found


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _plain_key(key: Any) -> Hashable:
    if isinstance(key, str | int | float | bool | bytes | None):
        return key
    raise Unreadable(f"has a dict key of type {type(key).__name__}")


def _refusal(path: str) -> str:
    if path.startswith("gzoo2_dataset."):
        return (
            f"holds pickled objects of the class {path}: the real images of Galaxy Zoo 2 as STM "
            "stores them, not a distilled set"
        )
    return f"holds a pickled {path}, which could run code and is not opened"


def read_bytes(data: bytes) -> Outline:
    """``outline`` of bytes in memory."""
    return outline(io.BytesIO(data))
