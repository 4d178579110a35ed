"""Small result files with given scores, for the tests of tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddbench import store
from ddbench.distilled import DistilledSet, Space
from ddbench.recipe import Recipe
from ddbench.store import EvaluationRecord, Result

NETWORK = "ConvNetD2-W32"
PUBLISHED = [{"accuracy": 70.0, "std": 0.5, "source": "A & B 2021, table 2"}]


def recipe_of(name: str, method: str = "dc", ipc: int = 2, **fields: Any) -> Recipe:
    return Recipe.parse({"name": name, "dataset": "digits", "method": method, "ipc": ipc, **fields})


def record_of(accuracy: float, network_seed: int = 0, **fields: Any) -> EvaluationRecord:
    plain = EvaluationRecord(
        "e" * 12, "dc", 1001, NETWORK, network_seed, False, "none", accuracy, float("nan"), 1.0,
        np.full(10, accuracy, np.float32), 301, 2.0, "last",
    )  # fmt: skip
    return replace(plain, **fields)


def write(
    folder: Path,
    made: Recipe,
    seed: int,
    *records: EvaluationRecord,
    status: str = "done",
    **attrs: Any,
) -> Path:
    path = store.result_path(folder, "digits", made.name, made.key, seed)
    values = {
        "recipe": made.to_yaml(), "key": made.key, "seed": seed, "status": status,
        "device": "cpu", "seconds": 10.0 * (seed + 1), "peak_memory_bytes": 1000,
    }  # fmt: skip
    synthetic = None
    if made.method.has_set:
        x = torch.zeros(1, 1, 8, 8)
        synthetic = DistilledSet(x, torch.zeros(1, dtype=torch.int64), Space("unit"))
    store.write(path, Result({**values, **attrs}, synthetic, evaluations=records))
    return path


def members(*accuracies: float, **fields: Any) -> list[EvaluationRecord]:
    return [record_of(value, e, **fields) for e, value in enumerate(accuracies)]
