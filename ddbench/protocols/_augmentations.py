"""Augmentations as presets name them; no mirroring where a mirror image is another class."""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts


def dsa(facts: DatasetFacts, **fields: Any) -> dict[str, Any]:
    """DSA with all operations, one per batch."""
    flip = "flip_" if facts.mirror else ""
    strategy = f"color_crop_cutout_{flip}scale_rotate"
    return {"name": "dsa", "strategy": strategy, **fields}


def crop_flip(facts: DatasetFacts) -> dict[str, Any]:
    """A random crop of the image padded by 4, and a flip."""
    return _mirrored({"name": "crop_flip"}, facts)


def rrc(facts: DatasetFacts, smallest: float = 0.08) -> dict[str, Any]:
    """A random resized crop of at least ``smallest`` of the area, and a flip."""
    return _mirrored({"name": "rrc", "scale": [smallest, 1.0]}, facts)


def _mirrored(fields: dict[str, Any], facts: DatasetFacts) -> dict[str, Any]:
    return fields if facts.mirror else {**fields, "prob_flip": 0.0}
