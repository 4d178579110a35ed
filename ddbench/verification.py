"""``--verify``: do a finished run again and compare bits."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddbench import runner, store
from ddbench.engine import Engine, resolve_device
from ddbench.errors import BadInput
from ddbench.recipe import Recipe
from ddbench.store import EvaluationRecord, Result

_TIMES = ("seconds",)


def verify(recipe: Recipe, seed: int, results: Path, *, device: str = "auto") -> list[str]:
    """Differences between the stored result and the same run done again; empty when bit-equal.

    The run is repeated with the stored threads, stack and micro-batch.

    Raises:
        BadInput: there is no finished result to verify.
    """
    path = runner.result_file(recipe, seed, results)
    if not path.is_file() or not runner.is_done(recipe, seed, results):
        raise BadInput("is not finished; run it first without --verify", file=path)
    stored = store.read(path)
    engine = Engine(
        str(resolve_device(device)),
        *(int(stored.attrs[name]) for name in ("threads", "stack", "microbatch")),
    )
    with tempfile.TemporaryDirectory(prefix="ddbench-verify-") as folder:
        again = runner.run(recipe, seed, Path(folder), device=device, engine=engine)
        return differences(stored, store.read(again.path))


def differences(a: Result, b: Result) -> list[str]:
    """What differs in the sets and the scores of two results; times and environments may."""
    found = []
    if (a.synthetic is None) != (b.synthetic is None):
        return ["one has a synthetic set, the other has none"]
    for name in ("x", "y", "F"):
        found += _compare(name, getattr(a.synthetic, name, None), getattr(b.synthetic, name, None))
    if len(a.evaluations) != len(b.evaluations):
        return [*found, f"{len(a.evaluations)} scores against {len(b.evaluations)}"]
    for ours, theirs in zip(a.evaluations, b.evaluations, strict=True):
        found += _compare_records(ours, theirs)
    return found


def _compare(name: str, a: torch.Tensor | None, b: torch.Tensor | None) -> list[str]:
    if a is None or b is None:
        return [] if a is b else [f"{name} is only in one"]
    if a.shape != b.shape or a.dtype != b.dtype:
        return [f"{name}: {a.dtype} {list(a.shape)} against {b.dtype} {list(b.shape)}"]
    if torch.equal(a, b):
        return []
    distance = (a.double() - b.double()).abs()
    return [f"{name}: {int((distance > 0).sum())} values differ, by up to {distance.max():.3g}"]


def _compare_records(a: EvaluationRecord, b: EvaluationRecord) -> list[str]:
    place = f"{a.network} {a.network_seed}{' with F' if a.used_features else ''}"
    found = []
    for name in a.__dataclass_fields__:
        x, y = getattr(a, name), getattr(b, name)
        if name not in _TIMES and not _equal(x, y):
            found.append(f"{place}: {name} {_short(x)} against {_short(y)}")
    return found


def _equal(x: Any, y: Any) -> bool:
    if isinstance(x, float | np.ndarray):
        return bool(np.array_equal(x, y, equal_nan=np.asarray(x).dtype.kind == "f"))
    return bool(x == y)


def _short(value: Any) -> str:
    return f"{value.shape}" if isinstance(value, np.ndarray) else str(value)
