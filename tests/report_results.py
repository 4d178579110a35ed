"""Hand-made results for the report's tests: several networks, seeds, logs, F, and what goes wrong.

The images are real ones of scikit-learn's digits (real data at hand) or drawn (none at hand).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddbench import data, store
from ddbench.data import RealData
from ddbench.datasets import DatasetSpec
from ddbench.distilled import DistilledSet, Space
from ddbench.recipe import Recipe
from ddbench.store import EvaluationRecord, Result

NETWORKS = ("ConvNetD2-W32", "MLP", "LeNet")
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>'\"&$x_1$ %{x}"
PUBLISHED = [{"accuracy": 88.0, "std": 2.0, "source": f"A & B 2021, table 2 {HOSTILE}"}]


@cache
def digits() -> RealData:
    """Scikit-learn's digits."""
    return data.load(DatasetSpec(name="digits"), "cpu")


def recipe_of(name: str, method: str = "dc", ipc: int = 2, **fields: Any) -> Recipe:
    """A recipe for digits, unless ``fields`` name another dataset."""
    return Recipe.parse({"dataset": "digits", "name": name, "method": method, "ipc": ipc, **fields})


def scores(
    base: float,
    seed: int,
    networks: Sequence[str] = NETWORKS,
    count: int = 5,
    features: float | None = None,
    **fields: Any,
) -> list[EvaluationRecord]:
    """``count`` networks of each architecture around ``base``; with ``features``, also with F.

    Args:
        features: what training with F adds.
    """
    made = []
    for place, network in enumerate(networks):
        for used in (False, True) if features is not None else (False,):
            for e in range(count):
                noise = np.random.default_rng([seed, place, e]).normal(0, 0.01)
                value = float(np.clip(base - 0.06 * place + noise, 0, 1))
                value = min(1.0, value + (features or 0) * used)
                made.append(_record(value, network, e, used, **fields))
    return made


def _record(value: float, network: str, e: int, used: bool, **fields: Any) -> EvaluationRecord:
    key = f"{network}-{'f' if used else 'x'}"
    plain = EvaluationRecord(
        key, "dc", 101, network, e, used, "none", value, float("nan"), 1.0,
        np.full(10, value, np.float32), 301, 2.0, "last", lr=0.01,
        comparable_key=f"{network}-x",
    )  # fmt: skip
    return replace(plain, **fields)


def images(recipe: Recipe, seed: int) -> DistilledSet | None:
    """Images per class as the recipe asks for, with F where it has F; None for ``full``."""
    if not recipe.method.has_set:
        return None
    facts = recipe.facts
    y = torch.arange(facts.num_classes).repeat_interleave(recipe.ipc)
    generator = torch.Generator().manual_seed(seed)
    if recipe.dataset.name == "digits":
        real = digits()
        rows = torch.cat([real.class_index[c, seed : seed + recipe.ipc] for c in range(10)])
        x, space = real.x_train[rows] * 0.9, real.space
    else:
        x, space = _waves(len(y), facts.shape, generator), Space("unit")
    if recipe.features is None:
        return DistilledSet(x, y, space)
    F = torch.rand((len(y), 1, 32, 4, 4), generator=generator)
    return DistilledSet(x, y, space, F=F, features={"granularity": "per_image", "dtype": "float32"})


def _waves(count: int, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Coloured waves, float32 [count, *shape] in [0, 1]."""
    steps = torch.linspace(0, 6.3, shape[1])
    grid = steps[:, None] + steps[None]
    speed = 1 + 2 * torch.rand((count, shape[0], 1, 1), generator=generator)
    return 0.5 + 0.5 * torch.sin(speed * grid)


def log_of(iterations: int, seed: int, stages: int = 0) -> dict[str, Any]:
    """A falling loss, and losses by stage."""
    steps = np.arange(iterations)
    noise = np.random.default_rng(seed).normal(0, 0.02, iterations)
    falling = np.exp(-steps / iterations * 3) + noise + 1
    staged = {f"match_stage_{k}": falling * (k + 1) for k in range(stages)}
    return {"iteration": steps, "loss": falling * 50, "grad_norm": falling, **staged}


def write(
    folder: Path,
    recipe: Recipe,
    seed: int,
    records: Sequence[EvaluationRecord],
    *,
    status: str = "done",
    log: dict[str, Any] | None = None,
    **attrs: Any,
) -> Path:
    """One result file."""
    path = store.result_path(folder, recipe.dataset.name, recipe.name, recipe.key, seed)
    values = {
        "recipe": recipe.to_yaml(), "key": recipe.key, "seed": seed, "status": status,
        "device": "cpu", "seconds": 12.5, "peak_memory_bytes": 9e8, "ddbench": "0.1.0",
        "git": "0123456789abcdef", "torch": "2.9.0", "finished": "2026-01-02T03:04:05+00:00",
        "restarts": 0,
    }  # fmt: skip
    result = Result({**values, **attrs}, images(recipe, seed), evaluations=records, log=log or {})
    store.write(path, result)
    return path


def two_protocols(folder: Path) -> None:
    """Two methods on one cell of each protocol, which have other networks in common."""
    for name, method in (("digits_dc_ipc2", "dc"), ("digits_random_ipc2", "random")):
        for seed in range(3):
            other = {"protocol": "dm", "evaluation_key": "dm", "comparable_key": "dm"}
            write(folder, recipe_of(name, method), seed, [
                *scores(0.8 - 0.1 * (method == "random"), seed),
                *scores(0.6, seed, NETWORKS[:2], **other),
            ])  # fmt: skip


def several(folder: Path) -> None:
    """Two datasets, six methods, three networks and seeds; runs that failed, text that is hostile.

    DC is the best on digits, DC + F within the noise of it; CIFAR-10 has one size per method.
    """
    for seed in range(3):
        write(folder, recipe_of("digits_random_ipc2", "random"), seed,
              _still(scores(0.68, seed)), seconds=0.0004)  # fmt: skip
        write(folder, recipe_of("digits_kmeans_ipc2", "kmeans"), seed,
              _still(scores(0.83, seed)), seconds=0.0004)  # fmt: skip
        write(folder, recipe_of("digits_dc_ipc2", published=PUBLISHED), seed,
              scores(0.88, seed), log=log_of(700, seed))  # fmt: skip
        write(folder, recipe_of("digits_dc_ipc1", ipc=1), seed,
              scores(0.79, seed), log=log_of(101, seed), seconds=6.0)  # fmt: skip
        write(folder, recipe_of("digits_dc_f_ipc1", ipc=1, features={}), seed,
              scores(0.80, seed, features=0.03), log=log_of(101, seed, 3), seconds=9.0,
              device=f"{HOSTILE} GPU")  # fmt: skip
        write(folder, recipe_of("cifar10_dc_ipc10", dataset="cifar10", ipc=10), seed,
              scores(0.44, seed, ("ConvNetD3", "AlexNet")), seconds=900.0, device="NVIDIA X",
              log=log_of(50, seed))  # fmt: skip
        write(folder, recipe_of("cifar10_random_ipc10", "random", 10, dataset="cifar10"), seed,
              _still(scores(0.31, seed, ("ConvNetD3", "AlexNet"))), seconds=0.0)  # fmt: skip
        write(folder, recipe_of("digits_herding_ipc2", "herding"), seed, _ranking(seed))
    write(folder, recipe_of("digits_full", "full"), 0,
          _still(scores(0.98, 0, protocol="full", evaluation_key="full", comparable_key="full")),
          seconds=0.0)  # fmt: skip
    write(folder, recipe_of("digits_dc_best_ipc2", method={"name": "dc", "lr_img": 0.2}), 0,
          scores(0.9, 0, selection="best_on_test"), log=log_of(101, 0))  # fmt: skip
    write(folder, recipe_of("digits_dc_ipc5", ipc=5), 0, scores(0.9, 0), status="distilled")
    (folder / "digits" / "damaged.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))


def _ranking(seed: int) -> list[EvaluationRecord]:
    """Scores by a protocol that compares a set with baselines: DD-Ranking's."""
    roles = {"set": 0.6, "set_hard": 0.55, "random": 0.4, "real": 0.9}
    return [
        replace(record, iteration=0, role=role, protocol="ddranking-hard",
                evaluation_key=role, comparable_key=role)
        for role, base in roles.items()
        for record in scores(base, seed, NETWORKS[:1])
    ]  # fmt: skip


def _still(records: list[EvaluationRecord]) -> list[EvaluationRecord]:
    """Scores of sets that are made without iterations."""
    return [replace(record, iteration=0) for record in records]
