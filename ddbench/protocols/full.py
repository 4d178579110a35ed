"""Training on the whole training set: the upper bound of a table.

DD-Ranking's full-data recipe for ConvNets (NUS-HPC-AI-Lab/DD-Ranking ``train_and_eval.py:15-98``):
SGD 0.01, momentum 0.9, weight decay 5e-4, batch 512, x0.1 every 100 epochs, 200 epochs. Its other
rows belong to networks that come with their recipes; the epochs are in the recipe.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network

SUMMARY = "full data: SGD 0.01, 200 epochs, batch 512, x0.1 at epoch 100"


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    return {
        "repeats": 5,
        "epochs": 200,
        "lr": 0.01,
        "batch_size": 512,
        "schedule": "step",
        "step_size": 100,
    }
