"""DSA (Zhao & Bilen, ICML 2021): as DC, 1000 + 1 epochs under siamese augmentation's operations.

Non-siamese, one operation per batch, parameters per image; no flip where a mirror image is another
class (MNIST, SVHN; digits by the same rule).
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols import _augmentations

SUMMARY = "DSA: SGD 0.01, 1000 epochs, DSA on every batch"
SOURCE = "VICO-UoE/DatasetCondensation main.py:107-133, utils.py:337-361"
VERSION = 1


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    return {
        "repeats": 20,
        "epochs": 1000,
        "lr": 0.01,
        "augmentation": _augmentations.dsa(facts),
    }
