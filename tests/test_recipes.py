"""The shipped recipes against the specs' values, the laws of the two keys, extends and --set."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddbench import augment, datasets, methods, networks, protocols, recipe_files
from ddbench.augment.dc import DC as DCAugmentation
from ddbench.augment.dsa import DSA as DSAAugmentation
from ddbench.datasets import DatasetSpec
from ddbench.errors import BadInput
from ddbench.features.spec import (
    ContrastSpec,
    FeatureInit,
    FeatureSpec,
)
from ddbench.methods.dc import DC
from ddbench.methods.dm import DM
from ddbench.methods.dsa import DSA
from ddbench.methods.external import External
from ddbench.networks.convnet import ConvNet
from ddbench.protocols import EvaluationSpec, Mix, Plan, TeacherSpec
from ddbench.recipe import Recipe
from ddbench.spec import load_yaml

ROOT = Path(__file__).resolve().parent.parent
NAMES = [path.stem for path in recipe_files.shipped()]


@cache
def shipped(name: str) -> Recipe:
    return recipe_files.read(name)


# --- every file -------------------------------------------------------------------------------


def test_recipes_are_read_without_torch() -> None:
    code = (
        "import json, sys\n"
        "from ddbench import recipe_files\n"
        "read = [recipe_files.read(path) for path in recipe_files.shipped()]\n"
        "for one in read: one.plans(), one.size(), one.networks_needed(), one.to_yaml()\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "print(json.dumps({one.name: one.key for one in read}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    keys = json.loads(done.stdout)
    assert sorted(keys) == sorted(NAMES) and len(NAMES) >= 70
    # and keys are the same in every process
    assert keys == {name: shipped(name).key for name in NAMES}


def test_no_two_shipped_recipes_make_the_same_set() -> None:
    owners: dict[str, list[str]] = {}
    for name in NAMES:
        owners.setdefault(shipped(name).key, []).append(name)
    assert [names for names in owners.values() if len(names) > 1] == []


@pytest.mark.parametrize("name", NAMES)
def test_names_say_what_is_in_the_file(name: str) -> None:
    found = shipped(name)
    f = "_f" if found.features is not None else ""
    size = "" if found.method.name == "full" else f"_ipc{found.ipc}"
    what = found.method.name
    if found.method.given:  # whose set it is
        what += f"_{name.split('_')[2]}"
    stem = f"{found.dataset.name}_{what}{f}{size}"
    assert name in {stem, f"{stem}_channel", f"{stem}_small", f"{stem}_bn"}


@pytest.mark.parametrize("name", NAMES)
def test_resolved_recipe_is_read_back(name: str) -> None:
    found = shipped(name)
    again = recipe_files.from_yaml(found.to_yaml())
    assert again == found
    assert again.key == found.key and again.to_yaml() == found.to_yaml()


@pytest.mark.parametrize("name", NAMES)
def test_recipes_are_short_and_name_real_fields(name: str) -> None:
    found = shipped(name)
    text = (recipe_files.shipped_folder() / f"{name}.yaml").read_text()
    assert len([line for line in text.splitlines() if not line.startswith("#")]) <= 15
    for field in found.provenance:
        data: Any = found.to_data()
        for part in field.split("."):
            assert part in data, field
            data = data[part]


def test_only_published_cells_carry_published_numbers() -> None:
    assert {name for name in NAMES if shipped(name).published} == set(PUBLISHED)


# --- the specs' values ------------------------------------------------------------------------

DC_CELLS = {
    "mnist": {1: (91.7, 0.5), 10: (97.4, 0.2), 50: (98.8, 0.1)},
    "fashionmnist": {1: (70.5, 0.6), 10: (82.3, 0.4), 50: (83.6, 0.4)},
    "svhn": {1: (31.2, 1.4), 10: (76.1, 0.6), 50: (82.3, 0.3)},
    "cifar10": {1: (28.3, 0.5), 10: (44.9, 0.5), 50: (53.9, 0.5)},
    "cifar100": {1: (12.8, 0.3), 10: (25.2, 0.3)},
}
DSA_CELLS = {
    "mnist": {1: (88.7, 0.6), 10: (97.8, 0.1), 50: (99.2, 0.1)},
    "fashionmnist": {1: (70.6, 0.6), 10: (84.6, 0.3), 50: (88.7, 0.2)},
    "svhn": {1: (27.5, 1.4), 10: (79.2, 0.5), 50: (84.4, 0.4)},
    "cifar10": {1: (28.8, 0.7), 10: (52.1, 0.5), 50: (60.6, 0.5)},
    "cifar100": {1: (13.9, 0.3), 10: (32.3, 0.3), 50: (42.8, 0.4)},
}
DM_CELLS = {
    "cifar10": {1: (26.0, 0.8), 10: (48.9, 0.6), 50: (63.0, 0.4), 100: (67.0, 0.3),
                200: (71.2, 0.4), 500: (76.1, 0.3), 1000: (79.8, 0.3), 1250: (80.8, 0.3)},
    "cifar100": {1: (11.4, 0.3), 10: (29.7, 0.3), 50: (43.6, 0.4)},
    "tinyimagenet": {1: (3.9, 0.2), 10: (12.9, 0.4), 50: (24.1, 0.3)},
}  # fmt: skip
RANDOM_CELLS = {
    "cifar10": {1: (15.4, 0.3), 10: (31.0, 0.5), 50: (50.6, 0.3), 500: (73.2, 0.3),
                1000: (78.4, 0.2)},
    "cifar100": {1: (4.2, 0.3), 10: (14.6, 0.5), 50: (33.4, 0.4), 100: (42.8, 0.3)},
}  # fmt: skip
FULL_CELLS = {"cifar10": (84.8, 0.1), "cifar100": (56.2, 0.3)}
DC_SOURCE = (
    "mean: VICO-UoE/DatasetCondensation readme.md; "
    "std: Nguyen et al. 2021 (KIP; arXiv 2107.13034) Table 1"
)
FTD_SOURCE = "Du et al. 2023 (FTD; arXiv 2211.11004) Table 1"
README_SOURCE = "VICO-UoE/DatasetCondensation readme.md"
DATM_SOURCE = "NUS-HPC-AI-Lab/DATM figures/comparison.png"


def dm_source(dataset: str, ipc: int) -> str:
    if (dataset, ipc) == ("tinyimagenet", 50):
        return DATM_SOURCE
    return FTD_SOURCE if ipc <= 50 else README_SOURCE


@dataclass(frozen=True)
class Cell:
    accuracy: float
    std: float
    source: str  # how the source begins


PUBLISHED = {
    **{
        f"{dataset}_dc_ipc{ipc}": Cell(*numbers, DC_SOURCE)
        for dataset, row in DC_CELLS.items()
        for ipc, numbers in row.items()
    },
    **{
        f"{dataset}_dsa_ipc{ipc}": Cell(
            *numbers, FTD_SOURCE if (dataset, ipc) == ("cifar100", 50) else DC_SOURCE
        )
        for dataset, row in DSA_CELLS.items()
        for ipc, numbers in row.items()
    },
    **{
        f"{dataset}_dm_ipc{ipc}": Cell(*numbers, dm_source(dataset, ipc))
        for dataset, row in DM_CELLS.items()
        for ipc, numbers in row.items()
    },
    **{
        f"{dataset}_random_ipc{ipc}": Cell(*numbers, DATM_SOURCE)
        for dataset, row in RANDOM_CELLS.items()
        for ipc, numbers in row.items()
    },
    **{f"{dataset}_full": Cell(*numbers, FTD_SOURCE) for dataset, numbers in FULL_CELLS.items()},
    "mnist_external_dc_ipc1": Cell(91.82, 0.50, "accs_all_exps of the file itself"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers(name: str) -> None:
    cell, (found,) = PUBLISHED[name], shipped(name).published
    assert (found.accuracy, found.std) == (cell.accuracy, cell.std)
    assert found.source.startswith(cell.source)


LOOPS = {1: (1, 1), 10: (10, 50), 50: (50, 10)}  # outer, inner
CONSTANTS = {
    "mnist": (0.1307, 0.3081),
    "fashionmnist": (0.2861, 0.3530),
    "svhn": (0.4377, 0.1980),
    "cifar10": (0.4914, 0.2023),
    "cifar100": (0.5071, 0.2673),
}  # of the first channel


@pytest.mark.parametrize(
    ("dataset", "ipc"), [(dataset, ipc) for dataset, row in DC_CELLS.items() for ipc in row]
)
def test_dc_rows(dataset: str, ipc: int) -> None:
    found = shipped(f"{dataset}_dc_ipc{ipc}")
    method = found.method.resolved(ipc)
    assert isinstance(method, DC)
    assert (method.outer_loop, method.inner_loop) == LOOPS[ipc]
    assert method.iterations == 1000 and method.iterations_of(ipc) == 1001
    assert (method.lr_img, method.momentum_img, method.lr_net) == (0.1, 0.5, 0.01)
    assert (method.inner_momentum, method.inner_weight_decay) == (0.0, 0.0)
    assert (method.batch_real, method.batch_train, method.distance) == (256, 256, "ours")
    assert found.init_name == "noise" and found.features is None
    assert (found.net.label, found.seeds) == ("ConvNetD3", [0, 1, 2, 3, 4])
    assert (found.dataset.name, found.dataset.constants, found.dataset.zca) == (
        dataset, "dc", False,
    )  # fmt: skip
    constants = found.facts.constants["dc"]
    assert (constants.mean[0], constants.std[0]) == CONSTANTS[dataset]
    _assert_dc_protocol(found)
    assert [one.tta for _, one in found.plans()] == ["none"]


FULL = "color_crop_cutout_flip_scale_rotate"
NO_FLIP = "color_crop_cutout_scale_rotate"
BN_POOL = ["ConvNetD3-batch", "ConvNetD3-swish-batch", "AlexNetBN", "VGG11BN", "ResNet18BN"]


def _assert_dsa_protocol(found: Recipe, repeats: int, networks: list[str]) -> None:
    """1000 epochs under the operations that the set is made with."""
    strategy = NO_FLIP if found.dataset.name in ("mnist", "svhn") else FULL
    assert [net.label for net, _ in found.plans()] == networks
    for _, plan in found.plans():
        assert plan.repeats == repeats
        assert (plan.epochs, plan.epochs_run, plan.schedule) == (1000, 1001, "halfway")
        assert (plan.lr, plan.momentum, plan.weight_decay) == (0.01, 0.9, 5e-4)
        assert (plan.batch_size, plan.tta, plan.selection) == (256, "none", "last")
        assert plan.augmentation == DSAAugmentation(strategy=strategy)


def _assert_dsa(found: Recipe, dataset: str) -> None:
    """DC's numbers, from real images, under the operations."""
    method = found.method.resolved(found.ipc)
    assert isinstance(method, DSA)
    assert (method.outer_loop, method.inner_loop) == LOOPS[found.ipc]
    assert method.iterations_of(found.ipc) == 1001
    assert (method.lr_img, method.momentum_img, method.lr_net) == (0.1, 0.5, 0.01)
    assert (method.inner_momentum, method.inner_weight_decay) == (0.0, 0.0)
    assert (method.batch_real, method.batch_train, method.distance) == (256, 256, "ours")
    assert method.strategy == (NO_FLIP if dataset in ("mnist", "svhn") else FULL)
    assert found.init_name == "real" and found.features is None
    assert found.seeds == [0, 1, 2, 3, 4]
    assert (found.dataset.name, found.dataset.constants, found.dataset.zca) == (
        dataset, "dc", False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "ipc"), [(dataset, ipc) for dataset, row in DSA_CELLS.items() for ipc in row]
)
def test_dsa_rows(dataset: str, ipc: int) -> None:
    found = shipped(f"{dataset}_dsa_ipc{ipc}")
    _assert_dsa(found, dataset)
    assert found.net.label == "ConvNetD3"
    _assert_dsa_protocol(found, 20, ["ConvNetD3"])


def _assert_dm(found: Recipe, dataset: str) -> None:
    method = found.method
    assert isinstance(method, DM)
    assert (method.iterations, method.iterations_of(found.ipc)) == (20_000, 20_001)
    large = dataset == "cifar10" and found.ipc >= 100
    assert (method.lr_img, method.momentum_img) == (10.0 if large else 1.0, 0.5)
    assert (method.batch_real, method.strategy) == (256, FULL)
    assert found.init_name == "real" and found.features is None
    assert found.seeds == [0, 1, 2, 3, 4]
    assert (found.dataset.name, found.dataset.constants, found.dataset.zca) == (
        dataset, "dc", False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "ipc"),
    [
        *((dataset, ipc) for dataset, row in DM_CELLS.items() for ipc in row),
        *(("cifar100", ipc) for ipc in (100, 125)),  # documented, without a number
    ],
)
def test_dm_rows(dataset: str, ipc: int) -> None:
    found = shipped(f"{dataset}_dm_ipc{ipc}")
    _assert_dm(found, dataset)
    label = "ConvNetD4" if dataset == "tinyimagenet" else "ConvNetD3"
    assert found.net.label == label
    _assert_dsa_protocol(found, 5, [label])


def test_cross_architecture_rows_with_batch_norm() -> None:
    dsa, dm = shipped("cifar10_dsa_ipc50_bn"), shipped("cifar10_dm_ipc50_bn")
    _assert_dsa(dsa, "cifar10")
    _assert_dm(dm, "cifar10")
    for found in (dsa, dm):
        assert found.net.label == "ConvNetD3-batch" and found.ipc == 50
        _assert_dsa_protocol(found, 5, BN_POOL)


def _assert_dc_protocol(found: Recipe) -> None:
    ((net, plan),) = found.plans()
    mnist = found.dataset.name == "mnist"
    assert net == found.net
    assert plan.repeats == 20
    assert (plan.epochs, plan.epochs_run) == ((1000, 1001) if mnist else (300, 301))
    assert (plan.lr, plan.momentum, plan.weight_decay, plan.batch_size) == (0.01, 0.9, 5e-4, 256)
    assert (plan.schedule, plan.selection) == ("halfway", "last")
    if mnist:
        assert plan.augmentation == DCAugmentation(strategy="crop_scale_rotate")
    else:
        assert plan.augmentation is None


@dataclass(frozen=True)
class Drupi:
    dataset: str
    ipc: int
    loops: tuple[int, int]
    lambda_reg: float
    ipc_ref: int
    values: tuple[int, int]  # per class: images with full F, images with channel F


DRUPI = [
    Drupi("cifar10", 9, (10, 50), 0.1, 10, (46_080, 28_800)),
    Drupi("cifar10", 48, (50, 10), 0.01, 50, (245_760, 153_600)),
    Drupi("cifar100", 9, (10, 50), 0.01, 10, (46_080, 28_800)),
    Drupi("cifar100", 48, (50, 10), 0.01, 50, (245_760, 153_600)),
]


@pytest.mark.parametrize("variant", ["", "_channel"])
@pytest.mark.parametrize("row", DRUPI, ids=lambda row: f"{row.dataset}-{row.ipc}")
def test_drupi_rows(row: Drupi, variant: str) -> None:
    found = shipped(f"{row.dataset}_dc_f_ipc{row.ipc}{variant}")
    method, features = found.method.resolved(row.ipc), found.features
    assert isinstance(method, DC) and features is not None
    assert (method.outer_loop, method.inner_loop) == row.loops
    assert (method.inner_momentum, method.inner_weight_decay) == (0.9, 5e-4)
    assert (method.iterations, method.lr_img, method.lr_net) == (1000, 0.1, 0.01)
    assert (method.batch_real, method.batch_train) == (256, 256)
    assert found.init_name == "real" and found.fixed_images
    assert (features.lambda_reg, features.lambda_task) == (row.lambda_reg, 0.0)
    assert (features.layer, features.n_feat, features.use) == ("last", 1, "mean")
    assert (features.granularity, features.metric, features.normalize) == (
        "per_image", "mse", False,
    )  # fmt: skip
    assert found.feature_source == "matching"
    assert (features.optimizer, features.lr, features.momentum) == ("sgd", 0.1, 0.5)
    init = features.init
    assert (init.source, init.epochs, init.lr, init.momentum, init.batch_size) == (
        "network", 1, 0.01, 0.0, 256,
    )  # fmt: skip
    assert (features.contrast.weight, features.align, features.dtype) == (0.0, "none", "float32")
    _assert_dc_protocol(found)
    assert found.plans()[0][1].tta == "hflip" and found.seeds == [0] and not found.published
    assert found.evaluation.features.use == "both"

    size, classes = found.size(), found.facts.num_classes
    values = (size.images + size.features) // (4 * classes)
    reference = row.ipc_ref * 3072
    if variant:
        assert features.item == "channel" and values == row.values[1] <= reference
        assert (features.budget.ipc_ref, features.budget.enforce) == (row.ipc_ref, "error")
    else:
        assert features.item == "full" and values == row.values[0] > reference
        assert features.budget.enforce == "off"


def test_drupi_loops_keep_those_of_dc() -> None:
    method = shipped("cifar10_dc_f_ipc9").method
    assert isinstance(method, DC)
    table = {1: (1, 1), 5: (5, 10), 9: (10, 50), 10: (10, 50), 20: (20, 25), 30: (30, 20),
             40: (40, 15), 48: (50, 10), 49: (50, 10), 50: (50, 10)}  # fmt: skip
    assert method.loops == table


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
@pytest.mark.parametrize("name", ["random", "herding", "kmeans"])
@pytest.mark.parametrize("ipc", [1, 10, 50])
def test_coreset_rows(dataset: str, name: str, ipc: int) -> None:
    found = shipped(f"{dataset}_{name}_ipc{ipc}")
    _assert_dc_protocol(found)
    assert found.init_name is None and found.seeds == [0, 1, 2, 3, 4]
    needed = found.networks_needed()
    if name == "random":
        assert needed == []
    else:
        (network,) = needed
        assert (network.epochs, network.lr, network.momentum, network.batch_size) == (
            20, 0.01, 0.9, 128,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "images"), [("mnist", 60000), ("cifar10", 50000), ("cifar100", 50000)],
)  # fmt: skip
def test_full_rows(dataset: str, images: int) -> None:
    found = shipped(f"{dataset}_full")
    ((_, plan),) = found.plans()
    assert (plan.epochs, plan.lr, plan.step_size, plan.schedule) == (200, 0.01, 100, "step")
    assert (plan.batch_size, plan.momentum, plan.weight_decay) == (512, 0.9, 5e-4)
    assert plan.augmentation is None and plan.epochs_run == 200
    assert found.ipc == -(-images // found.facts.num_classes)
    assert found.size().images == found.ipc * found.facts.num_classes * 4 * int(
        np.prod(found.facts.shape)
    )


def test_the_external_row() -> None:
    """The published set is scored as its authors did, by replicate; the file need not be there."""
    found = shipped("mnist_external_dc_ipc1")
    method = found.method
    assert isinstance(method, External) and len(method.sha256 or "") == 64
    assert (found.seeds, found.init_name, found.fixed_images) == ([0, 1, 2, 3, 4], None, False)
    nets = [net.label for net, _ in found.plans()]
    assert nets == ["MLP", "ConvNetD3", "LeNet", "AlexNet", "VGG11", "ResNet18"]
    for _, plan in found.plans():
        assert (plan.epochs_run, plan.lr, plan.repeats) == (1001, 0.01, 20)
        assert plan.augmentation == DCAugmentation(strategy="crop_scale_rotate")


def test_small_rows() -> None:
    for method in ("dc", "dsa", "dm", "random"):
        name = f"mnist_{method}_ipc1_small"
        found = shipped(name)
        assert found.net.label == "ConvNetD2-W32" and not found.published
        assert found.plans()[0][1].repeats == 5


# --- digits: F at equal bytes -----------------------------------------------------------------


@pytest.mark.parametrize("method", ["dc", "random"])
@pytest.mark.parametrize(
    ("ipc", "reference", "dtype", "feature_bytes"),
    [(1, 2, "float16", 2560), (3, 5, "float32", 5120), (8, 10, "float32", 5120)],
)
def test_digits_pairs_take_equal_bytes(
    method: str, ipc: int, reference: int, dtype: str, feature_bytes: int
) -> None:
    found, plain = (
        shipped(f"digits_{method}_f_ipc{ipc}"),
        shipped(f"digits_{method}_ipc{reference}"),
    )
    features = found.features
    assert features is not None
    assert (features.dtype, features.item, features.granularity) == (dtype, "full", "per_class")
    assert (features.lambda_reg, features.init.epochs, features.init.lr) == (10.0, 60, 0.01)
    assert (features.init.momentum, features.init.batch_size) == (0.9, 128)
    assert (features.budget.ipc_ref, features.budget.enforce) == (reference, "error")
    assert found.feature_source == ("matching" if method == "dc" else "init")
    assert found.init_name == ("real" if method == "dc" else None)
    size = found.size()
    assert (size.images, size.features) == (2560 * ipc, feature_bytes)
    assert size.images + size.features == 2560 * reference
    assert size.images + size.features == plain.size().images
    assert size.total <= plain.size().total
    assert plain.evaluation == found.evaluation and plain.seeds == found.seeds


def test_digits_rows() -> None:
    for name, ipcs in {
        "random": (1, 2, 5, 10),
        "herding": (1, 2, 5, 10),
        "kmeans": (1, 2, 5, 10),
        "dc": (1, 2, 5, 10),
        "dsa": (1, 2, 5, 10),
        "dm": (1, 2, 5, 10),
        "average": (1,),
    }.items():
        for ipc in ipcs:
            found = shipped(f"digits_{name}_ipc{ipc}")
            ((net, plan),) = found.plans()
            assert net.label == "ConvNetD2-W32"
            assert (plan.protocol, plan.epochs, plan.repeats) == ("dc", 300, 10)
            assert plan.augmentation is None and found.evaluation.test_every == 50
    for ipc, loops in {1: (1, 1), 2: (3, 10), 3: (3, 10), 5: (5, 10), 8: (5, 10)}.items():
        for name in ("digits_dc_ipc5", "digits_dsa_ipc5"):
            method = shipped(name).method.resolved(ipc)
            assert isinstance(method, DC)
            assert (method.outer_loop, method.inner_loop) == loops
            assert (method.iterations, method.lr_img) == (100, 1.0)
            assert getattr(method, "strategy", NO_FLIP) == NO_FLIP
    dm = shipped("digits_dm_ipc5")
    assert isinstance(dm.method, DM) and dm.init_name == "real"
    assert (dm.method.iterations, dm.method.lr_img, dm.method.strategy) == (300, 1.0, NO_FLIP)


def test_f_is_the_same_on_dc_and_on_random_images() -> None:
    for ipc in (1, 3, 8):
        dc, random = shipped(f"digits_dc_f_ipc{ipc}"), shipped(f"digits_random_f_ipc{ipc}")
        assert dc.features == random.features


# --- the laws of the keys ---------------------------------------------------------------------

BASE: dict[str, Any] = {
    "name": "base",
    "dataset": {"name": "digits"},
    "ipc": 2,
    "method": {"name": "dc"},
    "init": {"from": "real"},
    "features": {"n_feat": 2},
}


def changed(path: str, value: object, base: dict[str, Any] = BASE) -> Recipe:
    data = json.loads(json.dumps(base))
    *parents, last = path.split(".")
    place = data
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = value
    return Recipe.parse(data)


METHOD_KNOBS: dict[str, Any] = {
    "iterations": 7, "loops": {1: [9, 9]}, "outer_loop": 3, "inner_loop": 4, "distance": "mse",
    "lr_img": 0.2, "momentum_img": 0.1, "lr_net": 0.1, "inner_momentum": 0.1,
    "inner_weight_decay": 0.1, "batch_real": 8, "batch_train": 8, "precision": "float32",
}  # fmt: skip
FEATURE_KNOBS: dict[str, Any] = {
    "layer": 1, "item": "full", "pool": "max", "granularity": "per_class", "n_feat": 3,
    "use": "random", "metric": "cosine", "normalize": True, "lambda_reg": 0.1, "lambda_task": 0.1,
    "source": "init", "update_images": False, "init": {"source": "noise"}, "optimizer": "adam",
    "lr": 0.2, "momentum": 0.1, "weight_decay": 0.1, "match_params": "all",
    "contrast": {"weight": 1.0}, "dtype": "float16",
}  # fmt: skip
FEATURE_INIT_KNOBS: dict[str, Any] = {
    "source": "noise", "network": "ConvNetD3W32", "epochs": 2, "lr": 0.1, "momentum": 0.1,
    "weight_decay": 0.1, "batch_size": 8, "augment": "crop",
}  # fmt: skip
CONTRAST_KNOBS: dict[str, Any] = {
    "weight": 0.1, "temperature": 0.1, "variant": "channels_as_views", "mode": "one",
}  # fmt: skip
DATASET_KNOBS: dict[str, Any] = {
    "name": "mnist", "zca": True, "image_size": 16, "validation": 0.1, "constants": "mtt",
}  # fmt: skip
NETWORK_KNOBS: dict[str, Any] = {
    "depth": 1, "width": 8, "act": "swish", "norm": "batch", "pool": "max",
}  # fmt: skip

SET_KNOBS = {
    **{f"method.{field}": value for field, value in METHOD_KNOBS.items()},
    **{f"features.{field}": value for field, value in FEATURE_KNOBS.items()},
    **{f"features.init.{field}": value for field, value in FEATURE_INIT_KNOBS.items()},
    **{f"features.contrast.{field}": value for field, value in CONTRAST_KNOBS.items()},
    **{f"dataset.{field}": value for field, value in DATASET_KNOBS.items()},
    "ipc": 3,
    "init": {"from": "noise"},
    "network": "ConvNetD2",
    "features": None,
}


@pytest.mark.parametrize("field", SET_KNOBS)
def test_what_changes_the_set_changes_its_key(field: str) -> None:
    assert changed(field, SET_KNOBS[field]).key != Recipe.parse(BASE).key


def test_every_knob_is_in_the_tables() -> None:
    assert set(DC.model_fields) == {*METHOD_KNOBS, "factor", "name"}  # no F with a factor
    # update has one value in this version, align likewise; the budget only warns
    assert set(FeatureSpec.model_fields) == {*FEATURE_KNOBS, "update", "align", "budget"}
    assert set(FeatureInit.model_fields) == {*FEATURE_INIT_KNOBS, "path"}
    assert set(ContrastSpec.model_fields) == set(CONTRAST_KNOBS)
    generic = {"path", "like", "label", "antialias"}
    assert set(DatasetSpec.model_fields) == {*DATASET_KNOBS, *generic}
    assert set(ConvNet.model_fields) == {*NETWORK_KNOBS, "name"}
    assert set(External.model_fields) == {*EXTERNAL_KNOBS, *BY_CONTENT, "name", "label"}
    together = {field for _, fields, _ in SCORE_TOGETHER for field in fields}
    assert set(EvaluationSpec.model_fields) == {
        *SCORE_KNOBS, *together, *ROWS_ONLY, "protocol", "features",
    }  # fmt: skip
    assert set(TeacherSpec.model_fields) == {*TEACHER_KNOBS, *TEACHER, "labels"}
    assert set(Mix.model_fields) == {"name", "alpha"}


def test_a_plan_has_what_the_evaluation_block_can_say() -> None:
    # the candidates of a selection are the snapshots; what a set must bring is the preset's own
    assert set(Plan.model_fields) - {"candidates", "needs"} <= set(EvaluationSpec.model_fields)


def test_both_kinds_of_whitening_have_their_own_keys() -> None:
    kinds = (False, True, "kip")
    assert len({changed("dataset.zca", kind).key for kind in kinds}) == len(kinds)


def test_different_changes_give_different_keys() -> None:
    again = {"features.init.source"}  # features.init says the same
    fields = [field for field in SET_KNOBS if field not in again]
    assert len({changed(field, SET_KNOBS[field]).key for field in fields}) == len(fields)


@pytest.mark.parametrize("field", NETWORK_KNOBS)
def test_options_of_the_network_change_the_key(field: str) -> None:
    base = {**BASE, "network": {"name": "ConvNet", "depth": 2}}
    del base["features"]
    assert changed(f"network.{field}", NETWORK_KNOBS[field], base).key != Recipe.parse(base).key


CORESET_KNOBS: dict[str, Any] = {
    "space": "pixels", "epochs": 3, "lr": 0.5, "momentum": 0.5, "batch_size": 8,
    "centres": "centroid",
}  # fmt: skip


def test_the_method_changes_the_key(files: Path) -> None:
    base = {"name": "base", "dataset": "digits", "ipc": 1}
    blocks: dict[str, Any] = {name: {"name": name} for name in methods.names()}
    blocks["external"]["set"] = str(files / "set.npz")
    keys = {Recipe.parse({**base, "method": block}).key for block in blocks.values()}
    assert len(keys) == len(blocks)


PLAIN_KNOBS = {**METHOD_KNOBS, "factor": 2, "strategy": "crop"}


@pytest.mark.parametrize("name", ["dc", "dsa", "dm"])
def test_knobs_of_a_matching_method_change_the_key(name: str) -> None:
    base: dict[str, Any] = {"name": "base", "dataset": "digits", "ipc": 1}
    fields = set(methods.method_class(name).model_fields) - {"name"}
    assert fields <= set(PLAIN_KNOBS)
    blocks = [{"name": name}, *({"name": name, field: PLAIN_KNOBS[field]} for field in fields)]
    keys = {Recipe.parse({**base, "method": block}).key for block in blocks}
    assert len(keys) == len(blocks)


@pytest.mark.parametrize("name", ["herding", "kmeans"])
def test_knobs_of_a_coreset_method_change_the_key(name: str) -> None:
    base: dict[str, Any] = {"name": "base", "dataset": "digits", "ipc": 1}
    fields = set(methods.method_class(name).model_fields) - {"name"}
    assert fields <= set(CORESET_KNOBS)
    beside = {"centres": {"space": "pixels"}}  # centroids are of pixels
    changes = [{field: CORESET_KNOBS[field], **beside.get(field, {})} for field in fields]
    blocks = [{"name": name, **change} for change in ({}, *changes)]
    keys = {Recipe.parse({**base, "method": block}).key for block in blocks}
    assert len(keys) == len(blocks)


# --- method external --------------------------------------------------------------------------

EXTERNAL_KNOBS: dict[str, Any] = {
    "format": "npz", "space": "unit", "constants": "dc", "labels_kind": "logit", "lr": 0.01,
    "labels": "labels.txt", "class_order": "order.txt", "decode": "factor2_multi",
}  # fmt: skip
BY_CONTENT = ("set", "sha256", "files")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a set and what can be said of it."""
    images = np.random.default_rng(0).random((10, 1, 8, 8), dtype=np.float32)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(10))
    np.savez(tmp_path / "other.npz", images=images / 2, labels=np.arange(10))
    for name in ("labels.txt", "order.txt"):
        (tmp_path / name).write_text("\n".join(map(str, range(10))))
    (tmp_path / "lr.txt").write_text("0.01")
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    return tmp_path


def external(set_: object = "set.npz", **fields: Any) -> Recipe:
    method = {"name": "external", "set": str(set_), **fields}
    return Recipe.parse({"name": "base", "dataset": "digits", "ipc": 1, "method": method})


def test_every_answer_changes_the_key(files: Path) -> None:
    keys = {external(**{field: value}).key for field, value in EXTERNAL_KNOBS.items()}
    keys |= {external("other.npz").key, external(lr="0.01,0.02").key, external(lr="lr.txt").key}
    assert len(keys | {external().key}) == len(EXTERNAL_KNOBS) + 4


def test_numbers_of_a_step_size_are_read_in_either_form(files: Path) -> None:
    assert external(lr=0.01).key == external(lr="0.01").key


def test_paths_and_the_label_are_not_in_the_key(files: Path) -> None:
    moved = files / "elsewhere"
    moved.mkdir()
    for name in ("set.npz", "labels.txt"):
        (moved / f"moved_{name}").write_bytes((files / name).read_bytes())
    own = external(labels="labels.txt")
    other = external(moved / "moved_set.npz", labels=str(moved / "moved_labels.txt"), label="Ours")
    assert own.key == other.key
    assert (own.method.heading, other.method.heading) == ("External set", "Ours")


def test_content_written_out_is_content_left_out(files: Path) -> None:
    own = external(labels="labels.txt")
    method = own.method
    assert isinstance(method, External) and method.sha256 is not None
    written = external(labels="labels.txt", sha256=method.sha256, files=method.files)
    assert written.key == own.key == recipe_files.from_yaml(own.to_yaml()).key
    assert external(sha256="0" * 64).key != external().key


def test_changed_files_change_the_key(files: Path) -> None:
    before = [external().key, external(labels="labels.txt").key]
    (files / "labels.txt").write_text("\n".join(map(str, reversed(range(10)))))
    assert external(labels="labels.txt").key not in before
    (files / "set.npz").write_bytes((files / "other.npz").read_bytes())
    assert external().key not in before


def test_companions_enter_by_content(files: Path) -> None:
    (files / "images_best.pt").write_bytes(b"images")
    before = external("images_best.pt").key
    (files / "labels_best.pt").write_bytes(b"labels")
    both = external("images_best.pt").key
    (files / "labels_best.pt").write_bytes(b"others")
    (files / "lr_last.pt").write_bytes(b"of another set")
    assert len({before, both, external("images_best.pt").key}) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "other"),
        ("seeds", [3, 4]),
        ("published", [{"accuracy": 1.0, "std": 2.0, "source": "s"}]),
        ("provenance", {"ipc": "ours"}),
        ("evaluation", {"protocol": "dsa", "repeats": 2, "epochs": 3}),
        ("evaluation", {"networks": ["ConvNetD1"], "tta": "hflip", "ensemble": True}),
        ("evaluation", {"features": {"use": "with", "lambda": 3.0, "on_mismatch": "error"}}),
        ("features.budget", {"ipc_ref": 9}),
    ],
)
def test_what_does_not_change_the_set_leaves_its_key(field: str, value: object) -> None:
    assert changed(field, value).key == Recipe.parse(BASE).key


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset", "digits"),
        ("dataset", {"name": "digits", "constants": "dc", "zca": False}),
        ("network", "ConvNetD2W32"),
        ("network", {"name": "ConvNetW32", "depth": 2, "norm": "instance"}),
        ("method", "dc"),
        ("method.lr_img", 0.1),
        ("method.iterations", 1000),
        ("method.outer_loop", 1),
        ("method.inner_loop", 1),
        ("method.loops", {1: [1, 1]}),
        ("method.loops", {"2": [1, 1], "10": [8, 8]}),
        ("method.momentum_img", 0.5),
        ("method.inner_momentum", 0),
        ("features.layer", "last"),
        ("features.layer", 2),
        ("features.source", "matching"),
        ("features.update", "alternate"),
        ("features.init", {"epochs": 1, "source": "network"}),
        ("features.init.network", "ConvNetD2W32"),
        ("features.lambda_task", 0),
        ("features.contrast", {}),
        ("evaluation", {}),
    ],
)
def test_a_default_written_out_is_a_default_left_out(field: str, value: object) -> None:
    assert changed(field, value).key == Recipe.parse(BASE).key


@pytest.mark.parametrize("name", ["cifar10_dc_ipc10", "digits_dc_f_ipc3", "cifar10_kmeans_ipc10"])
def test_resolved_recipe_has_the_key_of_the_short_one(name: str) -> None:
    found = shipped(name)
    data = load_yaml(found.to_yaml())
    assert "zca" in data["dataset"]  # defaults are written out
    assert Recipe.parse(data).key == found.key


SCORE_KNOBS: dict[str, Any] = {
    "epochs": 7, "max_epochs": 1, "lr": 0.5, "optimizer": "adam", "momentum": 0.1,
    "weight_decay": 0.1, "weight_decay_on": "matrices", "batch_size": 8, "schedule": "cosine",
    "gamma": 0.5, "warmup": 3, "augmentation": "dsa", "expand": ["hflip"],
    "labels": "hard", "loss": "sce", "label_smoothing": 0.1, "tta": "hflip",
    "precision": "float32",
    "deterministic": True,
}  # fmt: skip
TEACHER = {"epochs": 3, "lr": 0.1}
TAUGHT = {"loss": "kl", "teacher": TEACHER}
TEACHER_KNOBS: dict[str, Any] = {
    "networks": ["ConvNetD1"], "momentum": 0.1, "weight_decay": 0.1, "batch_size": 8,
    "optimizer": "adam", "schedule": "cosine", "step_size": 2, "warmup": 2, "augmentation": "dsa",
}  # fmt: skip
SCORE_TOGETHER: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"lr": "search"}, {"lr_grid": [0.1, 0.2]}, "rates of a search"),
    ({"lr": "search"}, {"lr_chosen_on": "test"}, "judge of a search"),
    ({"schedule": "step"}, {"step_size": 2}, "size of a step"),
    ({"schedule": "staged", "lr": "learned"}, {"syn_steps": 4}, "epochs of a stage"),
    ({"optimizer": "adam"}, {"betas": [0.5, 0.9]}, "betas of adam"),
    ({"loss": "sce"}, {"temperature": 2.0}, "temperature"),
    ({"loss": "sce"}, {"scale_loss": True}, "scale of a loss"),
    ({"loss": "mse_gt"}, {"mse_weight": 2.0}, "weight of the squares"),
    ({"loss": "mse_gt"}, {"ce_weight": 0.1}, "weight of the classes"),
    ({"loss": "kl"}, {"teacher": TEACHER}, "teacher"),
    (TAUGHT, {"mix": "mixup"}, "mixup"),
    (TAUGHT, {"mix": {"name": "mixup", "alpha": 0.5}}, "share of mixup"),
    (TAUGHT, {"mix": "cutmix"}, "cutmix"),
    ({"snapshots": [1]}, {"selection": "best_on_test"}, "selection on the test set"),
    ({"snapshots": [1]}, {"selection": "best_on_real_train"}, "selection on real images"),
    ({"selection": "best_on_test", "snapshots": [1]}, {"snapshots": [1, 2]}, "candidates"),
]
"""What has an effect with something else: what it is added to, and what is added."""
ROWS_ONLY: dict[str, Any] = {
    "repeats": 3, "networks": ["ConvNetD2W32"], "ensemble": True, "test_every": 5,
}  # fmt: skip
PLAIN = {**BASE, "features": None}  # F follows neither copies nor mixes


def score_key(found: Recipe, weight: float | None = None) -> str:
    return found.plans()[0][1].key(weight)


def scored(**fields: Any) -> str:
    return score_key(Recipe.parse({**PLAIN, "evaluation": fields}))


def test_what_changes_a_score_changes_the_evaluation_key() -> None:
    keys = {field: scored(**{field: value}) for field, value in SCORE_KNOBS.items()}
    keys["nothing"] = scored()
    for start, change, what in SCORE_TOGETHER:
        keys[what] = scored(**{**start, **change})
    for name in augment.names():
        keys[name] = scored(augmentation=name)
    del keys["augmentation"]  # it is dsa
    keys["learned"], keys["searched"] = scored(lr="learned"), scored(lr="search")
    keys["invariant"] = scored(deterministic="batch_invariant")
    keys["strategy"] = scored(augmentation={"name": "dsa", "strategy": "crop"})
    keys["with F"] = score_key(Recipe.parse(BASE), 0.0)
    keys["with more F"] = score_key(Recipe.parse(BASE), 0.1)
    assert len(set(keys.values())) == len(keys)


@pytest.mark.parametrize(("start", "change", "what"), SCORE_TOGETHER, ids=str)
def test_what_is_added_changes_the_evaluation_key(
    start: dict[str, Any], change: dict[str, Any], what: str
) -> None:
    assert scored(**{**start, **change}) != scored(**start), what


def test_every_number_of_a_teacher_changes_the_evaluation_key() -> None:
    blocks = [TEACHER, {**TEACHER, "epochs": 4}, {**TEACHER, "lr": 0.2}]
    blocks += [{**TEACHER, field: value} for field, value in TEACHER_KNOBS.items()]
    blocks += [{**TEACHER, "labels": "per_image"}]
    keys = {scored(loss="kl", teacher=block) for block in blocks}
    assert len(keys) == len(blocks)
    own = {**TEACHER, "networks": ["ConvNetD2W32"]}  # the network that is evaluated
    assert scored(loss="kl", teacher=own) == scored(loss="kl", teacher=TEACHER)


def test_protocols_that_train_alike_share_their_scores_and_no_others_do() -> None:
    facts, net = datasets.facts("cifar10"), networks.resolve("ConvNetD3")
    sharing: dict[str, list[str]] = {}
    for name in protocols.names():
        key = EvaluationSpec(protocol=name).plan(facts, net, ipc=10).key(None)
        sharing.setdefault(key, []).append(name)
    assert [names for names in sharing.values() if len(names) > 1] == [["dc", "dcbench-2022"]]


@pytest.mark.parametrize("field", ROWS_ONLY)
def test_what_only_adds_rows_leaves_the_evaluation_key(field: str) -> None:
    other = changed(f"evaluation.{field}", ROWS_ONLY[field])
    assert score_key(other) == score_key(Recipe.parse(BASE))


@pytest.mark.parametrize(
    "fields",
    [{"lr_grid": [0.1, 0.2]}, {"lr_chosen_on": "test"}, {"snapshots": [1]}],
    ids=str,
)
def test_what_is_not_asked_for_leaves_the_evaluation_key(fields: dict[str, Any]) -> None:
    assert scored(**fields) == scored()


def test_a_protocol_and_its_values_written_out_score_alike() -> None:
    written = {"protocol": "dc", "epochs": 300, "lr": 0.01, "momentum": 0.9, "tta": "none",
               "weight_decay": 5e-4, "batch_size": 256, "augmentation": "none"}  # fmt: skip
    assert score_key(changed("evaluation", written)) == score_key(Recipe.parse(BASE))
    mnist = {**BASE, "dataset": "mnist"}
    named = changed(
        "evaluation", {"augmentation": {"name": "dc", "strategy": "crop_scale_rotate"}}, mnist
    )
    assert score_key(named) == score_key(Recipe.parse(mnist))
    spelt = DSAAugmentation().model_dump()
    one = changed("evaluation.augmentation", spelt)
    assert score_key(one) == score_key(changed("evaluation.augmentation", "dsa"))


def test_own_files_enter_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng(0)
    x, y = drawn.integers(0, 256, (20, 8, 8, 1), dtype=np.uint8), np.arange(20) % 10

    def written(place: Path, images: Any) -> Path:
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez(place, x_train=images, y_train=y, x_test=images, y_test=y)
        return place

    def key(path: str, **more: object) -> str:
        block = {"name": "npz", "path": path, **more}
        return Recipe.parse(
            {"name": "own", "dataset": block, "ipc": 1, "method": "random"}
        ).key  # fmt: skip

    first = written(tmp_path / "a" / "x.npz", x)
    moved = tmp_path / "b" / "other.npz"
    moved.parent.mkdir()
    moved.write_bytes(first.read_bytes())
    changed_file = written(tmp_path / "c" / "x.npz", 255 - x)
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "a"))
    assert key(str(first)) == key(str(moved)) == key("x.npz") == key("x.npz", label="mine")
    assert key(str(first)) != key(str(changed_file))
    assert key("x.npz", zca=True) != key("x.npz") != key("x.npz", like="mnist", image_size=28)


# --- extends and --set ------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def to_file(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return to_file


def test_extends_merges_deeply(write: Callable[[str, str], Path]) -> None:
    write(
        "root",
        "dataset: digits\nseeds: [1, 2, 3]\nmethod: {name: dc, lr_img: 3, lr_net: 4}\n"
        "evaluation: {networks: [ConvNetD1, ConvNetD2], epochs: 5}\nprovenance: {ipc: a}\n",
    )
    write("middle", "extends: root.yaml\nmethod: {lr_img: 5}\nseeds: [9]\nipc: 3\n")
    path = write("leaf", "extends: middle.yaml\nname: leaf\nmethod: {batch_real: 7}\n"
                 "evaluation: {networks: [ConvNetD2]}\nprovenance: {seeds: b}\n")  # fmt: skip
    found = recipe_files.read(path)
    method = found.method
    assert isinstance(method, DC)
    assert (method.lr_img, method.lr_net, method.batch_real) == (5, 4, 7)
    assert found.seeds == [9] and found.ipc == 3
    assert [net.name for net in found.evaluated_networks] == ["ConvNetD2"]
    assert found.evaluation.epochs == 5 and found.provenance == {"ipc": "a", "seeds": "b"}


def test_extends_finds_shipped_files_and_prefers_neighbours(
    write: Callable[[str, str], Path],
) -> None:
    path = write("mine", "extends: digits_dc_ipc2.yaml\nname: mine\n")
    assert recipe_files.read(path).key == shipped("digits_dc_ipc2").key
    write("digits_dc_ipc2", "dataset: digits\nipc: 7\nmethod: random\n")
    assert recipe_files.read(path).ipc == 7


def test_a_name_replaces_a_block_and_null_removes_one(write: Callable[[str, str], Path]) -> None:
    path = write("mine", "extends: digits_dc_f_ipc3.yaml\nname: mine\nmethod: random\n"
                 "init: null\nfeatures: null\n")  # fmt: skip
    found = recipe_files.read(path)
    assert found.method.name == "random" and found.features is None
    assert found.key == Recipe.parse(
        {"name": "a", "dataset": "digits", "ipc": 3, "method": "random"}
    ).key  # fmt: skip


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("method.lr_img=1e-2", "method.lr_img", 0.01),
        ("method.distance=mse", "method.distance", "mse"),
        ("method.loops.10=[5, 20]", "method.loops", {10: [5, 20]}),
        ("ipc=7", "ipc", 7),
        ("seeds=[4,5]", "seeds", [4, 5]),
        ("init.from=real", "init.from", "real"),
        ("evaluation.tta=hflip", "evaluation.tta", "hflip"),
        ("evaluation.deterministic=true", "evaluation.deterministic", True),
        ("features.lambda_reg=3", "features.lambda_reg", 3.0),
        ("features={}", "features.pool", "avg"),
        ("dataset.validation=0.1", "dataset.validation", 0.1),
        ("network=ConvNetD2", "network.name", "ConvNetD2"),
        ("method=random", "method.name", "random"),
        ("provenance.ipc=a=b", "provenance", {"ipc": "a=b"}),
    ],
)
def test_overrides(
    write: Callable[[str, str], Path], override: str, field: str, value: object
) -> None:
    path = write("mine", "name: mine\ndataset: digits\nipc: 10\nmethod: dc\n")
    data: Any = recipe_files.read(path, [override]).to_data()
    for part in field.split("."):
        data = data[part]
    assert data == value and type(data) is type(value)


def test_overrides_apply_in_order_and_to_shipped_names() -> None:
    found = recipe_files.read("digits_dc_ipc5", ["ipc=3", "method.lr_img=2", "ipc=4"])
    assert found.ipc == 4 and found.key != shipped("digits_dc_ipc5").key
    method = recipe_files.read("digits_dc_ipc5", ["method.loops.5=[2, 3]"]).method
    assert isinstance(method, DC)
    assert method.loops == {1: (1, 1), 2: (3, 10), 5: (2, 3), 10: (5, 10)}


def test_recipes_are_found_by_name_and_by_path() -> None:
    path = recipe_files.shipped_folder() / "digits_dc_ipc5.yaml"
    assert recipe_files.locate("digits_dc_ipc5") == recipe_files.locate(str(path)) == path
    for wrong in ("digits_dc_ipc55", "digits_dc_ipc55.yaml"):
        with pytest.raises(BadInput, match=r"did you mean 'digits_dc_ipc5'\?"):
            recipe_files.read(wrong)
