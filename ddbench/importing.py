"""Stage ``distill`` of method ``external``: the set of a foreign file as a result of ours."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ddbench import provenance, store
from ddbench.distilled import DistilledSet
from ddbench.errors import BadInput
from ddbench.features import budget
from ddbench.features.source import stored_settings
from ddbench.features.transform import pool
from ddbench.importers import Found, Reading
from ddbench.importers._archive import is_archive
from ddbench.importers._detect import read
from ddbench.importers._settle import Settled, settle
from ddbench.job import Job
from ddbench.methods.external import External, content_hash, files_of, located
from ddbench.recipe import Recipe
from ddbench.store import Result, SoftLabelViews

log = logging.getLogger(__name__)

_MOST_FILES = 200  # whose checksums a result lists one by one


def imported(job: Job) -> Result:
    """The set of a job's file, in the value space of its dataset, with where it comes from.

    Raises:
        BadInput: the file is not what the recipe says, or leaves a question open.
    """
    began = time.monotonic()
    recipe, method = job.recipe, external(job.recipe)
    reading = read_file(method, job.seed)
    found = reading.sets[0]
    settled = settle(
        found, method.options(job.seed), recipe.facts, job.data.space, file=method.path
    )
    data_set = settled.data_set
    _check_count(recipe, stored_images(found), method)
    if recipe.features is not None and recipe.features.init.source == "file":
        data_set = _with_own_features(recipe, data_set, settled.F, method)
    elif settled.F is not None:
        log.warning("%s: its F is left out; the recipe has none from the file", job.title)
    if found.x.dtype == torch.uint8:
        data_set = replace(data_set, x=store.round_images(data_set.x, data_set.space, "uint8"))
    attrs = job.attributes("distilled", time.monotonic() - began, provenance.now(), 0)
    attrs |= {
        "recipe": _portable(recipe).to_yaml(),
        "source": json.dumps(_source(reading, settled)),
        "selected_on_test": found.selected_on_test,
        "set_bytes": json.dumps(set_bytes(found, data_set, recipe.facts.num_classes)),
    }
    return Result(
        attrs,
        synthetic=data_set,
        views=None if found.views is None else SoftLabelViews(manifest=found.views),
        x_dtype="uint8" if found.x.dtype == torch.uint8 else "float32",
    )


def external(recipe: Recipe) -> External:
    """The recipe's method, which must be ``external``."""
    assert isinstance(recipe.method, External)
    return recipe.method


def read_file(method: External, replicate: int | None) -> Reading:
    """What the method's file holds, checked against its recorded content.

    Raises:
        BadInput: another content than the recipe's, or files that do not enter its key.
    """
    if content_hash(method.path) != method.sha256:
        raise BadInput("holds other bytes than the recipe says", file=method.path,
                       field="method.sha256")  # fmt: skip
    for name, known in method.files.items():
        other = located(str(getattr(method, name)))
        if content_hash(other, name) != known:
            raise BadInput("holds other bytes than the recipe says", file=other,
                           field=f"method.files.{name}")  # fmt: skip
    reading = read(method.path, method.options(replicate))
    says = reading.sets[0].hints.get("decode")
    told = method.decode or "factor1_single"
    if says is not None and told != (own := f"factor{says['factor']}_{says['type']}"):
        raise BadInput(
            f"found {told}, but the folder's name says {own}", file=method.path,
            field="method.decode", allowed=f"{own}, with that folder as set",
        )  # fmt: skip
    if method.path.is_file() and not is_archive(method.path):
        stray = sorted(set(reading.files) - set(files_of(method.path)))
        if stray:  # their bytes would not be in the key
            raise BadInput(f"belongs together with {', '.join(stray)}", file=method.path,
                           allowed="the folder that holds them")  # fmt: skip
    return reading


def _check_count(recipe: Recipe, count: int, method: External) -> None:
    classes = recipe.facts.num_classes
    if -(-count // classes) != recipe.ipc:
        raise BadInput(
            f"found {recipe.ipc}, but {method.path.name} has {count} images of {classes} classes",
            field="ipc", allowed=str(-(-count // classes)),
        )  # fmt: skip


def _with_own_features(
    recipe: Recipe, data_set: DistilledSet, F: Tensor | None, method: External
) -> DistilledSet:
    """The set with the file's F, pooled to the items that the recipe's block asks for."""
    features, network, shape = recipe.features, recipe.feature_network, recipe.facts.shape
    assert features is not None
    if F is None:
        raise BadInput("holds no F", file=method.path, field="features.init.source",
                       allowed="network, noise")  # fmt: skip
    if F.shape[1] != features.n_feat:
        raise BadInput(f"found {features.n_feat}, but the file has {F.shape[1]} per image",
                       file=method.path, field="features.n_feat")  # fmt: skip
    items = pool(_as_maps(F), features.item, features.pool)
    wanted = features.item_shape(network, shape)
    if tuple(items.shape[2:]) != wanted:
        raise BadInput(
            f"{network.label} gives F items {list(wanted)}, the file's are {list(items.shape[2:])}",
            file=method.path, field="features", allowed="layer, item or init.network that fit",
        )  # fmt: skip
    settings = stored_settings(features, network, shape, "init", False)
    return replace(data_set, F=store.round_features(items, features.dtype), features=settings)


def _as_maps(F: Tensor) -> Tensor:
    """F [N, M, ...] as maps [N, M, c, h, w]: [c] becomes [c, 1, 1], [h, w] becomes [1, h, w]."""
    if F.dim() == 3:
        return F[..., None, None]
    return F[:, :, None] if F.dim() == 4 else F


def _portable(recipe: Recipe) -> Recipe:
    """The recipe as its file keeps it: names instead of paths, which mean nothing elsewhere."""
    return recipe.model_copy(update={"method": external(recipe).portable()})


def _source(reading: Reading, settled: Settled) -> dict[str, Any]:
    """Where the set comes from and how every question was settled, as plain data."""
    files: dict[str, Any] = dict(reading.files)
    if len(files) > _MOST_FILES:
        files = {"count": len(files)}
    return {
        "format": reading.format,
        "reasons": list(reading.reasons),
        "files": files,
        "hints": {**reading.hints, **reading.sets[0].hints},
        "answers": settled.answers,
        "notes": list(settled.notes),
    }


def stored_images(found: Found) -> int:
    """Images as published: those of IDC hold several that a network trains on."""
    return int(found.hints.get("stored_images", len(found.x)))


def set_bytes(found: Found, data_set: DistilledSet, classes: int) -> dict[str, float]:
    """Bytes of images, labels and F as published and stored."""
    count = stored_images(found)
    bits = budget.label_bits(classes) if data_set.kind == "index" else 32 * classes
    labels = count * bits / 8
    images = count * found.x[0].numel() * (1 if found.x.dtype == torch.uint8 else 4)
    width = budget.BYTES_OF[str(data_set.features.get("dtype", "float32"))]
    features = 0 if data_set.F is None else data_set.F.numel() * width
    views = float(found.hints.get("view_bytes", 0))
    return {"images": images, "labels": labels, "features": features, "views": views}
