"""MTT (Cazenavette et al., CVPR 2022): as DSA, at the step size that was learned with the set.

FTD, TESLA and ATT are evaluated so, too, and every architecture takes the same learned rate. The
references report the best of many tests on the test set; here the last set counts unless the recipe
says otherwise.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols._augmentations import dsa

SUMMARY = "MTT: SGD at the learned rate, 1000 epochs, DSA on every batch"
SOURCE = "GeorgeCazenavette/mtt-distillation distill.py:186-224, utils.py:352-389"
VERSION = 1


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    return {"repeats": 5, "epochs": 1000, "lr": "learned", "augmentation": dsa(facts)}
