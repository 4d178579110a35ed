"""``check``'s estimates: memory against measured peaks, time against the work counted by hand."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ddbench import estimates, store
from ddbench.estimates import Estimate, estimate
from ddbench.expansion import factor
from ddbench.protocols import Plan
from ddbench.protocols._plan import COPIES
from ddbench.recipe import Recipe
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


# --- work --------------------------------------------------------------------------------------

SHAPE, CLASSES, TRAIN, TEST = (1, 8, 8), 10, 1437, 360
SET = 2 * CLASSES
FIXED = {"epochs": 10, "schedule": "constant", "repeats": 3}


def recipe(
    method: object = "random", network: object = "ConvNetD2", **evaluation: object
) -> Recipe:
    """Digits at two images per class."""
    return Recipe.parse(
        {"name": "tried", "dataset": "digits", "network": network, "ipc": 2, "method": method,
         "evaluation": {**FIXED, **evaluation}}
    )  # fmt: skip


def images(found: Estimate, network: object = "ConvNetD2") -> float:
    """Images that pass forward for the same time; a training pass counts three times."""
    products = recipe(network=network).net.multiply_adds(SHAPE, CLASSES)
    return found.gpu_seconds * estimates._FLOPS["gpu"] / (2 * products)


def trained(epochs: int, count: int, tests: int = TEST) -> int:
    """One network: ``epochs`` on ``count`` images, then a look at them and at the test images."""
    return 3 * epochs * count + count + tests


def test_the_size_of_digits() -> None:
    facts = recipe().facts
    assert (facts.shape, facts.num_classes, facts.train_size, facts.test_size) == (
        SHAPE, CLASSES, TRAIN, TEST,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("evaluation", "wanted"),
    [
        ({}, 3 * trained(10, SET)),
        ({"tta": "hflip"}, 3 * trained(10, SET, 2 * TEST)),
        ({"test_every": 4}, 3 * trained(10, SET, 3 * TEST)),
        ({"expand": ["hflip", "rotate"]}, 3 * trained(10, 8 * SET)),
        ({"lr": "search", "lr_grid": [0.1, 0.2]}, 5 * trained(10, SET)),
        ({"schedule": "halfway"}, 3 * trained(11, SET)),
    ],
    ids=str,
)
def test_the_networks_of_a_set_are_counted(evaluation: dict[str, object], wanted: int) -> None:
    assert images(estimate(recipe(**evaluation))) == pytest.approx(wanted)


def test_every_role_of_a_protocol_is_counted() -> None:
    """Searches: one for the set, one for each random subset; none on the full data."""
    found = recipe(protocol="ddranking-hard", lr_grid=[0.1, 0.2])
    full = found.evaluation.plan(found.facts, found.net, "real")
    wanted = 5 * trained(10, SET) + 9 * trained(10, SET)
    wanted += full.repeats * trained(full.epochs_run, TRAIN)
    assert images(estimate(found)) == pytest.approx(wanted)


@pytest.mark.parametrize(("labels", "labelled"), [("per_batch", 3 * 10 * SET), ("per_image", SET)])
def test_teachers_are_trained_and_asked(labels: str, labelled: int) -> None:
    teacher = {"epochs": 5, "lr": 0.01, "labels": labels}
    found = estimate(recipe(teacher=teacher, loss="kl"))
    wanted = 3 * trained(10, SET) + 3 * 5 * TRAIN + TRAIN + labelled
    assert images(found) == pytest.approx(wanted)


def test_the_full_data_are_trained_on() -> None:
    assert images(estimate(recipe("full"))) == pytest.approx(3 * trained(10, TRAIN))


def test_distillation_adds_its_passes() -> None:
    made = recipe({"name": "dc", "iterations": 5})
    passes = made.method.workload(2, CLASSES, TRAIN).passes
    wanted = 3 * trained(10, SET) + 3 * passes
    assert images(estimate(made)) == pytest.approx(wanted)
    assert estimate(made).cpu_memory >= estimate(recipe()).cpu_memory


def test_choosing_a_snapshot_trains_on_every_one() -> None:
    method = {"name": "dc", "iterations": 5}
    last = recipe(method, snapshots=[1, 3])
    best = recipe(method, snapshots=[1, 3], selection="best_on_test")
    added = images(estimate(best)) - images(estimate(last))
    assert added == pytest.approx(3 * 3 * trained(10, SET))


def test_a_set_that_is_given_costs_nothing_to_make(tmp_path: Path) -> None:
    path = tmp_path / "set.pt"
    path.write_bytes(b"its content is not read")
    assert estimate(recipe({"name": "external", "set": str(path)})) == estimate(recipe())


def test_several_networks_take_their_times_and_the_memory_of_the_largest() -> None:
    networks = ["MLP", "ResNet18", "ConvNetD2"]
    alone = [estimate(recipe(networks=[name])) for name in networks]
    together = estimate(recipe(networks=networks))
    assert together.gpu_seconds == pytest.approx(sum(each.gpu_seconds for each in alone))
    assert together.cpu_seconds == pytest.approx(sum(each.cpu_seconds for each in alone))
    assert together.gpu_memory == max(each.gpu_memory for each in alone)
    assert together.cpu_memory == max(each.cpu_memory for each in alone)
    assert len({each.gpu_memory for each in alone}) == len(alone)


def test_copies_are_those_that_training_makes() -> None:
    plan = recipe().evaluation.plan(recipe().facts, recipe().net)
    for length in range(len(COPIES) + 1):
        for chosen in itertools.combinations(COPIES, length):
            expanded: Plan = plan.model_copy(update={"expand": list(chosen)})
            assert estimates._copies(expanded) == factor(chosen)


def test_estimating_loads_no_torch() -> None:
    script = (
        "import sys; from pathlib import Path; from ddbench.recipe_files import read;"
        "from ddbench.estimates import estimate; estimate(read(Path('recipes/digits_full.yaml')));"
        "sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", script], check=True, cwd=root)
