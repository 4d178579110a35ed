"""EDF (Wang et al., CVPR 2025), without distillation of knowledge: as DATM, DSA crops by a quarter.

Its ``--lr_net`` is ``lr``, its ``--dsa False`` is ``augmentation: none``. The configurations train
one network; five are trained here, because one has no spread.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols import datm
from ddbench.protocols._augmentations import dsa

SUMMARY = "EDF: as datm, DSA with shifts of up to a quarter"
SOURCE = "NUS-HPC-AI-Lab/EDF utils/utils_baseline.py:554-620"
VERSION = 1


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    shifted = dsa(facts, ratio_crop_pad=0.25)
    return datm.preset(facts, network) | {"augmentation": shifted}
