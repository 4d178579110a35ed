"""``--toy``: any recipe, shrunk until it runs end to end on a CPU in seconds.

Two classes of random pixels in the shape of the recipe's dataset, a narrow network of the same
depth, a few steps. Everything else (method, F, protocol, store) is the recipe's own. Toy results
lie in a hidden folder of their own and are in no table.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ddbench import datasets
from ddbench.errors import BadInput
from ddbench.networks import Network
from ddbench.protocols import TeacherSpec
from ddbench.recipe import Recipe

FOLDER = ".toy"
_CLASSES, _TRAIN, _TEST = 2, 24, 8  # images per class
_EPOCHS, _REPEATS = 3, 2


def results_folder(results: Path) -> Path:
    """Where toy results lie below ``results``; raises ``BadInput`` if a link leads elsewhere."""
    folder = results / FOLDER
    if folder.exists() and not folder.resolve().is_relative_to(results.resolve()):
        raise BadInput("leads out of the results folder through a link", file=folder)
    return folder


def shrink(recipe: Recipe, results: Path) -> Recipe:
    """The toy version of a recipe; writes its dataset of random pixels below ``results``."""
    data = recipe.to_data()
    method = recipe.method
    data["method"] |= method.toy
    data["dataset"] = _toy_dataset(recipe, results_folder(results))
    if method.given:
        data["method"] |= _toy_set(recipe, results_folder(results))
    data["network"] = recipe.net.narrow().model_dump()
    data["ipc"] = min(recipe.ipc, 2)
    data["seeds"] = recipe.seeds[:1]
    data["published"] = []
    data["evaluation"] |= {
        "max_epochs": _EPOCHS,
        "repeats": _REPEATS,
        "teacher": _teacher(recipe),
        "snapshots": [],
        "selection": "last",
        "networks": _narrowed(recipe.evaluated_networks),
        "augmentation": _augmentation(recipe),
    }
    if data["features"] is not None:
        data["features"]["init"]["network"] = None
        data["features"]["init"]["epochs"] = min(1, data["features"]["init"]["epochs"])
        data["features"]["budget"] = {}
    return Recipe.parse(data, file=f"toy of {recipe.name}")


def _narrowed(found: list[Network]) -> list[dict[str, Any]]:
    """Narrow versions, each once: two widths of one network become the same."""
    narrow = [network.narrow() for network in found]
    known = [network.identity() for network in narrow]
    return [
        network.model_dump() for index, network in enumerate(narrow)
        if network.identity() not in known[:index]
    ]  # fmt: skip


def _augmentation(recipe: Recipe) -> object:
    """What the protocol gives on the recipe's own dataset, which the toy's no longer tells."""
    _, plan = recipe.plans()[0]
    return "none" if plan.augmentation is None else plan.augmentation.model_dump()


def _teacher(recipe: Recipe) -> object:
    """The recipe's teacher, of the students' architectures: those are narrow."""
    own = recipe.evaluation.teacher
    return {**own.model_dump(), "networks": None} if isinstance(own, TeacherSpec) else own


def _toy_set(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Fields of method ``external``: a file of random pixels in place of the foreign one.

    It has logits where a plan learns from stored soft labels, and a step size where one takes it.
    """
    import numpy as np

    plans = [plan for _, plan in recipe.plans()]
    soft = any(plan.loss != "ce" and plan.teacher is None for plan in plans)
    learned = any(plan.lr == "learned" for plan in plans)
    count = _CLASSES * min(recipe.ipc, 2)
    kind = "-logits" if soft else ""
    path = folder / "data" / f"set-{'x'.join(map(str, recipe.facts.shape))}-{count}{kind}.npz"
    images = np.random.default_rng(1).random((count, *recipe.facts.shape), dtype=np.float32)
    classes = np.arange(_CLASSES).repeat(count // _CLASSES)
    labels = np.eye(_CLASSES, dtype=np.float32)[classes] if soft else classes
    path.parent.mkdir(parents=True, exist_ok=True)
    sibling = path.with_name(f"{path.stem}.{os.getpid()}.npz")
    np.savez(sibling, images=images, labels=labels)
    sibling.replace(path)
    blank = dict.fromkeys(("labels", "lr", "class_order", "constants", "labels_kind", "sha256"))
    asked = {"lr": "0.01" if learned else None, "labels_kind": "logit" if soft else None}
    own = {"set": str(path.resolve()), "format": "npz", "space": "unit", "files": {}}
    return {**blank, **asked, **own}


def _toy_dataset(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The ``dataset`` block of random pixels whose classes differ in brightness."""
    import numpy as np

    channels, height, width = recipe.facts.shape
    path = folder / "data" / f"{channels}x{height}x{width}.npz"
    if not path.is_file():
        drawn, size = np.random.default_rng(0), (height, width, channels)

        def bright(y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return y[:, None, None, None].astype(np.uint8)

        y_train = np.arange(_CLASSES).repeat(_TRAIN)
        y_test = np.arange(_CLASSES).repeat(_TEST)
        x_train, x_test = (
            drawn.integers(0, 200, (len(y), *size), dtype=np.uint8) + np.uint8(55) * bright(y)
            for y in (y_train, y_test)
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        sibling = path.with_name(f"{path.stem}.{os.getpid()}.npz")
        np.savez(sibling, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
        sibling.replace(path)
    label = f"{datasets.label(recipe.dataset)}-toy"
    return {
        "name": "npz", "path": str(path.resolve()), "label": label,
        "zca": recipe.dataset.zca, "validation": recipe.dataset.validation,
    }  # fmt: skip
