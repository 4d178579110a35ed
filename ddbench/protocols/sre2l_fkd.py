"""SRe2L (Yin et al., NeurIPS 2023): students of stored views, each with its teacher's logits.

The crop, flip and mix of every view are replayed from the set, so there is no augmentation here.
G-VBSM's loss is ``{loss: mse_gt, ce_weight: 0.1}``, its rows for CIFAR set the other fields.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network

SUMMARY = "SRe2L: AdamW 1e-3, 300 epochs on stored views, KL at temperature 20"
SOURCE = "VILA-Lab/SRe2L SRe2L/validate/train_FKD.sh, train_FKD.py:161-260"
VERSION = 1


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    return {
        "repeats": 5,
        "epochs": 300,
        "lr": 0.001,
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "weight_decay_on": "matrices",
        "batch_size": 1024,
        "schedule": "cosine_annealing",
        "loss": "kl",
        "temperature": 20.0,
        "needs": "views",
    }
