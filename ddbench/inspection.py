"""What is in a file: all about a result of ours; the kind of a foreign file, told by its bytes.

Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from ddbench import store
from ddbench.data import unnormalise
from ddbench.distilled import DistilledSet, Space
from ddbench.errors import BadInput
from ddbench.features.budget import BYTES_OF, label_bits
from ddbench.recipe_files import from_yaml
from ddbench.store import Result, SoftLabelViews

FOREIGN = "Not a result of ddbench; this version cannot import sets of other programs."
_HEAD = 512  # bytes read to tell the kind
_MAX_HEADER = 1 << 24  # bytes of a safetensors header that are read
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_PICKLE = "pickle (never opened: it can run any code)"
_SIGNATURES = (
    (b"\x89HDF\r\n\x1a\n", "HDF5 of another program"),
    (_TORCH_LEGACY, "torch file (legacy pickle)"),
    *((bytes((0x80, version)), _PICKLE) for version in range(2, 6)),
    (b"\x89PNG\r\n\x1a\n", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"\x1f\x8b", "gzip archive"),
)
_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


def describe(path: Path) -> dict[str, Any]:
    """What ``path`` holds, as plain data for ``json.dumps``.

    A result of ours: shapes, dtypes, ranges, value space, labels, F, bytes per part, provenance.
    Anything else: ``format`` by its first bytes, and ``note``, which says what can be done with it.

    Raises:
        BadInput: nothing there, not readable, or a result of ours that is damaged or too new.
    """
    if path.is_dir():
        return _folder(path)
    if path.exists() and not path.is_file():
        raise BadInput("is neither a file nor a folder", file=path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", file=path) from None
    base = {"path": str(path), "file_bytes": size}
    if head.startswith(_SIGNATURES[0][0]):
        try:
            return base | _ours(store.read(path))
        except BadInput as error:
            if "not a ddbench result" not in error.problem:
                raise
    return base | _foreign(path, head, size) | {"note": FOREIGN}


# --- results of ours ---------------------------------------------------------------------------


def _ours(result: Result) -> dict[str, Any]:
    attrs, data_set = result.attrs, result.synthetic
    recipe = _recipe_name(str(attrs["recipe"]))
    own = {name: attrs[name] for name in ("schema", "key", "seed", "status")}
    found: dict[str, Any] = {"format": "ddbench result", "recipe": recipe, **own}
    if data_set is None:
        found["set"] = "none: this method trains on the real training set"
    else:
        parts = _bytes(result, data_set)
        found |= {
            "images": _images(data_set, result.x_dtype),
            "labels": _labels(data_set),
            "features": None if data_set.F is None else _features(data_set, data_set.F),
            "learned_lr": data_set.lr,
            "views": None if result.views is None else _views(result.views),
            "bytes": {**parts, "total": sum(parts.values())},
        }
    found["snapshots"] = sorted(result.snapshots)
    networks = sorted({record.network for record in result.evaluations})
    found["evaluations"] = {"count": len(result.evaluations), "networks": networks}
    found["logged_iterations"] = len(result.log.get("iteration", ()))
    found["provenance"] = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in sorted(attrs.items())
        if name not in (*own, "recipe")
    }
    return found


def _recipe_name(text: str) -> str:
    try:
        return from_yaml(text).name
    except BadInput as error:
        return f"not valid in this version ({error})"


def _range(values: Tensor) -> dict[str, float | None]:
    """Least, largest, mean and standard deviation (ddof 0); None where not finite."""
    exact = values.detach().double()
    numbers = exact.min(), exact.max(), exact.mean(), exact.std(correction=0)
    finite = [float(number) if bool(torch.isfinite(number)) else None for number in numbers]
    return dict(zip(("min", "max", "mean", "std"), finite, strict=True))


def _images(data_set: DistilledSet, dtype: str) -> dict[str, Any]:
    space = data_set.space
    return {
        "shape": list(data_set.x.shape),
        "stored_dtype": dtype,
        **_range(data_set.x),
        "space": space.name,
        "space_reason": _space_reason(data_set.x, space),
        "space_mean": list(space.mean),
        "space_std": list(space.std),
    }


def _space_reason(x: Tensor, space: Space) -> str:
    stated = f"the file states '{space.name}'"
    try:
        pixels = unnormalise(x, space, clamp=False)
    except ValueError:
        return f"{stated}; its whitening is not in the file, so pixels cannot be had back"
    outside = float(((pixels < 0) | (pixels > 1)).double().mean()) * 100
    low, high = float(pixels.min()), float(pixels.max())
    return f"{stated}; pixels lie in [{low:.3g}, {high:.3g}], {outside:.1f} % outside [0, 1]"


def _labels(data_set: DistilledSet) -> dict[str, Any]:
    y, hard = data_set.y, data_set.kind == "index"
    classes = y if hard else y.argmax(1)
    counts = torch.bincount(classes, minlength=0 if hard else y.shape[1]).tolist()
    return {
        "kind": data_set.kind,
        "shape": list(y.shape),
        "dtype": str(y.dtype).removeprefix("torch."),
        **({} if hard else _range(y)),
        "images_per_class": counts,
        "balanced": len(set(counts)) == 1,
    }


def _features(data_set: DistilledSet, F: Tensor) -> dict[str, Any]:
    return {
        "shape": list(F.shape),
        "stored_dtype": str(data_set.features.get("dtype", "float32")),
        **_range(F),
        "settings": data_set.features,
    }


def _views(views: SoftLabelViews) -> dict[str, Any]:
    return {
        "teachers": [list(teacher) for teacher in views.teachers],
        "parts": {name: list(tensor.shape) for name, tensor in views.tensors().items()},
        "referenced": views.manifest.path if views.manifest else None,
    }


def _bytes(result: Result, data_set: DistilledSet) -> dict[str, float]:
    """Bytes per part without compression; a hard label takes ceil(log2 K) bits."""
    y, F = data_set.y, data_set.F
    if data_set.kind == "index":
        labels: float = len(y) * label_bits(_classes(result, y)) / 8
    else:
        labels = y.numel() * y.element_size()
    width = BYTES_OF[str(data_set.features.get("dtype", "float32"))]
    features = 0 if F is None else F.numel() * width
    images = data_set.x.numel() * BYTES_OF[result.x_dtype]
    parts = {"images": images, "features": features, "labels": labels}
    tensors = result.views.tensors() if result.views else {}
    views = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return {**parts, "views": views} if views else parts


def _classes(result: Result, y: Tensor) -> int:
    """Number of classes, by the recipe; where that is not valid any more, by the labels."""
    try:
        return from_yaml(str(result.attrs["recipe"])).facts.num_classes
    except BadInput:
        return int(y.max()) + 1


# --- files of others ---------------------------------------------------------------------------


def _foreign(path: Path, head: bytes, size: int) -> dict[str, Any]:
    """``format`` and, where it is safe to read, ``arrays``."""
    if not head:
        return {"format": "empty file"}
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    if head.startswith(npy.MAGIC_PREFIX):
        with path.open("rb") as file:
            return {"format": "npy (one numpy array)", "arrays": {"": _npy_header(file)}}
    name = next((name for first, name in _SIGNATURES if head.startswith(first)), None)
    if name is None and head[257:262] == b"ustar":
        name = "tar archive"
    if name is not None:
        return {"format": name}
    return _safetensors(path, head, size) or {"format": "unknown"}


def _zip(path: Path) -> dict[str, Any]:
    """Torch and numpy both write zip archives; only names and array headers are read."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith("/data.pkl") for name in names):
                return {"format": "torch file (zip; holds a pickle, which is never opened)"}
            if not names or not all(name.endswith(".npy") for name in names):
                return {"format": "zip archive"}
            arrays = {}
            for name in names:
                with archive.open(name) as file:
                    arrays[name.removesuffix(".npy")] = _npy_header(file)
            return {"format": "npz (numpy arrays)", "arrays": arrays}
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError):
        return {"format": "zip archive, damaged or encrypted"}


def _npy_header(file: IO[bytes]) -> dict[str, Any]:
    """Shape and dtype of a numpy array; its content is not read."""
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
    except (ValueError, OSError, zipfile.BadZipFile):
        return {"problem": "its header cannot be read"}
    found = {"shape": list(shape), "dtype": str(dtype)}
    return {**found, "problem": "holds pickled objects"} if dtype.hasobject else found


def _safetensors(path: Path, head: bytes, size: int) -> dict[str, Any] | None:
    if len(head) < 9 or head[8:9] != b"{":
        return None
    (length,) = struct.unpack("<Q", head[:8])
    if length > min(size - 8, _MAX_HEADER):
        return None
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(length)
    try:
        entries = json.loads(text)
        arrays = {
            name: {"shape": entry["shape"], "dtype": entry["dtype"]}
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return {"format": "safetensors", "arrays": arrays}


def _folder(path: Path) -> dict[str, Any]:
    """Images per sub-folder, one level down."""
    counts = {
        folder.name: sum(file.suffix.lower() in _IMAGES for file in folder.iterdir())
        for folder in sorted(path.iterdir())
        if folder.is_dir()
    }
    found = {name: count for name, count in counts.items() if count}
    kind = "image folder (one sub-folder per class)" if found else "folder"
    return {"path": str(path), "format": kind, "images_per_class": found, "note": FOREIGN}


# --- for terminals -----------------------------------------------------------------------------


def as_text(description: dict[str, Any], indent: int = 0) -> str:
    """A description as indented ``name: value`` lines, without what is None."""
    lines = []
    for name, value in description.items():
        label = f"{'  ' * indent}{name or '(array)'}:"
        if isinstance(value, dict) and value:
            lines += [label, as_text(value, indent + 1)]
        elif value is not None:
            lines.append(f"{label} {_short(value)}")
    return "\n".join(lines)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = ", ".join(map(_short, value)) if isinstance(value, list | tuple) else str(value)
    return text or "none"
