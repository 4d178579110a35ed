"""Ours: one budget and one way of choosing the rate for every method, nothing chosen on the test.

The rate is the best of DD-Ranking's five by accuracy on training images, the same trial for every
method and baseline; 1000 + 1 epochs, final epoch, DSA with an operation per image, five networks.
With ``dataset.validation`` those images are held out from the method, too. Without it they are a
tenth of the training images, which the method may have seen (all methods alike); those that are
themselves images of the set are left out (``rate_search``). Rows of three seeds and more are
ranked.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols._augmentations import dsa

SUMMARY = "fair: rate chosen on validation, 1000 epochs, DSA per image, final epoch"
SOURCE = "this project"
VERSION = 1


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    return {
        "repeats": 5,
        "epochs": 1000,
        "lr": "search",
        "augmentation": dsa(facts, per_image=True),
    }
