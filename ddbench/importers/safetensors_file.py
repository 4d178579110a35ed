"""safetensors: tensors x, y, F, lr, and what they mean in the metadata of files of ours."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ddbench.errors import BadInput
from ddbench.importers import Found, _interchange, _named_arrays

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.importers._source import Source

SUMMARY = "safetensors with x, y (also F, lr), as 'ddbench export' writes them"

_HEADER = 1 << 20  # bytes; five tensors and their description take a few hundred
_DTYPES = {"F16", "BF16", "F32", "F64", "I8", "I16", "I32", "I64", "U8"}


def matches(source: Source) -> str | None:
    """Whether it is one safetensors file with a tensor of images."""
    if len(source.names) != 1 or not _looks_right(source):
        return None
    try:
        with _opened(source) as file:
            return _named_arrays.reason(file.keys(), "safetensors")
    except BadInput:
        return None


def read(source: Source) -> Sequence[Found]:
    """The one set; space, constants and kind as the metadata says where the file is ours.

    Raises:
        BadInput: a header that does not agree with the file, tensors larger than what is read, or
            tensors that are no set.
    """
    (name,) = source.names
    source.check_size(name)
    if not _looks_right(source):
        raise source.bad(f"has no safetensors header of at most {_HEADER} bytes")
    with _opened(source) as file:
        described = (file.metadata() or {}).get(_interchange.KEY)
        parts = _named_arrays.parts(source, file.keys())
        for tensor in parts.values():
            header = file.get_slice(tensor)
            _named_arrays.check_elements(source, tensor, header.get_shape())
            if header.get_dtype() not in _DTYPES:
                raise source.bad(f"'{tensor}' holds {header.get_dtype()}", allowed=_DTYPES)
        unread = sorted(
            tensor
            for tensor in set(file.keys()) - set(parts.values())
            if not tensor.startswith("whitening.")
        )
        tensors = {part: file.get_tensor(tensor).clone() for part, tensor in parts.items()}
    source.use(name)
    hints: dict[str, Any] = {"unread": unread} if unread else {}
    if described is None:
        return [_named_arrays.found(source, tensors, hints=hints)]
    said = _interchange.parse(described, source.bad("").file)
    hints |= {"dataset": said.dataset}
    if said.mean:
        hints |= {"mean": list(said.mean), "std": list(said.std)}
    if said.features:
        hints["features"] = said.features
        if "lambda_reg" in said.features:
            hints["lambda_reg"] = said.features["lambda_reg"]
        if said.features.get("granularity") == "per_class":
            tensors["F"] = _per_image(source, tensors)
            hints["features"] = {**said.features, "granularity": "per_image"}
    return [
        _named_arrays.found(
            source, tensors, space=said.space, constants=said.constants, kind=said.kind,
            class_ids=said.classes, hints=hints,
        )
    ]  # fmt: skip


def _per_image(source: Source, tensors: dict[str, Tensor]) -> Tensor:
    """F [K, M, ...] of every image's class, [N, M, ...]."""
    F, y = tensors.get("F"), tensors.get("y")
    if F is None or y is None or not F.dim() or y.dim() not in (1, 2) or not y.numel():
        raise source.bad("says that F is per class, but lacks F or y")
    label = y.long() if y.dim() == 1 else y.float().argmax(1)
    if not 0 <= int(label.min()) <= int(label.max()) < len(F):
        raise source.bad(f"has F for {len(F)} classes, labels {label.min()} to {label.max()}")
    return F[label]


def _looks_right(source: Source) -> bool:
    (name,) = source.names
    head = source.head(name, 9)
    if len(head) < 9 or head[8:] != b"{":
        return False
    (length,) = struct.unpack("<Q", head[:8])
    return bool(length <= min(_HEADER, source.size(name) - 8))


@contextmanager
def _opened(source: Source) -> Iterator[Any]:
    """The file by the library, which checks lengths and offsets before it reads any tensor."""
    from safetensors import SafetensorError, safe_open

    (name,) = source.names
    try:
        with safe_open(source.file(name), framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, OverflowError, ValueError, OSError) as error:
        text = " ".join(str(error).split())[:160]
        raise source.bad(f"is no valid safetensors file ({text})") from None
