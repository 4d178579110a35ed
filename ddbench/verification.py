"""``--verify``: do a finished run again and compare bits."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddbench import runner, store, tracking
from ddbench.distilled import DistilledSet
from ddbench.engine import Engine, resolve_device
from ddbench.errors import BadInput
from ddbench.recipe import Recipe
from ddbench.standing import is_done, result_file, row_of
from ddbench.store import EvaluationRecord, Result, schema

_TIMES = ("seconds",)


def verify(recipe: Recipe, seed: int, results: Path, *, device: str = "auto") -> list[str]:
    """Differences between the stored result and the same run done again; empty when bit-equal.

    The run is repeated with the stored threads, stack and micro-batch, and with nothing cached.
    Only the scores that the recipe asks for are compared; the file may hold others.

    Raises:
        BadInput: there is no finished result to verify.
    """
    path = result_file(recipe, seed, results)
    if not path.is_file() or not is_done(recipe, seed, results):
        raise BadInput("is not finished; run it first without --verify", file=path)
    stored = store.read(path)
    engine = Engine(
        str(resolve_device(device)),
        *(int(stored.attrs[name]) for name in ("threads", "stack", "microbatch")),
    )
    with tempfile.TemporaryDirectory(prefix="ddbench-verify-") as folder, _apart(folder):
        again = store.read(
            runner.run(recipe, seed, Path(folder), device=device, engine=engine).path
        )
    asked = {row_of(record) for record in again.evaluations}
    rows = tuple(record for record in stored.evaluations if row_of(record) in asked)
    return differences(replace(stored, evaluations=rows), again)


@contextmanager
def _apart(folder: str) -> Iterator[None]:
    """Networks trained on real data are made again too, and no tracker sees the run twice."""
    own = {"DDBENCH_CACHE": str(Path(folder) / "cache"), tracking.VARIABLE: ""}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                del os.environ[name]
            else:
                os.environ[name] = text


def differences(a: Result, b: Result) -> list[str]:
    """What differs in the sets, logs and scores of two results; times and environments may."""
    found = compare_sets("", a.synthetic, b.synthetic)
    if sorted(a.snapshots) != sorted(b.snapshots):
        found.append(f"snapshots at {sorted(a.snapshots)} against {sorted(b.snapshots)}")
    for iteration in sorted(set(a.snapshots) & set(b.snapshots)):
        place = f"snapshot {iteration}: "
        found += compare_sets(place, a.snapshots[iteration], b.snapshots[iteration])
    for name in sorted(set(a.log) | set(b.log)):
        if not _equal(a.log.get(name, np.zeros(0)), b.log.get(name, np.zeros(0))):
            found.append(f"the log of {name} differs")
    if len(a.evaluations) != len(b.evaluations):
        return [*found, f"{len(a.evaluations)} scores against {len(b.evaluations)}"]
    for ours, theirs in zip(a.evaluations, b.evaluations, strict=True):
        found += _compare_records(ours, theirs)
    return found


def compare_sets(place: str, a: DistilledSet | None, b: DistilledSet | None) -> list[str]:
    """What differs between two sets, each sentence led by ``place``; empty when bit-equal."""
    if a is None or b is None:
        return [] if a is b else [f"{place}one has a synthetic set, the other has none"]
    found = []
    for name in ("x", "y", "F"):
        found += _compare(f"{place}{name}", getattr(a, name), getattr(b, name))
    for name in ("kind", "features", "lr"):
        if getattr(a, name) != getattr(b, name):
            found.append(f"{place}{name}: {getattr(a, name)} against {getattr(b, name)}")
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
        unsaid = name in schema.ADDED_COLUMNS and _equal(x, schema.ADDED_COLUMNS[name])
        if name not in _TIMES and not unsaid and not _equal(x, y):  # older files do not say all
            found.append(f"{place}: {name} {_short(x)} against {_short(y)}")
    return found


def _equal(x: Any, y: Any) -> bool:
    if isinstance(x, float | np.ndarray):
        return bool(np.array_equal(x, y, equal_nan=np.asarray(x).dtype.kind == "f"))
    return bool(x == y)


def _short(value: Any) -> str:
    return f"{value.shape}" if isinstance(value, np.ndarray) else str(value)
