"""How networks are trained on real data: full-data baselines, and teachers.

Full data: NUS-HPC-AI-Lab/DD-Ranking ``utils/train_and_eval.py:15-98``, without augmentation. It has
no entry for Tiny ImageNet with ConvNet-4 though its configurations ask for it: the entry of
ConvNet-4-BN serves both. Teachers: VILA-Lab/SRe2L ``*small_dataset/squeeze_cifar.py:40-86`` and
zeyuanyin/tiny-imagenet ``script/train_rn18.sh`` for residual networks; ConvNets as full data.
"""

from __future__ import annotations

from typing import Any, Literal

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols._augmentations import crop_flip, rrc

Family = Literal["cifar", "tiny", "imagenet"]


def family(facts: DatasetFacts) -> Family:
    """Which rows of the papers' tables a dataset takes: by its images, not by its classes."""
    if facts.shape[1] <= 32:
        return "cifar"
    return "tiny" if facts.name == "tinyimagenet" else "imagenet"


def is_convnet(network: Network) -> bool:
    """Whether a network is of the family that DD-Ranking's ConvNet entries are for."""
    return network.identity().get("family") == "convnet"


def full_data(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of a training on the whole training part."""
    sgd = {"lr": 0.01, "batch_size": 512, "schedule": "step"}
    if facts.name == "imagenet1k":
        return sgd | {"lr": 0.1, "weight_decay": 1e-4, "epochs": 90, "step_size": 30}
    if facts.name == "tinyimagenet" and not is_convnet(network):
        return sgd | {
            "epochs": 100, "optimizer": "adamw", "weight_decay": 0.01, "schedule": "half_cosine",
        }  # fmt: skip
    if facts.name == "tinyimagenet":
        return sgd | {"epochs": 100, "step_size": 50}
    return sgd | {"epochs": 200, "step_size": 100}


def teacher(facts: DatasetFacts, network: Network | None = None) -> dict[str, Any]:
    """Fields of teachers in place of the published weights, which are not shipped.

    ``network`` None: residual networks and the like.
    """
    if network is not None and is_convnet(network):
        return full_data(facts, network)
    if facts.name == "imagenet1k":  # torchvision's recipe, which its published weights come from
        return {
            "epochs": 90, "lr": 0.1, "weight_decay": 1e-4, "batch_size": 256, "schedule": "step",
            "step_size": 30, "augmentation": rrc(facts),
        }  # fmt: skip
    if family(facts) == "cifar":
        return {
            "epochs": 200, "lr": 0.1, "schedule": "cosine_annealing",
            "augmentation": crop_flip(facts),
        }  # fmt: skip
    return {
        "epochs": 50, "lr": 0.2, "weight_decay": 1e-4, "batch_size": 256,
        "schedule": "cosine_annealing", "warmup": 5, "augmentation": rrc(facts),
    }  # fmt: skip
