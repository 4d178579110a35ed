"""DD-Ranking's ARS: the set and random images, with the method's augmentation and without any.

The numbers are those of G-VBSM's script for ImageNet-1k: an online ensemble, CutMix, AdamW with a
half cosine. EDC's are ``{loss: mse_gt, mse_weight: 1.0, ce_weight: 0.025, lr: 0.001, batch_size:
100, augmentation: {name: rrc, scale: [0.5, 1], shuffle: 2}}`` with five teachers: torchvision's
``resnet18``, ``alexnet``, ``mobilenet_v2``, ``shufflenet_v2_x0_5`` and ``efficientnet_b0``.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols import _ddranking

SUMMARY = "DD-Ranking, ARS: online teachers, AdamW, 300 epochs, with and without augmentation"
SOURCE = "NUS-HPC-AI-Lab/DD-Ranking metrics/aug_robust.py:515-627; protocol tables of branch eval"
VERSION = 1
ROLES = ("set", "set_plain", "random", "random_plain")
TEACHERS = ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "efficientnet_b0"]
"""Torchvision's, for ImageNet-1k; other datasets take the student's architecture."""


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    fields = _ddranking.student(facts, network, epochs=300, batch_size=512)
    if facts.name == "imagenet1k":
        fields["teacher"] |= {"networks": [f"torchvision:{name}" for name in TEACHERS]}
    return fields


def role_preset(role: str, facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Without augmentation, images are neither changed nor mixed; random images are searched."""
    plain = {"augmentation": None, "mix": None} if role.endswith("_plain") else {}
    searched = _ddranking.SEARCHED if role.startswith("random") else {}
    return {**searched, **plain}
