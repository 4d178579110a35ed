"""DD-Ranking's LRS for D4M: an online teacher, CutMix.

ConvNet-3 on CIFAR, ResNet-18 with batch normalisation elsewhere.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols import _ddranking
from ddbench.protocols._real_data import family

SUMMARY = "DD-Ranking, D4M: online teacher, AdamW, 500 epochs (Tiny and ImageNet 300), CutMix"
SOURCE = "NUS-HPC-AI-Lab/DD-Ranking metrics/soft_label.py:495-612; protocol tables of branch eval"
VERSION = 1
ROLES = _ddranking.SOFT_ROLES
role_preset = _ddranking.role


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    if family(facts) == "cifar":
        return _ddranking.student(facts, network, epochs=500, batch_size=100)
    return _ddranking.student(facts, network, epochs=300, batch_size=1024)


def refine(facts: DatasetFacts, own: dict[str, Any], ipc: int | None) -> dict[str, Any]:
    """The one cell of the tables with another temperature."""
    return {"temperature": 30.0} if (facts.name, ipc) == ("cifar100", 1) else {}
