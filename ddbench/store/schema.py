"""Version 1 of the result file, written down as data: used by the writer, the reader and the docs.

Axes: N synthetic images, C channels, H, W, K classes, M features per image or class, V soft-label
views, k kept classes of a view, P = C*H*W, R evaluation rows, T logged iterations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

VERSION = 1
STATUSES = ("distilled", "labelled", "done", "failed")


@dataclass(frozen=True)
class Entry:
    """One dataset of the file.

    Attributes:
        dtypes: the numpy names it may have; ``text`` is a fixed-length UTF-8 string.
        axes: one symbol per axis; a last ``...`` stands for any further axes.
    """

    path: str
    dtypes: tuple[str, ...]
    axes: tuple[str, ...]
    meaning: str

    def problem(self, value: np.ndarray[Any, Any] | str) -> str | None:
        """What is wrong with ``value`` in this place, or None."""
        if isinstance(value, str):
            return None if "text" in self.dtypes else "holds text"
        kind = "table" if value.dtype.names else value.dtype.name
        if kind not in self.dtypes:
            return f"has dtype {kind}, expected {' or '.join(self.dtypes)}"
        fixed = len(self.axes) - ("..." in self.axes)
        if value.ndim < fixed or (value.ndim > fixed and "..." not in self.axes):
            return f"has shape {list(value.shape)}, expected [{', '.join(self.axes)}]"
        return None


_INTS = ("int32", "int64")
_FLOATS = ("float32", "float64")
_V = ("V",)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "synthetic/x",
        ("float32", "uint8"),
        ("N", "C", "H", "W"),
        "the images, in the value space named by their attributes",
    ),
    Entry(
        "synthetic/y",
        ("int64", "float16", "float32", "float64"),
        ("N", "..."),
        "the labels: int64 [N] of kind index, else floats [N, K]",
    ),
    Entry(
        "synthetic/F",
        ("float32", "float16", "uint8"),
        ("N or K", "M", "..."),
        "the privileged features, at their stored dtype",
    ),
    Entry(
        "synthetic/lr",
        ("float64",),
        ("...",),
        "the learned step size of the student; [stages] where there is one per stage",
    ),
    Entry("synthetic/zca/mean", ("float32",), ("1", "P"), "mean of the flattened real images"),
    Entry("synthetic/zca/matrix", ("float32",), ("P", "P"), "z = (x - mean) @ matrix"),
    Entry("synthetic/zca/inverse", ("float32",), ("P", "P"), "x = z @ inverse + mean"),
    Entry("synthetic/views/index", _INTS, _V, "the image that the view shows"),
    Entry("synthetic/views/epoch", _INTS, _V, "the epoch that the view belongs to"),
    Entry(
        "synthetic/views/crop",
        _FLOATS,
        ("V", "4"),
        "top, left, height, width as fractions of the image",
    ),
    Entry("synthetic/views/flip", ("bool",), _V, "mirrored left to right"),
    Entry("synthetic/views/mix_lambda", _FLOATS, _V, "share of the view's own image in the mix"),
    Entry("synthetic/views/mix_box", _INTS, ("V", "4"), "box pasted by CutMix, in pixels"),
    Entry("synthetic/views/mix_partner", _INTS, _V, "the view it is mixed with"),
    Entry(
        "synthetic/views/logits", ("float16", "float32"), ("V", "K"), "the teachers' mean logits"
    ),
    Entry(
        "synthetic/views/top_values",
        ("float16", "float32"),
        ("V", "k"),
        "the k largest values, where not all are kept",
    ),
    Entry("synthetic/views/top_index", _INTS, ("V", "k"), "the classes of top_values"),
    Entry(
        "synthetic/views/manifest",
        ("text",),
        (),
        "JSON: path and checksums of a foreign label store that is referenced, not copied",
    ),
    Entry("evaluations", ("table",), ("R",), "one row per trained and tested network"),
    Entry(
        "predictions/correct",
        ("uint8",),
        ("R", "ceil(n/8)"),
        "bit i of a row: test image i was right (first image = highest bit of the first byte)",
    ),
    Entry("predictions/present", ("bool",), ("R",), "false: no predictions kept for this row"),
    Entry(
        "log/<name>",
        ("float32", "float64", "int32", "int64", "bool"),
        ("T",),
        "per-iteration scalars; `log/iteration` is their common axis",
    ),
)

DATASET_ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "synthetic/x@space": "`unit`, `meanstd`, `zca` or `kip_zca`",
        "synthetic/x@mean": "per channel, float64 [C]; `meanstd` only",
        "synthetic/x@std": "per channel, float64 [C]; `meanstd` only",
        "synthetic/x@whitening": "path of the group with the whitening; whitened spaces only",
        "synthetic/y@kind": "`index`, `probability`, `logit` or `centred`",
        "synthetic/F@features": "JSON: the resolved features block, the network, the item's shape",
        "synthetic/F@dtype": "`float32`, `float16` or `uint8_affine`",
        "synthetic/F@scale": "float32 [M]; `uint8_affine` only",
        "synthetic/F@zero": "float32 [M]; `uint8_affine` only",
        "synthetic/views@teachers": "JSON: a list of [name, SHA-256 of the weights]",
        "predictions/correct@n": "number of test images",
    }
)

REQUIRED = ("schema", "recipe", "key", "seed", "status")
ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "schema": "version of this layout, 1",
        "recipe": "the resolved recipe, YAML text",
        "key": "identifies everything that changes the synthetic set, without the seed",
        "seed": "the seed, or the replicate of a foreign file",
        "status": "`distilled`, `labelled`, `done` or `failed`",
        "ddbench": "version of ddbench",
        "git": "commit of the working copy",
        "torch": "version of torch",
        "cuda": "version of CUDA",
        "device": "the device that computed it",
        "threads": "CPU threads",
        "stack": "networks trained at once",
        "microbatch": "samples per backward pass",
        "image": "container image",
        "job": "scheduler job",
        "restarts": "times it was resumed",
        "started": "time, ISO 8601",
        "finished": "time, ISO 8601",
        "seconds": "computing time",
        "peak_memory_bytes": "highest memory use",
        "dataset_sha256": "checksum of the real data",
        "source": "JSON: where an imported set comes from (format, files with SHA-256, reasons)",
        "set_bytes": "JSON: bytes of an imported set's images, labels and stored views",
        "selected_on_test": "true: whoever made the set chose it by its accuracy on the test set",
        "checksums": "JSON: SHA-256 of every attribute (`@name`) and dataset (its path)",
    }
)

COLUMNS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "evaluation_key": ("text", "identifies everything that changes the score of a stored set"),
        "protocol": ("text", "name of the evaluation protocol"),
        "iteration": ("int64", "the snapshot that was evaluated"),
        "network": ("text", "architecture"),
        "network_seed": ("int64", "seed; -1 = ensemble of all networks of the row's group"),
        "used_features": ("bool", "trained with F"),
        "tta": ("text", "test-time augmentation"),
        "accuracy": ("float64", "fraction, at the final epoch"),
        "best_accuracy": ("float64", "best over training, selected on test; NaN: not tracked"),
        "train_accuracy": ("float64", "fraction, on the synthetic set"),
        "per_class": ("float32", "[K] fractions; one length per file"),
        "epochs": ("int64", "epochs trained"),
        "seconds": ("float64", "training and testing time"),
        "selection": ("text", "how the evaluated snapshot was chosen"),
        "role": ("text", "what was trained on: `set`, or a baseline of the protocol"),
        "lr": ("float64", "learning rate at the start of training; NaN: not recorded"),
        "teacher": ("text", "networks that labelled the images while training; empty: none"),
        "teacher_bytes": ("float64", "size of those networks' weights"),
        "test_every": ("int64", "epochs between the tests of best_accuracy; 0: not recorded"),
        "comparable_key": ("text", "the evaluation_key without F; empty: not recorded"),
    }
)
ADDED_COLUMNS: Mapping[str, object] = MappingProxyType(
    {
        **{"role": "set", "lr": float("nan"), "teacher": "", "teacher_bytes": 0.0},
        **{"test_every": 0, "comparable_key": ""},
    }
)
"""Columns that files of earlier releases lack, and what they then hold."""


def evaluations_dtype(classes: int, widths: Mapping[str, int]) -> np.dtype[Any]:
    """The row of the ``evaluations`` table.

    Args:
        classes: length of ``per_class``, 1 or more.
        widths: bytes of each text column, 1 or more.
    """
    fields: list[tuple[Any, ...]] = []
    for name, (kind, _) in COLUMNS.items():
        dtype = text_dtype(widths[name]) if kind == "text" else np.dtype(kind)
        fields.append((name, dtype, (classes,)) if name == "per_class" else (name, dtype))
    return np.dtype(fields)


def text_dtype(width: int) -> np.dtype[Any]:
    """UTF-8 text of at most ``width`` bytes, padded with zeros.

    Not HDF5's variable-length strings: these lie in a heap without checksums, in which a single
    zeroed block makes the library loop for ever (measured with HDF5 2.0).
    """
    dtype: np.dtype[Any] = h5py.string_dtype("utf-8", max(width, 1))
    return dtype


_BY_PATH = {entry.path: entry for entry in ENTRIES}


def entry_at(path: str) -> Entry | None:
    """The entry that describes ``path``; snapshots follow ``synthetic``. None: no dataset."""
    path = re.sub(r"^snapshots/[0-9]+/", "synthetic/", path)
    return _BY_PATH.get(re.sub(r"^log/[^/]+$", "log/<name>", path))
