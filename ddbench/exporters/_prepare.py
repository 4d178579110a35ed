"""What exporters share: the set in another value space, in class-major order, without sharing F.

Every step says in a sentence what it changed. Axes: N images, C channels, H, W, K classes, M
feature sets.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.data import normalise, unnormalise
from ddbench.distilled import DistilledSet, Space
from ddbench.errors import BadInput

if TYPE_CHECKING:
    from ddbench.datasets import DatasetFacts


def detached(data_set: DistilledSet) -> DistilledSet:
    """The set on the CPU, in tensors of their own: ``torch.save`` writes whole storages."""

    def own(tensor: Tensor) -> Tensor:
        return tensor.detach().cpu().contiguous().clone()

    return replace(
        data_set,
        x=own(data_set.x),
        y=own(data_set.y),
        F=None if data_set.F is None else own(data_set.F),
    )


def in_constants(
    data_set: DistilledSet, facts: DatasetFacts, family: str
) -> tuple[DistilledSet, list[str]]:
    """The set normalised by mean and std as ``family`` does; one whitened by ZCA as it is.

    Raises:
        BadInput: a set in KIP's space, which the formats of this kind do not know.
    """
    space = data_set.space
    if space.name == "kip_zca":
        raise BadInput("is whitened as KIP does it, which this format's programs do not know")
    if space.name == "zca":
        return data_set, ["The images are whitened by ZCA, which the files do not say."]
    wanted = facts.constants.get(family)
    if wanted is None:
        note = f"The dataset '{facts.name}' has no constants of the family '{family}'; the images"
        return data_set, [f"{note} stay in space '{space.name}', which the files do not say."]
    target = Space("meanstd", mean=wanted.mean, std=wanted.std)
    if (space.mean, space.std) == (target.mean, target.std):
        return data_set, []
    x = normalise(unnormalise(data_set.x, space, clamp=False), target)
    note = f"The images were taken from space '{space.name}' to mean {_list(wanted.mean)} and std"
    return replace(data_set, x=x, space=target), [
        f"{note} {_list(wanted.std)}, exact to float32 rounding."
    ]


def pixels(data_set: DistilledSet) -> Tensor:
    """The images in unit space, not clamped; raises ``BadInput`` where they cannot be had."""
    try:
        return unnormalise(data_set.x, data_set.space, clamp=False)
    except ValueError as error:
        raise BadInput(f"has no pixels to write: {error}") from None


def per_image(data_set: DistilledSet) -> tuple[DistilledSet, list[str]]:
    """The set with F per image, where it was per class."""
    if data_set.F is None or data_set.features.get("granularity") != "per_class":
        return data_set, []
    features = {**data_set.features, "granularity": "per_image"}
    expanded = replace(data_set, F=data_set.F[classes(data_set)], features=features)
    return expanded, ["F is per class; it is repeated for every image of its class."]


def classes(data_set: DistilledSet) -> Tensor:
    """The class of each image, int64 [N]: y, or where it is soft, its largest entry."""
    return data_set.y if data_set.kind == "index" else data_set.y.argmax(1)


def class_major(data_set: DistilledSet, num_classes: int) -> tuple[DistilledSet, list[str]]:
    """The set sorted by class, equal classes in their order.

    Raises:
        BadInput: the classes have different numbers of images.
    """
    label = classes(data_set)
    counts = torch.bincount(label, minlength=num_classes)
    if int(counts.min()) != int(counts.max()):
        raise BadInput(
            f"has {int(counts.min())} to {int(counts.max())} images per class, "
            "this format needs as many of each"
        )
    order = label.argsort(stable=True)
    if torch.equal(order, torch.arange(len(order))):
        return data_set, []
    per_class = data_set.features.get("granularity") == "per_class"
    F = data_set.F if data_set.F is None or per_class else data_set.F[order]
    sorted_set = replace(data_set, x=data_set.x[order], y=data_set.y[order], F=F)
    return sorted_set, ["The images were sorted by class."]


def without(data_set: DistilledSet, *parts: str) -> list[str]:
    """Sentences on those of ``F``, ``lr`` and ``kind`` that the set has and a format drops."""
    said = {
        "F": "F is left out: this format has no place for it.",
        "lr": "The learned step size is left out: this format has no place for it.",
    }
    present = {"F": data_set.F is not None, "lr": data_set.lr is not None}
    return [said[part] for part in parts if present[part]]


def space_note(data_set: DistilledSet, facts: DatasetFacts) -> str:
    """How to import a file that does not say its value space."""
    from ddbench.importers._interchange import family

    space = data_set.space
    known = family(space.mean, space.std, facts) if space.name == "meanstd" else None
    options = f"--space {space.name}" + (f" --constants {known}" if known else "")
    means = f" (mean {_list(space.mean)}, std {_list(space.std)})" if space.mean else ""
    return f"The value space is not in the file: '{space.name}'{means}; import with '{options}'."


def save(value: object, path: Path) -> None:
    """``torch.save`` of plain tensors, the same bytes whatever the file is called."""
    with path.open("wb") as stream:
        torch.save(value, stream)


def _list(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values)
