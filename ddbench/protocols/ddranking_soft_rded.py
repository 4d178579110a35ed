"""DD-Ranking's LRS for RDED: an online teacher, CutMix, AdamW at 0.001, small batches.

Crops of at least 1/f of the area after shuffling the f x f patches that an image is made of: f = 2
for ImageNet and its subsets, else 1, where the crop is the whole image. Students are ConvNets with
batch normalisation, ResNet-18 for ImageNet; the constants are ImageNet's (``constants: rded``).
Batches depend on the dataset and IPC; an IPC between two of the table takes the lower one's.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols import _ddranking
from ddbench.protocols._augmentations import rrc
from ddbench.protocols._real_data import family

SUMMARY = "DD-Ranking, RDED: online teacher, AdamW 0.001, 300 epochs, CutMix, small batches"
SOURCE = "NUS-HPC-AI-Lab/DD-Ranking metrics/soft_label.py:495-612; protocol tables of branch eval"
VERSION = 1
ROLES = _ddranking.SOFT_ROLES
BATCHES = {"cifar100": (20, 50, 200), "tinyimagenet": (100, 100, 200), "imagenet1k": (20, 100, 200)}
"""At IPC 1, 10, 50; CIFAR-10's serves for the others."""
OTHERS = (10, 50, 100)
role_preset = _ddranking.role


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    factor = 2 if family(facts) == "imagenet" else 1
    augmentation = rrc(facts, 1 / factor) | ({"shuffle": factor} if factor > 1 else {})
    return _ddranking.student(
        facts, network, epochs=300, lr=0.001, batch_size=100, augmentation=augmentation
    )


def refine(facts: DatasetFacts, own: dict[str, Any], ipc: int | None) -> dict[str, Any]:
    """The batch size of an IPC; without one, that of 10."""
    small, middle, large = BATCHES.get(facts.name, OTHERS)
    count = 10 if ipc is None else ipc
    return {"batch_size": large if count >= 50 else middle if count >= 10 else small}
