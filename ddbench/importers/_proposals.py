"""What a set suggests of its dataset: for messages, and for a block that needs no conversion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ddbench import datasets
from ddbench.importers import Found, Options

if TYPE_CHECKING:
    from ddbench.datasets import DatasetSpec


_WHITENED: dict[str | None, bool | str] = {"zca": True, "kip_zca": "kip"}
"""The dataset block's ``zca`` for a set in a whitened space."""


def proposals(found: Found, options: Options, dataset: DatasetSpec | None = None) -> dict[str, Any]:
    """Fields of the dataset block with which the set needs no conversion.

    Args:
        dataset: the block otherwise; families that its dataset lacks are not proposed.
    """
    space = options.space or found.space
    if space in _WHITENED and found.x.dtype != torch.uint8:
        return {"zca": _WHITENED[space]}
    family = options.constants or found.constants
    if family is None or space not in ("meanstd", None):
        return {}
    if dataset is not None and family not in datasets.facts(dataset).constants:
        return {}
    return {"constants": family}


def guess_dataset(found: Found) -> str:
    """The datasets whose images and classes fit, in a sentence for messages."""
    shape = tuple(found.x.shape[1:])
    y = found.y
    classes = None if y is None else y.shape[1] if y.dim() == 2 else int(y.max()) + 1
    built_in = [datasets.facts(n) for n in datasets.names() if n not in datasets.generic_names()]
    fitting = [
        facts.name
        for facts in built_in
        if facts.shape == shape and classes in (None, facts.num_classes)
    ]
    said = f"images {list(shape)}" + ("" if classes is None else f" of {classes} classes")
    return f"{said} fit {', '.join(fitting) if fitting else 'no built-in dataset'}"
