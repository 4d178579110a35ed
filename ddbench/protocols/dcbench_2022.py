"""DC-BENCH (Cui et al., NeurIPS 2022): SGD 0.01, 300 epochs, or 1000 under any augmentation.

Without an augmentation of the recipe's own this is its column "no aug"; ``augmentation: dsa``,
``autoaug`` (with ImageNet's policy on Tiny ImageNet), ``randaug``, ``imagenet_aug`` and
``cifar_aug`` are its others. Its option ``--optimizer adam`` is ``{optimizer: adam, lr: 0.003,
schedule: constant}``.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network

SUMMARY = "DC-BENCH: SGD 0.01, 300 epochs, 1000 with augmentation"
SOURCE = "justincui03/dc_benchmark evaluator/evaluator.py:40-98, evaluator_utils.py:80-103"
VERSION = 1


def preset(facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """Fields of the plan for one dataset and network."""
    return {"repeats": 5, "epochs": 300, "lr": 0.01}


def refine(facts: DatasetFacts, own: dict[str, Any], ipc: int | None) -> dict[str, Any]:
    """More epochs under augmentation (``evaluator.py:53-73``)."""
    return {"epochs": 1000} if own.get("augmentation", "none") != "none" else {}
