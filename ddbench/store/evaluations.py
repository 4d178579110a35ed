"""One row per trained and tested network, with the test images it got right.

Axes: R rows, K classes, n test images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ddbench.store import schema
from ddbench.store.tree import Array, Leaf, TreeFile

TABLE = "evaluations"
CORRECT = "predictions/correct"
PRESENT = "predictions/present"
ACCURACIES = ("accuracy", "best_accuracy", "train_accuracy", "per_class")

Columns = dict[str, list[Any]]
"""The table by column, each of R values; ``per_class`` holds arrays [K]."""


@dataclass(frozen=True, eq=False)
class EvaluationRecord:
    """One score of a stored set. Accuracies are fractions in [0, 1].

    Attributes:
        network_seed: -1 stands for the ensemble of all networks of the row's group.
        accuracy: at the final epoch.
        best_accuracy: best over training, selected on the test set; NaN where not tracked.
        per_class: float32 [K], K >= 1, one length per file; NaN where not known.
        selection: how the snapshot was chosen.
        correct: bool [n], which test images were right; None where not kept.
        role: what was trained on: ``set``, or a baseline that the protocol compares it with.
        lr: learning rate at the start of training; NaN where not recorded.
        teacher: the networks that labelled images while training (name, SHA-256 of the weights,
            accuracy), whose weights of ``teacher_bytes`` a user needs, too; empty without.
        test_every: epochs between the tests that ``best_accuracy`` is the maximum of; 0 = none, or
            not recorded (files of earlier releases).
        comparable_key: the evaluation key of the same training without F, so that scores with F and
            without are known to be trained and tested alike; empty where not recorded.
    """

    evaluation_key: str
    protocol: str
    iteration: int
    network: str
    network_seed: int
    used_features: bool
    tta: str
    accuracy: float
    best_accuracy: float
    train_accuracy: float
    per_class: Array = field(repr=False)
    epochs: int
    seconds: float
    selection: str
    correct: Array | None = field(default=None, repr=False)
    role: str = "set"
    lr: float = math.nan
    teacher: str = ""
    teacher_bytes: float = 0.0
    test_every: int = 0
    comparable_key: str = ""


def encode_evaluations(records: Sequence[EvaluationRecord]) -> dict[str, Leaf]:
    """The leaves of the table and of the predictions.

    Raises:
        ValueError: rows that differ in the number of classes or of test images; a zero character
            in text; an accuracy that is no fraction.
    """
    classes = _one_length("per_class", [np.shape(record.per_class) for record in records]) or 1
    columns: Columns = {
        name: [_stored(getattr(record, name)) for record in records] for name in schema.COLUMNS
    }
    if problem := _no_fraction(columns):
        raise ValueError(problem)
    widths = {
        name: max(map(len, columns[name]), default=1)
        for name, (kind, _) in schema.COLUMNS.items()
        if kind == "text"
    }
    table = np.zeros(len(records), schema.evaluations_dtype(classes, widths))
    for name, values in columns.items():
        if values:
            table[name] = values
    return {TABLE: Leaf(table)} | _encode_predictions(records)


def _stored(value: object) -> object:
    if not isinstance(value, str):
        return value
    if "\0" in value:
        raise ValueError("text in a result file cannot hold a zero character")
    return value.encode()


def _encode_predictions(records: Sequence[EvaluationRecord]) -> dict[str, Leaf]:
    kept = [record.correct for record in records if record.correct is not None]
    if not kept:
        return {}
    n = _one_length("correct", [correct.shape for correct in kept])
    packed = np.zeros((len(records), (n + 7) // 8), np.uint8)
    present = np.zeros(len(records), np.bool_)
    for row, record in enumerate(records):
        if record.correct is not None:
            packed[row] = np.packbits(record.correct.astype(np.bool_))
            present[row] = True
    return {CORRECT: Leaf(packed, {"n": n}), PRESENT: Leaf(present)}


def _one_length(name: str, shapes: Sequence[tuple[int, ...]]) -> int:
    """The one length of all ``shapes``; 0 without any."""
    if len(set(shapes)) > 1 or any(len(shape) != 1 or shape[0] == 0 for shape in shapes):
        raise ValueError(f"'{name}' must have one length, 1 or more, in all rows; found {shapes}")
    return shapes[0][0] if shapes else 0


def decode_columns(file: TreeFile) -> Columns:
    """The table of an open file.

    Raises:
        BadInput: the table is missing, damaged or lacks a column, or holds an accuracy that is no
            fraction.
    """
    table: Any = file.leaf(TABLE).value
    columns: Columns = {}
    for name, (kind, _) in schema.COLUMNS.items():
        if name in table.dtype.names:
            columns[name] = _column(kind, table[name])
        elif name in schema.ADDED_COLUMNS:
            columns[name] = [schema.ADDED_COLUMNS[name]] * len(table)
        else:
            raise file.bad(f"'{TABLE}' has no column '{name}'")
    if problem := _no_fraction(columns):
        raise file.bad(f"'{TABLE}': {problem}")
    return columns


def records_of(columns: Columns, correct: Sequence[Array | None] = ()) -> list[EvaluationRecord]:
    """The rows of a table; ``correct`` is None in all of them unless given, one per row."""
    rows = zip(*columns.values(), strict=True)
    records = [EvaluationRecord(**dict(zip(columns, row, strict=True))) for row in rows]
    if not correct:
        return records
    return [replace(row, correct=bits) for row, bits in zip(records, correct, strict=True)]


def decode_evaluations(file: TreeFile) -> tuple[EvaluationRecord, ...]:
    """The rows of an open file with their predictions; raises as ``decode_columns``."""
    columns = decode_columns(file)
    return tuple(records_of(columns, _decode_predictions(file, len(columns["accuracy"]))))


def _no_fraction(columns: Mapping[str, Sequence[Any]]) -> str | None:
    """What is wrong with the first accuracy outside of [0, 1]; all but the final may be NaN."""
    for name in ACCURACIES:
        values = np.asarray(columns[name], dtype=np.float64)
        known = (values >= 0) & (values <= 1)
        if name != "accuracy":
            known |= np.isnan(values)
        if not known.all():
            return f"{name} is {values[~known].flat[0]:g}; accuracies are fractions from 0 to 1"
    return None


def _column(kind: str, values: Any) -> list[Any]:
    if kind == "text":
        return [text.decode() for text in values.tolist()]
    return list(values) if values.ndim > 1 else values.tolist()


def _decode_predictions(file: TreeFile, rows: int) -> list[Array | None]:
    if not file.has(CORRECT):
        return [None] * rows
    leaf, present = file.leaf(CORRECT), file.leaf(PRESENT).value
    packed, n = leaf.value, int(leaf.attrs["n"])
    if not isinstance(packed, np.ndarray) or not isinstance(present, np.ndarray):
        raise file.bad(f"'{CORRECT}' holds no bits")
    if packed.shape != (rows, (n + 7) // 8) or present.shape != (rows,):
        raise file.bad(f"'{CORRECT}' has the shape {packed.shape}, not that of {rows} rows")
    return [
        np.unpackbits(bits, count=n).astype(np.bool_) if kept else None
        for bits, kept in zip(packed, present, strict=True)
    ]
