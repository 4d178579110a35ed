"""DC (Zhao et al., ICLR 2021): the protocol of plain gradient matching.

SGD 0.01, momentum 0.9, weight decay 5e-4, batch 256, 300 + 1 epochs, x0.1 after epoch index 151.
MNIST networks and batch-norm ConvNets train 1000 + 1 epochs under DC's own augmentation. The epochs
are the dataset's and the network's: another ``augmentation`` of the recipe leaves them.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network

SUMMARY = "DC: SGD 0.01, 300 epochs, no augmentation (MNIST and BN nets: 1000 with DC's)"
SOURCE = "VICO-UoE/DatasetCondensation main.py:107-133, utils.py:337-383"
VERSION = 1


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    strategy = None
    if facts.name == "mnist":
        strategy = "crop_scale_rotate"
    if network.batch_norm and network.name.startswith("ConvNet"):
        strategy = "crop_noise"
    augmentation = {"name": "dc", "strategy": strategy} if strategy else None
    return {
        "repeats": 20,
        "epochs": 1000 if strategy else 300,
        "lr": 0.01,
        "augmentation": augmentation,
    }
