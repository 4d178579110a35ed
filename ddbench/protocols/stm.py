"""STM: the learned step sizes, one per start epoch, played one after the other, under DSA.

``syn_steps`` is N of the distillation, the least number of epochs per rate; the reference's script
has 50. A set with L rates trains max(N, (E/2) // L) L + E/2 + 1 epochs, E = 1000; their number is
stored with every score. Copies of the set (``expand``) are meant for galaxies. The reference
selects by accuracy on the real training set, ``selection: best_on_real_train``.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols._augmentations import dsa

SUMMARY = "STM: SGD, the learned rates in turn and then x0.1, DSA on every batch"
SOURCE = "HaowenGuan/Galaxy-Dataset-Distillation utils.py:768-869, evaluate_synthetic_dataset.py"
VERSION = 1


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    return {
        "repeats": 5,
        "epochs": 1000,
        "lr": "learned",
        "schedule": "staged",
        "syn_steps": 50,
        "augmentation": dsa(facts),
    }
