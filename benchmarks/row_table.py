"""Row ``table``: tables and the page over many result files, as whole processes.

The files are made here, as runs make them: ten networks per set, with F and without for every
other recipe, predictions for the whole test set, a set of real size, and a log.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Row
from ddbench import datasets, store
from ddbench.arms import recipe_arms
from ddbench.distilled import DistilledSet, Space
from ddbench.features.source import stored_settings
from ddbench.recipe import Recipe
from ddbench.store import EvaluationRecord, Result

SEEDS, NETWORKS, TESTS, ITERATIONS = 10, 10, 10_000, 1000
DATASETS = ("mnist", "fashionmnist", "cifar10")
METHODS = ("dc", "random", "herding", "kmeans")


def measure(*sizes: int, runs: int = 3) -> list[Row]:
    """``ddbench table`` and ``ddbench report`` over so many files, one number after the other."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="ddbench-table-") as parent:
        folder = Path(parent) / "results"
        calls = {
            "table": ["table"],
            "table --by-bytes --format json": ["table", "--by-bytes", "--format", "json"],
            "report": ["report", "-o", f"{parent}/page.html"],
        }
        for size in sizes:
            write(folder, size)
            for name, words in calls.items():
                rows.append(_row(f"`ddbench {name}`, {size} files", [*words, str(folder)], runs))
    return rows


def write(folder: Path, size: int) -> None:
    """``size`` result files, ``SEEDS`` of each recipe; those that are there stay."""
    for number, recipe in enumerate(islice(recipes(), -(-size // SEEDS))):
        for seed in range(min(SEEDS, size - number * SEEDS)):
            label = datasets.label(recipe.dataset)
            path = store.result_path(folder, label, recipe.name, recipe.key, seed)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                store.write(path, result(recipe, seed))


def recipes() -> Iterator[Recipe]:
    """Recipes without end; those of ``dc`` and those with F differ in their knobs, too."""
    for number in count():
        dataset, method = DATASETS[number % 3], METHODS[number // 3 % 4]
        knobs = {"lr_img": 0.1 + number / 1000} if method == "dc" else {}
        features = {"lambda_reg": 0.01 + number / 1000} if number % 2 else None
        yield Recipe.parse({
            "name": f"{dataset}_{method}_{number}", "dataset": dataset, "network": "ConvNetD3",
            "ipc": 1, "method": {"name": method, **knobs}, "features": features,
            "evaluation": {"repeats": NETWORKS},
        })  # fmt: skip


def result(recipe: Recipe, seed: int) -> Result:
    """What a run of the recipe would leave; accuracies and pixels are drawn."""
    drawn = np.random.default_rng([seed, *recipe.key.encode()])
    classes = recipe.facts.num_classes
    records = tuple(
        EvaluationRecord(
            arm.key, arm.plan.protocol, ITERATIONS, arm.network.label, member,
            arm.features is not None, arm.plan.tta, float(right.mean()), float("nan"), 1.0,
            np.full(classes, right.mean(), np.float32), arm.plan.epochs_run, 12.5, "last", right,
            comparable_key=arm.comparable_key,
        )
        for arm in recipe_arms(recipe)
        for member in range(NETWORKS)
        for right in [drawn.random(TESTS) < 0.5]
    )  # fmt: skip
    attrs = {
        "recipe": recipe.to_yaml(), "key": recipe.key, "seed": seed, "status": "done",
        "ddbench": "0.1.0", "git": "c0ffee" * 6, "torch": torch.__version__, "cuda": "",
        "device": "cpu", "device_type": "cpu", "image": "", "threads": 2, "stack": 1,
        "microbatch": 256, "job": f"{seed + 1}", "restarts": 0,
        "started": "2026-11-01T10:00:00+00:00", "finished": "2026-11-01T11:00:00+00:00",
        "seconds": 3000.0, "peak_memory_bytes": 10**9, "dataset_sha256": "0" * 64,
    }  # fmt: skip
    log = {"iteration": np.arange(ITERATIONS), "loss": drawn.random(ITERATIONS)}
    return Result(attrs, _set(recipe), evaluations=records, log=log)


def _set(recipe: Recipe) -> DistilledSet:
    shape, classes, features = recipe.facts.shape, recipe.facts.num_classes, recipe.features
    plain = DistilledSet(_drawn(classes, *shape), torch.arange(classes), Space("unit"))
    if features is None:
        return plain
    network = recipe.feature_network
    F = _drawn(classes, features.n_feat, *features.item_shape(network, shape))
    settings = stored_settings(features, network, shape, str(recipe.feature_source), False)
    return replace(plain, F=F, features=settings)


@cache
def _drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _row(workload: str, words: list[str], runs: int) -> Row:
    measured = [_process(words) for _ in range(runs + 1)][1:]  # the first fills the file cache
    walls, cpus, peaks = zip(*measured, strict=True)
    return Row(
        "table", workload, f"ddbench, peak {max(peaks) / 1e6:.0f} MB", statistics.median(walls),
        statistics.median(cpus), min(walls), max(walls), runs,
    )  # fmt: skip


_ALONE = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
seconds, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
"""
"""Started by a small process: Linux counts what a parent has in memory as a child's, too."""


def _process(words: list[str]) -> tuple[float, float, int]:
    """Seconds, CPU seconds and peak resident bytes of one command."""
    command = [sys.executable, "-c", _ALONE, sys.executable, "-m", "ddbench", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, seconds, cpu, peak = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{words}: {done.stderr}")
    return seconds, cpu, peak
