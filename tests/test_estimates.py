"""``check``'s memory estimate against the measured peak of three recipes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ddbench import store
from ddbench.estimates import estimate
from ddbench.recipe_files import read

WITHIN = 0.4
"""Resident memory also depends on which pages of the libraries the kernel keeps."""


def colour_images(folder: Path) -> Path:
    """A dataset in CIFAR's shape, small enough for a test."""
    path = folder / "images.npz"
    drawn = np.random.default_rng(0)
    y_train, y_test = np.arange(10).repeat(100), np.arange(10).repeat(20)
    np.savez(
        path,
        x_train=drawn.integers(0, 256, (1000, 32, 32, 3), dtype=np.uint8),
        y_train=y_train,
        x_test=drawn.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8),
        y_test=y_test,
    )
    return path


def recipe_file(folder: Path, name: str) -> Path:
    """One of three recipes that stress different parts: coreset, small DC, wide DC on colour."""
    texts = {
        "coreset": "dataset: digits\nipc: 10\nmethod: herding\n"
        "evaluation: {epochs: 20, repeats: 10}\n",
        "small": "dataset: digits\nipc: 10\n"
        "method: {name: dc, iterations: 3, outer_loop: 2, inner_loop: 2}\n"
        "evaluation: {epochs: 20, repeats: 10}\n",
        "wide": f"dataset: {{name: npz, path: {colour_images(folder)}, label: wide}}\nipc: 10\n"
        "network: {name: ConvNetD3, width: 128}\n"
        "method: {name: dc, iterations: 1, outer_loop: 2, inner_loop: 1, batch_real: 16}\n"
        "evaluation: {epochs: 1, repeats: 1}\n",
    }
    path = folder / f"{name}.yaml"
    path.write_text(f"name: {name}\n{texts[name]}")
    return path


@pytest.mark.parametrize("name", ["coreset", "small", "wide"])
def test_the_memory_estimate_holds(tmp_path: Path, name: str) -> None:
    file = recipe_file(tmp_path, name)
    expected = estimate(read(file)).cpu_memory
    environment = os.environ | {"DDBENCH_RESULTS": str(tmp_path / "results")}
    command = [sys.executable, "-m", "ddbench", "run", str(file), "--device", "cpu"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    (path,) = (tmp_path / "results").rglob("*.h5")
    measured = store.read_header(path).attrs["peak_memory_bytes"]
    assert abs(expected / measured - 1) < WITHIN, f"estimate {expected}, measured {measured}"
