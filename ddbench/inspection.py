"""What is in a file: all about a result of ours, or about a set of others; else what kind it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddbench import store
from ddbench.data import unnormalise
from ddbench.distilled import DistilledSet, Space
from ddbench.errors import BadInput, printable
from ddbench.features.budget import BYTES_OF, label_bits
from ddbench.file_kinds import HDF5, HEAD_BYTES, describe_file, describe_folder
from ddbench.importers import Found, Options, importer
from ddbench.importers._detect import read
from ddbench.importers._labels import propose_kind
from ddbench.importers._spaces import propose_space
from ddbench.recipe_files import from_yaml
from ddbench.store import Result, SoftLabelViews


def describe(path: Path, options: Options | None = None) -> dict[str, Any]:
    """What ``path`` holds, as plain data for ``json.dumps``.

    A result of ours: shapes, dtypes, ranges, value space, labels, F, bytes per part, provenance.
    A set of others: the importer that knows it with its reasons, and the same of every set in it,
    with proposals for what the file leaves open. Anything else: ``format`` by its first bytes, and
    ``note``, which says why it cannot be imported.

    Raises:
        BadInput: nothing there, not readable, or a result of ours that is damaged or too new.
    """
    if path.is_dir():
        return {"path": str(path)} | _imported_or(path, options, describe_folder(path))
    if path.exists() and not path.is_file():
        raise BadInput("is neither a file nor a folder", file=path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", file=path) from None
    base = {"path": str(path), "file_bytes": size}
    if head.startswith(HDF5):
        try:
            return base | _ours(store.read(path))
        except BadInput as error:
            if "not a ddbench result" not in error.problem:
                raise
    return base | _imported_or(path, options, describe_file(path, head, size))


def _imported_or(path: Path, options: Options | None, kind: dict[str, Any]) -> dict[str, Any]:
    """What an importer finds, or the kind of file with the reason why none can use it."""
    try:
        return foreign_sets(path, options or Options())
    except BadInput as error:
        return {**kind, "note": error.problem}


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


# --- sets of others ----------------------------------------------------------------------------


def foreign_sets(path: Path, options: Options) -> dict[str, Any]:
    """What an importer makes of ``path``; raises ``BadInput`` where none can read it."""
    reading = read(path, options)
    return {
        "format": f"{reading.format}: {importer(reading.format).SUMMARY}",
        "reasons": list(reading.reasons),
        "sets": len(reading.sets),
        "set": _found(reading.sets[0]),
        **({"more": reading.hints} if reading.hints else {}),
    }


def _found(found: Found) -> dict[str, Any]:
    """The first of a file's sets, with proposals for what it leaves open."""
    spaces = {"space": found.space, "constants": found.constants}
    if found.space is None:
        spaces = {"space": "open", "space_proposal": ", ".join(propose_space(found.x))}
    labels: dict[str, Any] = {"kind": "none: class-major labels would be assumed"}
    if found.y is not None:
        hard = not found.y.is_floating_point()
        kind = found.kind or ("index" if hard else "open")
        labels = {"kind": kind, "shape": list(found.y.shape)}
        if not hard:
            labels |= {"proposal": ", ".join(propose_kind(found.y)), **_range(found.y)}
        else:
            labels["images_per_class"] = torch.bincount(found.y).tolist()
    return {
        "images": {
            "shape": list(found.x.shape),
            "dtype": str(found.x.dtype).removeprefix("torch."),
            **_range(found.x),
            **spaces,
        },
        "labels": labels,
        "features": None if found.F is None else {"shape": list(found.F.shape), **_range(found.F)},
        "learned_lr": found.lr,
        "views": None if found.views is None else f"{len(found.views.checksums)} files",
        "selected_on_test": found.selected_on_test,
        **({"hints": found.hints} if found.hints else {}),
        **({"classes": list(found.class_ids)} if found.class_ids else {}),
    }


# --- for terminals -----------------------------------------------------------------------------


def as_text(description: dict[str, Any], indent: int = 0) -> str:
    """A description as indented ``name: value`` lines, without what is None."""
    lines = []
    for name, value in description.items():
        label = f"{'  ' * indent}{printable(name) or '(array)'}:"
        if isinstance(value, dict) and value:
            lines += [label, as_text(value, indent + 1)]
        elif value is not None:
            lines.append(f"{label} {_short(value)}")
    return "\n".join(lines)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = ", ".join(map(_short, value)) if isinstance(value, list | tuple) else str(value)
    return printable(text) or "none"
