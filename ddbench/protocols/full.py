"""Training on the whole training set: the upper bound of a table.

DD-Ranking's full-data recipes; for ConvNets SGD 0.01, momentum 0.9, weight decay 5e-4, batch 512,
x0.1 every 100 epochs, 200 epochs.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols._real_data import full_data

SUMMARY = "full data: SGD 0.01, 200 epochs, batch 512, x0.1 at epoch 100"
SOURCE = "NUS-HPC-AI-Lab/DD-Ranking utils/train_and_eval.py:15-98"
VERSION = 1


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    return {"repeats": 5, **full_data(facts, network)}
