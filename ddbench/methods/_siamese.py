"""The field ``strategy`` of methods that augment real and synthetic images alike."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ddbench.augment import parse_strategy
from ddbench.augment.dsa import DSA, PARAMETERS

FULL = "color_crop_cutout_flip_scale_rotate"


def _known(strategy: str) -> str:
    if strategy != "none":
        parse_strategy(strategy, tuple(PARAMETERS))
    return strategy


Strategy = Annotated[
    str,
    Field(description="DSA operations joined by '_', one per class and step; or none"),
    AfterValidator(_known),
]


def siamese(strategy: str) -> DSA | None:
    """The augmentation of a strategy; None for ``none``."""
    return None if strategy == "none" else DSA(strategy=strategy)
