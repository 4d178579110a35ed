"""What a run will take, from the recipe alone: memory, disk, time. Torch-free.

A run is a list of parts: making the set, networks trained beforehand, the arms of the evaluation
with its baselines. Memory is that of the part that takes most: the activations held at once, plus
data, weights and the libraries' own share. A GPU with room for more trains several networks at once
and uses it. Time is arithmetic over a rate, summed over the parts, and says only the order of
magnitude. Nothing is taken to be cached.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod

from ddbench.arms import BASELINES, OWN, Arm, recipe_arms
from ddbench.networks import Network
from ddbench.protocols import Plan, TrainedOn
from ddbench.recipe import Recipe

LIBRARIES = 880 * 2**20
"""Resident bytes of Python, torch (CUDA build), scikit-learn and kornia (measured)."""
CPU_WORKING_SET = 24 * 2**20
"""Bytes of activations that a CPU processes at once: about what its caches hold."""
GRADIENTS_PER_ACTIVATION = 2.0
"""Bytes held per byte of kept activation at the peak of a backward pass (measured)."""
_FLOPS = {"cpu": 6e10, "gpu": 1.5e13}  # sustained, per processor (CPU) and per GPU
_PEAK = {"cpu": 2e11, "gpu": 1e15}  # what no processor and no GPU of today exceeds
_STATES = 4  # of a weight: itself, its gradient, its momentum, a copy
_VIEWS = {"none": 1, "hflip": 2, "fivecrop": 5, "hflip5": 10}


@dataclass(frozen=True)
class Estimate:
    """Bytes and seconds of one run of a recipe with one seed."""

    cpu_memory: int
    gpu_memory: int
    disk: int
    cpu_seconds: float
    gpu_seconds: float


@dataclass(frozen=True)
class _Part:
    """Some work with one architecture.

    Attributes:
        trained: images that pass forward and backward, over all networks and epochs.
        predicted: images that pass forward alone.
        batch: images that one network holds at once.
        copies: networks at once, on a CPU fewer if their batches exceed its working set.
        graph: images that a GPU holds at once; 0 = ``batch``.
    """

    network: Network
    trained: float = 0.0
    predicted: float = 0.0
    batch: int = 1
    copies: int = 1
    graph: int = 0


def estimate(recipe: Recipe) -> Estimate:
    """Estimates for one seed; a dataset whose size is not known counts as the set itself."""
    facts, shape = recipe.facts, recipe.facts.shape
    data = 2 * 4 * (_train_size(recipe) + _test_size(recipe)) * prod(shape)  # stored, normalised
    cpu = gpu = flops = 0.0
    for part in _parts(recipe):
        image = 4 * part.network.activation_floats(shape)
        weights = _STATES * 4 * part.network.parameter_count(shape, facts.num_classes)
        fitting = max(1, min(part.copies, CPU_WORKING_SET // (part.batch * image)))
        on_cpu = max(CPU_WORKING_SET, part.batch * image)
        on_gpu = (part.graph or part.batch) * image
        cpu = max(cpu, (1 + GRADIENTS_PER_ACTIVATION) * on_cpu + fitting * weights)
        gpu = max(gpu, (1 + GRADIENTS_PER_ACTIVATION) * on_gpu + part.copies * weights)
        products = part.network.multiply_adds(shape, facts.num_classes)
        flops += 2 * products * (3 * part.trained + part.predicted)  # a backward is two forwards
    return Estimate(
        cpu_memory=LIBRARIES + data + int(cpu),
        gpu_memory=data // 2 + int(gpu),
        disk=_disk(recipe),
        cpu_seconds=flops / (_FLOPS["cpu"] * (os.cpu_count() or 1)),
        gpu_seconds=flops / _FLOPS["gpu"],
    )


def lower_bound(recipe: Recipe, processors: int) -> Estimate:
    """What a run cannot do without: one network at a time, peak rates, half of the libraries.

    Where a machine offers less, the run cannot end well there.
    """
    facts, shape = recipe.facts, recipe.facts.shape
    data = 4 * (_train_size(recipe) + _test_size(recipe)) * prod(shape)
    part_memory = flops = 0.0
    for part in _parts(recipe):
        image = 4 * part.network.activation_floats(shape)
        weights = _STATES * 4 * part.network.parameter_count(shape, facts.num_classes)
        part_memory = max(part_memory, part.batch * image + weights)
        products = part.network.multiply_adds(shape, facts.num_classes)
        flops += 2 * products * (3 * part.trained + part.predicted)
    return Estimate(
        cpu_memory=LIBRARIES // 2 + data + int(part_memory),
        gpu_memory=data + int(part_memory),
        disk=_disk(recipe),
        cpu_seconds=flops / (_PEAK["cpu"] * processors),
        gpu_seconds=flops / _PEAK["gpu"],
    )


def _disk(recipe: Recipe) -> int:
    """Bytes of a result file: the set, and the predictions of every network."""
    networks = sum(arm.plan.repeats for arm in recipe_arms(recipe))
    stored = recipe.size().total if recipe.method.has_set else 0
    return int(stored) + networks * ((recipe.facts.test_size or 0) // 8 + 256)


def _parts(recipe: Recipe) -> Iterator[_Part]:
    yield from _distilling(recipe)
    for spec in recipe.networks_needed():
        yield _beforehand(spec, recipe)
    for arm in recipe_arms(recipe):
        yield from _evaluating(arm, recipe)


def _train_size(recipe: Recipe) -> int:
    return recipe.facts.train_size or _set_size(recipe)


def _test_size(recipe: Recipe) -> int:
    return recipe.facts.test_size or 0


def _set_size(recipe: Recipe) -> int:
    return recipe.facts.num_classes * recipe.ipc


def _distilling(recipe: Recipe) -> Iterator[_Part]:
    """Nothing for methods that choose images or are given them."""
    classes = recipe.facts.num_classes
    work = recipe.method.workload(recipe.ipc, classes, _train_size(recipe))
    if work.passes:
        yield _Part(
            recipe.net, trained=work.passes, batch=recipe.ipc, copies=classes,
            graph=work.graph_images,
        )  # fmt: skip
        if recipe.method.trains_on_synthetic:
            yield _Part(recipe.net, batch=min(256, _set_size(recipe)))


def _beforehand(spec: TrainedOn, recipe: Recipe) -> _Part:
    """Networks trained on the real data; each then sees the test set, a source the training set."""
    images = _train_size(recipe)
    batch = spec.members * min(spec.batch_size, images)
    return _Part(
        spec.network, trained=spec.members * len(spec.rates()) * images,
        predicted=spec.members * max(images, _test_size(recipe)), batch=batch,
        copies=spec.members,
    )  # fmt: skip


def _evaluating(arm: Arm, recipe: Recipe) -> Iterator[_Part]:
    """The networks of an arm, then its teachers."""
    plan, real = arm.plan, arm.role == "real" or not recipe.method.has_set
    images = (_train_size(recipe) if real else _set_size(recipe)) * _copies(plan)
    trainings = _trainings(arm)
    seen = trainings * plan.epochs_run * images
    tests = ceil(plan.epochs_run / (recipe.evaluation.test_every or plan.epochs_run))
    yield _Part(
        arm.network, trained=seen,
        predicted=trainings * (tests * _VIEWS[plan.tta] * _test_size(recipe) + images),
        batch=min(plan.batch_size, images), copies=1 if arm.role in BASELINES else plan.repeats,
    )  # fmt: skip
    if plan.teacher is not None:
        labelled = seen if plan.teacher.labels == "per_batch" else images
        for spec in plan.teacher.trained_on():
            yield _Part(spec.network, predicted=labelled)


def _copies(plan: Plan) -> int:
    """How many times as many images ``expand`` makes."""
    turned = "rotate" in plan.expand
    return (1 + len(plan.expand) - turned) * (4 if turned else 1)


def _trainings(arm: Arm) -> int:
    """Networks that are trained for an arm, to be scored and to choose rates and snapshots."""
    plan = arm.plan
    rates = len(plan.lr_grid) if plan.lr == "search" else 0
    if arm.role in BASELINES:  # every subset has its own rate
        return plan.repeats * (1 + rates)
    chosen = arm.role == OWN and plan.selection != "last"
    rounds = 1 + (len(plan.candidates) + 1 if chosen else 0)
    return rounds * (plan.repeats + rates)
