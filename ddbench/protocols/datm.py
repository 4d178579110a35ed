"""DATM (Guo et al., ICLR 2024): as MTT with batches of 128 and the soft labels of the set.

Cross-entropy on softmax(y). The best set is evaluated five times (author, DATM issues 3 and 5);
whitening belongs to the dataset.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols import mtt

SUMMARY = "DATM: as mtt with the set's soft labels, batch 128"
SOURCE = "NUS-HPC-AI-Lab/DATM utils/utils_baseline.py:415-530, distill/DATM.py:255-260"
VERSION = 1


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    return mtt.preset(facts, network) | {"batch_size": 128}
