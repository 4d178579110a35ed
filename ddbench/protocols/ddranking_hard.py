"""DD-Ranking's LRS for hard labels: the set, random images and the full data.

The rows of DSA, DM and MTT train under DSA; DC's say ``augmentation: none``.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols import _ddranking
from ddbench.protocols._augmentations import dsa

SUMMARY = "DD-Ranking, hard labels: SGD, 1000 epochs, x0.1 at 500, DSA, rate searched"
SOURCE = "NUS-HPC-AI-Lab/DD-Ranking metrics/hard_label.py:325-432; protocol tables of branch eval"
VERSION = 1
ROLES = _ddranking.HARD_ROLES
role_preset = _ddranking.role


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    return {**_ddranking.step(facts), "labels": "hard", "augmentation": dsa(facts)}
