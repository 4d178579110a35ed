"""Real and synthetic images side by side: a t-SNE (van der Maaten & Hinton, 2008) per dataset.

All sets of a dataset lie in one t-SNE with real training images, so that their places can be
compared with one another. The axes have no unit, and distances between clusters mean little.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from sklearn.manifold import TSNE  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from ddbench import datasets, store
from ddbench.data import unnormalise
from ddbench.errors import BadInput
from ddbench.recipe_files import from_yaml
from ddbench.report.feature_space import Array, FeatureSpace, Mode, feature_space, stratified
from ddbench.report.plots import Axis, Panel, Plot, Series
from ddbench.report.sets import StoredSet, stored_sets
from ddbench.store.tree import open_tree

log = logging.getLogger(__name__)

SYNTHETIC = 100
"""Images of one synthetic set at most, as many of each class."""
MAX_SETS = 8
"""Sets of one t-SNE."""
MAX_GLYPHS = 10
"""Up to so many classes, real images are drawn as the numbers of their classes, else as dots."""

_PERPLEXITY = 30.0
_NAMES = {"untrained": "freshly initialised", "trained": "trained on the real data"}
_NOTE = "Axes without unit: near points are alike, distances between clusters mean little."


@dataclass(frozen=True, eq=False)
class _Sample:
    """Images of one origin: pixels float32 [n, C, H, W] in [0, 1], classes int64 [n]."""

    name: str
    pixels: Tensor
    labels: Array


def panels(frame: pd.DataFrame, mode: Mode) -> tuple[list[Panel], list[str]]:
    """One t-SNE per dataset, and sentences on what cannot be drawn.

    Args:
        frame: of ``collect``.
        mode: whose features; ``none`` draws nothing.
    """
    if mode == "none":
        return [], ["Left out, as asked for (--embedding none)."]
    every = stored_sets(frame)
    found, notes = [], []
    for dataset in dict.fromkeys(each.dataset for each in every):
        mine = [each for each in every if each.dataset == dataset]
        try:
            space = feature_space(_spec(mine[0]), mode)
        except BadInput as error:
            log.info("no t-SNE of %s: %s", dataset, error)  # the page may travel, paths need not
            notes.append(f"No t-SNE of {dataset}: its real images were not at hand.")
            continue
        found.append(_panel(dataset, mine, space, _NAMES[mode]))
    return found, notes


def _panel(dataset: str, every: Sequence[StoredSet], space: FeatureSpace, network: str) -> Panel:
    chosen = every[:MAX_SETS]
    notes = [_NOTE]
    if int(space.labels.max()) < MAX_GLYPHS:
        notes.append("Numbers: the classes of real images.")
    if len(chosen) < len(every):
        notes.append(f"{len(chosen)} of {len(every)} sets are drawn.")
    samples = [_Sample("real images", space.pixels, space.labels)]
    for each in chosen:
        try:
            samples.append(_synthetic(each, space))
        except BadInput as error:
            notes.append(f"Without {each.title}: {error.problem}.")
    places = tsne(np.concatenate([space.features(sample.pixels) for sample in samples]))
    parts = np.split(places, np.cumsum([len(sample.labels) for sample in samples])[:-1])
    names = datasets.facts(_spec(chosen[0])).classes
    series = [
        _series(sample, part, slot - 1, names)
        for slot, (sample, part) in enumerate(zip(samples, parts, strict=True))
    ]
    title = f"{dataset}, t-SNE of features of a ConvNet ({network})"
    return Panel(title, (Plot("map", title, Axis(""), Axis(""), series),), notes)


def _spec(each: StoredSet) -> datasets.DatasetSpec:
    with open_tree(Path(each.path)) as file:
        return from_yaml(str(file.attrs["recipe"]), file=each.path).dataset


def _synthetic(each: StoredSet, space: FeatureSpace) -> _Sample:
    """Some images of a stored set; raises ``BadInput`` where they cannot be compared."""
    data_set = store.read_set(Path(each.path))
    if data_set.x.shape[1:] != space.pixels.shape[1:]:
        shapes = [list(x.shape[1:]) for x in (data_set.x, space.pixels)]
        raise BadInput(f"its images are {shapes[0]}, the real ones {shapes[1]}")
    labels = (data_set.y if data_set.kind == "index" else data_set.y.argmax(1)).numpy()
    rows = stratified(labels, SYNTHETIC)
    try:
        pixels = unnormalise(data_set.x[rows], data_set.space, clamp=False)
    except ValueError as error:
        raise BadInput(str(error)) from None
    return _Sample(each.short, pixels, labels[rows])


def tsne(features: Array) -> Array:
    """Places [n, 2] of features [n, d], n >= 4; the same numbers every time."""
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    with threadpool_limits(1):  # threads would sum in any order, and t-SNE magnifies the difference
        made: Any = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features)
    return cast(Array, made.round(2))


def _series(sample: _Sample, places: Array, slot: int, names: Sequence[str]) -> Series:
    labels = sample.labels.tolist()
    text = [f"{sample.name}, class {names[label] if names else label}" for label in labels]
    x, y = places[:, 0].tolist(), places[:, 1].tolist()
    if slot >= 0:
        return Series(sample.name, x, y, text=text, slot=slot)
    glyphs = [str(label) for label in labels] if max(labels) < MAX_GLYPHS else ()
    return Series(sample.name, x, y, text=text, glyphs=glyphs, faint=True)
