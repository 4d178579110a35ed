"""What a run will take, from the recipe alone: memory, disk, time. Torch-free.

Memory is the peak of the activations that are held at once plus data, weights and the libraries'
own share, per stage. Time is arithmetic over a rate and says only the order of magnitude.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod

from ddbench.networks import Network, Shape
from ddbench.recipe import Recipe

LIBRARIES = 720 * 2**20
"""Resident bytes of Python, torch (CUDA build), scikit-learn and kornia (measured)."""
CPU_WORKING_SET = 24 * 2**20
"""Bytes of activations that a CPU processes at once: about what its caches hold."""
GRADIENTS_PER_ACTIVATION = 2.0
"""Bytes held per byte of kept activation at the peak of a backward pass (measured)."""
_FLOPS = {"cpu": 6e10, "gpu": 1.5e13}  # sustained, per processor (CPU) and per GPU


@dataclass(frozen=True)
class Estimate:
    """Bytes and seconds of one run of a recipe with one seed."""

    cpu_memory: int
    gpu_memory: int
    disk: int
    cpu_seconds: float
    gpu_seconds: float


def estimate(recipe: Recipe) -> Estimate:
    """Estimates for one seed; a dataset whose size is not known counts as the set itself."""
    facts, shape = recipe.facts, recipe.facts.shape
    images = (facts.train_size or 0) + (facts.test_size or 0)
    data = 2 * 4 * images * prod(shape)  # as stored or converted, and normalised
    count = facts.num_classes * recipe.ipc
    batch = min(256, count) if recipe.method.has_set else 512
    work = recipe.method.workload(recipe.ipc, facts.num_classes, facts.train_size or count)
    per_image = 4 * recipe.net.activation_floats(shape)
    whole = max(batch, work.graph_images) * per_image
    activations = int(max(CPU_WORKING_SET, batch * per_image) * (1 + GRADIENTS_PER_ACTIVATION))
    weights = 4 * 4 * recipe.net.parameter_count(shape, facts.num_classes)
    passes = work.passes + _evaluation_passes(recipe, count, facts.train_size or count)
    flops = 6 * _multiplications(recipe.net, shape) * passes
    threads = os.cpu_count() or 1
    return Estimate(
        cpu_memory=LIBRARIES + data + activations + weights * max(1, facts.num_classes),
        gpu_memory=data // 2 + int(whole * (1 + GRADIENTS_PER_ACTIVATION)) + 20 * weights,
        disk=int(recipe.size().total if recipe.method.has_set else 0)
        + sum(plan.repeats for _, plan in recipe.plans()) * ((facts.test_size or 0) // 8 + 256),
        cpu_seconds=flops / (_FLOPS["cpu"] * threads),
        gpu_seconds=flops / _FLOPS["gpu"],
    )


def _evaluation_passes(recipe: Recipe, count: int, train_size: int) -> float:
    """Images through a network forward and backward while the set is scored."""
    images = count if recipe.method.has_set else train_size
    arms = 2 if recipe.features is not None and recipe.evaluation.features.use == "both" else 1
    return sum(arms * plan.repeats * plan.epochs_run * images for _, plan in recipe.plans())


def _multiplications(network: Network, shape: Shape) -> float:
    """Multiply-adds of one forward pass, from its maps: a 3x3 convolution per block."""
    total, channels, side = 0.0, shape[0], shape[1] * shape[2]
    for c, h, w in network.feature_shapes(shape):
        total += 9.0 * channels * c * side
        channels, side = c, h * w
    return total
