"""The space in which real and synthetic images are compared: features of a dataset's network.

The flat maps behind the last block of the dataset's ConvNet, either freshly initialised, as
distribution matching compares images (Zhao & Bilen, WACV 2023), or trained on the real data, as
herding does.

Axes: n images, C channels, H, W, K classes, d features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from ddbench import data, datasets, methods, networks
from ddbench.data import normalise, unnormalise
from ddbench.datasets import DatasetFacts, DatasetSpec
from ddbench.distilled import Space
from ddbench.engine import resolve_device
from ddbench.networks import Network
from ddbench.randomness import Streams
from ddbench.stack import Stack, create
from ddbench.trained import feature_maps, trained

Mode = Literal["untrained", "trained", "none"]
MODES: tuple[Mode, ...] = ("untrained", "trained", "none")
"""Whose features: of a network that is freshly initialised, or trained; or none at all."""

REAL = 500
"""Real training images at most, as many of each class."""

Array = np.ndarray[Any, Any]

_CHUNK = 256


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Real images, and the network whose features are compared.

    Attributes:
        pixels: the real images, float32 [n, C, H, W] in [0, 1].
        labels: their classes, int64 [n].
        space: the value space of the network's inputs.
    """

    pixels: Tensor
    labels: Array
    space: Space
    stack: Stack

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Array:
        """Features float32 [n, d] of images [n, C, H, W] in [0, 1]."""
        device = next(iter(self.stack.params.values())).device
        x = normalise(pixels, self.space).to(device)
        layer = len(self.stack.feature_shapes)
        maps = [part.flatten(1).cpu() for part in feature_maps(self.stack, x, layer, _CHUNK)]
        return cast(Array, torch.cat(maps).numpy())


def feature_space(spec: DatasetSpec, mode: Mode) -> FeatureSpace:
    """The space of a dataset, in its plain pixels even where ``spec`` whitens them.

    Args:
        mode: ``untrained`` reads the real images that are shown, on the CPU; ``trained`` all of
            them, and trains a network unless the cache has it, on a GPU where there is one.

    Raises:
        BadInput: the real data are not at hand.
    """
    plain = spec.model_copy(update={"zca": False, "validation": None})
    network = _network(datasets.facts(plain))
    return _trained(plain, network) if mode == "trained" else _untrained(plain, network)


def stratified(labels: Array, limit: int) -> Array:
    """Ascending positions of at most ``limit`` items of labels [n], as many of each class.

    Evenly spread over a class; of more classes than ``limit``, the first ones.
    """
    classes = np.unique(labels)[:limit]
    each = max(1, limit // max(1, len(classes)))
    return np.sort(np.concatenate([_even(np.flatnonzero(labels == c), each) for c in classes]))


def _even(rows: Array, count: int) -> Array:
    return cast(Array, rows[np.arange(min(count, len(rows))) * len(rows) // min(count, len(rows))])


def _network(facts: DatasetFacts) -> Network:
    return networks.resolve(facts.network.model_dump(exclude_none=True))


def _untrained(spec: DatasetSpec, network: Network) -> FeatureSpace:
    facts, arrays = datasets.facts(spec), datasets.read(spec)
    rows = stratified(arrays.y_train, REAL)
    pixels = data.pixels_of(arrays.x_train[rows], facts, spec, "cpu")
    generator = Streams(0, torch.device("cpu")).generator("report: init")
    stack = create(network, facts.shape, facts.num_classes, [generator]).detached()
    return FeatureSpace(pixels, arrays.y_train[rows], data.space_of(pixels, facts, spec), stack)


def _trained(spec: DatasetSpec, network: Network) -> FeatureSpace:
    device = resolve_device("auto")
    real = data.load(spec, device)
    (wanted,) = methods.resolve("herding").networks_needed(network)
    stack = trained(wanted, real, Streams(0, device))
    labels = real.y_train.cpu().numpy()
    rows = stratified(labels, REAL)
    pixels = unnormalise(real.x_train[torch.from_numpy(rows).to(device)], real.space).cpu()
    return FeatureSpace(pixels, labels[rows], real.space, stack)
