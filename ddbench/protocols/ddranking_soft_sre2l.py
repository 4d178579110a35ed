"""DD-Ranking's LRS for SRe2L: an online teacher, MixUp on CIFAR, CutMix elsewhere.

Students and teachers are ResNet-18 with batch normalisation and a 3x3 stem (``resnet18_modified``),
torchvision's for ImageNet. The noise that the reference adds on Tiny ImageNet at IPC 50 is not.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols import _ddranking
from ddbench.protocols._augmentations import crop_flip
from ddbench.protocols._real_data import family

SUMMARY = "DD-Ranking, SRe2L: online teacher, AdamW, 400 epochs (ImageNet 300), MixUp or CutMix"
SOURCE = "NUS-HPC-AI-Lab/DD-Ranking metrics/soft_label.py:495-612; protocol tables of branch eval"
VERSION = 1
ROLES = _ddranking.SOFT_ROLES
role_preset = _ddranking.role


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    if family(facts) == "cifar":
        return _ddranking.student(
            facts, network, epochs=400, batch_size=256, temperature=30.0,
            augmentation=crop_flip(facts), mix={"name": "mixup", "alpha": 0.8},
        )  # fmt: skip
    epochs = 400 if family(facts) == "tiny" else 300
    return _ddranking.student(facts, network, epochs=epochs, batch_size=1024)
