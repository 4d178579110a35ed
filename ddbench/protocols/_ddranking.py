"""What DD-Ranking's protocols share (NUS-HPC-AI-Lab/DD-Ranking, branch ``eval``, and package).

Every rate is the best of five by test accuracy, as the package chooses it: such scores are marked.
Where it searches in every round, here one network per set searches for all. It scores the best
epoch; here the last one counts, and ``test_every: 10`` (hard labels) or 20 (the others) also stores
the best.
Published teachers are not shipped: ours are trained on the real data.
"""

from __future__ import annotations

from typing import Any

from ddbench.datasets import DatasetFacts
from ddbench.networks import Network
from ddbench.protocols._augmentations import rrc
from ddbench.protocols._real_data import full_data, teacher

HARD_ROLES = ("set", "random", "real")
SOFT_ROLES = ("set", "set_hard", "random", "real")
SEARCHED: dict[str, Any] = {"lr": "search"}
"""Of baselines whatever the recipe gives the set; what a search is judged by is the recipe's."""
SEARCH: dict[str, Any] = {**SEARCHED, "lr_chosen_on": "test"}
REAL_REPEATS = 1
"""A_real is one number per dataset and architecture."""

_HARD_LABELS: dict[str, Any] = {
    "labels": "hard", "loss": "ce", "temperature": 1.0, "scale_loss": False, "teacher": None,
    "mix": None, "augmentation": None,
}  # fmt: skip


def step(facts: DatasetFacts) -> dict[str, Any]:
    """The training of hard-label sets and DATM's: SGD, 1000 epochs, x0.1 at 500."""
    return {"repeats": 5, "epochs": 1000, "schedule": "step", "step_size": 500, **SEARCH}


def student(facts: DatasetFacts, network: Network, **fields: Any) -> dict[str, Any]:
    """The training of decoupled sets: AdamW with a half cosine towards an online teacher."""
    return {
        "repeats": 5, "optimizer": "adamw", "weight_decay": 0.01, "schedule": "half_cosine",
        "loss": "kl", "temperature": 20.0, "augmentation": rrc(facts),
        "mix": {"name": "cutmix", "alpha": 1.0}, "teacher": teacher(facts, network), **SEARCH,
        **fields,
    }  # fmt: skip


def role(name: str, facts: DatasetFacts, network: Network) -> dict[str, Any]:
    """The fields that make a baseline what it is.

    ``random``: the same protocol, its own search. ``set_hard``: the set's images with their classes
    alone. ``real``: the whole training part, without augmentation.
    """
    if name == "real":
        return {"repeats": REAL_REPEATS, **full_data(facts, network)}
    return SEARCHED | (_HARD_LABELS if name == "set_hard" else {})
