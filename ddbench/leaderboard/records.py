"""Every score of many result files as one tidy frame: one row per (file, evaluation record).

Nothing is averaged or left out here. What does not become rows is listed in the frame's ``attrs``:
``rejected``, pairs (path, reason) of damaged and foreign files, and ``unfinished``, pairs (path,
status) of runs that are not done (their scores so far are rows with that status).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from ddbench import datasets, store
from ddbench.arms import ENSEMBLE
from ddbench.errors import BadInput
from ddbench.features.budget import BYTES_OF
from ddbench.recipe import Recipe
from ddbench.recipe_files import from_yaml
from ddbench.store import EvaluationRecord, Header
from ddbench.toy import FOLDER as TOY_FOLDER

log = logging.getLogger(__name__)

Row = dict[str, object]

DONE = "done"
COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "dataset": "label of the dataset",
        "recipe": "name of the recipe",
        "method": "slug of the method",
        "title": "name of the method in prose",
        "ipc": "synthetic images per class; missing for a method without a set",
        "key": "identifies the synthetic set, without the seed",
        "seed": "seed of the set",
        "network": "architecture that was trained on the set",
        "network_seed": "seed of that network; -1 = ensemble",
        "ensemble": "whether the mean logits of all networks were scored",
        "evaluation_key": "identifies all that changes a score of a stored set",
        "protocol": "name of the evaluation protocol",
        "tta": "test-time augmentation",
        "selection": "how the scored snapshot was chosen",
        "iteration": "the snapshot that was scored",
        "used_features": "whether the network was trained with F",
        "has_features": "whether the set has F",
        "fixed_images": "whether F was made on images that stay as initialised",
        "features": "source, item, granularity and lambda of F; empty without",
        "bytes": "what has to be stored to train so: images, labels, F if used, a teacher",
        "teacher": "the networks that labelled images while training; empty: none",
        "image_equivalents": "bytes of images, and F if used, per class, in float32 images",
        "accuracy": "fraction, at the final epoch",
        "best_accuracy": "fraction, best over training, selected on the test set",
        "train_accuracy": "fraction, on the synthetic set",
        "epochs": "epochs trained",
        "seconds": "training and testing one network",
        "distill_seconds": "making the set",
        "peak_memory_bytes": "highest memory use of the run",
        "device": "what computed it",
        "set_selected": "whether whoever published the set chose it by its test accuracy",
        "published_accuracy": "the paper's number for this row, percent",
        "published_std": "the paper's spread, percent",
        "published_source": "where the paper's number stands",
        "status": "distilled, labelled, done or failed",
        "path": "the result file",
    }
)


def collect(paths: Sequence[Path]) -> pd.DataFrame:
    """All scores of the result files at or below ``paths``, sorted by path.

    Folders are searched for ``*.h5``; hidden ones below them are skipped. A file that cannot be
    used is logged and listed in ``attrs['rejected']``, and does not stop the rest.

    Returns:
        A frame with ``COLUMNS``, accuracies as fractions, and the ``attrs`` of this module.

    Raises:
        BadInput: a path that does not exist, or that lies among toy runs.
    """
    rows: list[Row] = []
    rejected: list[tuple[str, str]] = []
    unfinished: list[tuple[str, str]] = []
    for path in _files(paths):
        try:
            found, status = _rows(path)
        except (BadInput, OSError) as error:
            log.warning("left out: %s", error)
            rejected.append((str(path), _reason(error)))
            continue
        rows += found
        if status != DONE:
            unfinished.append((str(path), status))
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"ipc": "Int64"})
    frame.attrs = {"rejected": rejected, "unfinished": unfinished}
    return frame


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Every file once, even where paths overlap."""
    seen: set[Path] = set()
    for root in paths:
        if not root.exists():
            raise BadInput("does not exist", file=root, allowed="a result file or a folder of them")
        if TOY_FOLDER in root.resolve().parts:
            raise BadInput("holds toy runs, which never enter a table", file=root)
        for path in sorted(_below(root)) if root.is_dir() else [root]:
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield path


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*.h5"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def _reason(error: BadInput | OSError) -> str:
    if isinstance(error, OSError):
        return str(error)
    return f"{error.field}: {error.problem}" if error.field else error.problem


def _rows(path: Path) -> tuple[list[Row], str]:
    """The rows of one file, and its status; raises ``BadInput`` for a file that is no use."""
    header = store.read_header(path)
    recipe = from_yaml(str(header.attrs["recipe"]), file=path)
    shared = _of_file(path, header, recipe)
    rows = [
        shared | _of_record(recipe, record) | _bytes(header, recipe, record)
        for record in header.evaluations
        if record.role == "set"  # a protocol's baselines are no scores of the set
    ]
    return rows, str(header.attrs["status"])


def _of_file(path: Path, header: Header, recipe: Recipe) -> Row:
    attrs = header.attrs
    return {
        "dataset": datasets.label(recipe.dataset),
        "recipe": recipe.name,
        "method": recipe.method.name,
        "title": recipe.method.heading,
        "ipc": recipe.ipc if recipe.method.has_set else None,
        "key": str(attrs["key"]),
        "seed": int(attrs["seed"]),
        "has_features": recipe.features is not None,
        "fixed_images": recipe.fixed_images,
        "features": _features_text(recipe),
        "distill_seconds": float(attrs.get("seconds", float("nan"))),
        "peak_memory_bytes": float(attrs.get("peak_memory_bytes", float("nan"))),
        "device": str(attrs.get("device", "unknown")),
        "set_selected": bool(attrs.get("selected_on_test", False)),
        "status": str(attrs["status"]),
        "path": str(path),
    }


def _bytes(header: Header, recipe: Recipe, record: EvaluationRecord) -> Row:
    """Storage that a score needs: who trains without F does not store it, a teacher is stored, too.

    A recipe tells the size of a set that it makes; an imported one's is in the file.
    """
    size, facts = recipe.size(), recipe.facts
    parts: dict[str, float] = {
        "images": size.images, "labels": size.labels, "features": size.features
    }  # fmt: skip
    if "set_bytes" in header.attrs:
        parts = json.loads(str(header.attrs["set_bytes"]))
    features = parts.pop("features") if record.used_features else parts.pop("features") * 0
    image = BYTES_OF["float32"] * prod(facts.shape)
    return {
        "bytes": float(sum(parts.values()) + features + record.teacher_bytes),
        "image_equivalents": (parts["images"] + features) / image / facts.num_classes,
    }


def _features_text(recipe: Recipe) -> str:
    """For example ``matching, channel per_image, lambda 0.01``; empty without F."""
    spec = recipe.features
    if spec is None:
        return ""
    own = recipe.evaluation.features.lambda_
    weight = spec.lambda_reg if own is None else own
    return f"{recipe.feature_source}, {spec.item} {spec.granularity}, lambda {weight:g}"


def _of_record(recipe: Recipe, record: EvaluationRecord) -> Row:
    return {
        "network": record.network,
        "network_seed": record.network_seed,
        "ensemble": record.network_seed == ENSEMBLE,
        "evaluation_key": record.evaluation_key,
        "protocol": record.protocol,
        "tta": record.tta,
        "selection": record.selection,
        "teacher": record.teacher,
        "iteration": record.iteration,
        "used_features": record.used_features,
        "accuracy": record.accuracy,
        "best_accuracy": record.best_accuracy,
        "train_accuracy": record.train_accuracy,
        "epochs": record.epochs,
        "seconds": record.seconds,
        **_published(recipe, record),
    }


def _published(recipe: Recipe, record: EvaluationRecord) -> Row:
    """The first published number, on the rows of the cell that it is of.

    That is the recipe's own network (where it is evaluated), trained with F if the recipe has F.
    """
    names = [network.label for network in recipe.evaluated_networks]
    network = recipe.net.label if recipe.net.label in names else names[0]
    features = recipe.features is not None and recipe.evaluation.features.use != "without"
    same = record.network == network and record.used_features == features
    if not recipe.published or not same or record.network_seed == ENSEMBLE:
        return {"published_accuracy": None, "published_std": None, "published_source": None}
    cell = recipe.published[0]
    return {
        "published_accuracy": cell.accuracy,
        "published_std": cell.std,
        "published_source": cell.source,
    }
