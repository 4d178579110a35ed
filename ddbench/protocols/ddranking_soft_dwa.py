"""DD-Ranking's LRS for DWA: an online teacher, CutMix, batches of 128; its row is ImageNet-1k."""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols import _ddranking

SUMMARY = "DD-Ranking, DWA: online teacher, AdamW, 300 epochs, CutMix, batch 128"
SOURCE = "NUS-HPC-AI-Lab/DD-Ranking metrics/soft_label.py:495-612; protocol tables of branch eval"
VERSION = 1
ROLES = _ddranking.SOFT_ROLES
role_preset = _ddranking.role


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    return _ddranking.student(facts, network, epochs=300, batch_size=128)
