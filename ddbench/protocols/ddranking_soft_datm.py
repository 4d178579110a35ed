"""DD-Ranking's LRS for DATM: stored soft labels, DSA also with hard ones, whitened data.

Random images are labelled once: by the recipe's teacher, else by one of the student's architecture.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols import _ddranking
from ddbench.protocols._augmentations import dsa
from ddbench.protocols._real_data import teacher

SUMMARY = "DD-Ranking, DATM: stored soft labels, SGD, 1000 epochs, x0.1 at 500, DSA"
SOURCE = "NUS-HPC-AI-Lab/DD-Ranking metrics/soft_label.py:495-612; protocol tables of branch eval"
VERSION = 1
ROLES = _ddranking.SOFT_ROLES


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    return {**_ddranking.step(facts), "loss": "sce", "augmentation": dsa(facts)}


def role_preset(role: str, facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of a role; see ``_ddranking.role``."""
    fields = _ddranking.role(role, facts, network)
    return fields | {"augmentation": dsa(facts)} if role == "set_hard" else fields


def role_teacher(role: str, facts: DatasetFacts, network: Network) -> dict[str, Any] | None:
    """Random images have no soft labels of their own."""
    return {**teacher(facts, network), "labels": "per_image"} if role == "random" else None
