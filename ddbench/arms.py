"""The arms of an evaluation: which architectures, on what, with F or without. Torch-free.

Used to score a set and, from the recipe alone, to know whether a stored file has all its scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ddbench.errors import BadInput
from ddbench.features import EvaluationFeatures, FeatureSpec
from ddbench.networks import Network, Shape
from ddbench.protocols import Plan
from ddbench.recipe import Recipe
from ddbench.spec import fingerprint

ENSEMBLE = -1
"""``network_seed`` of the row that scores the mean logits of all networks."""

OWN = "set"
OF_SET = (OWN, "set_hard", "set_plain")
BASELINES = ("random", "random_plain", "real")
"""Roles, what the networks of an arm are trained on:

- ``set``: the set under the protocol; the rows of every table;
- ``set_hard``: the same images with hard labels, never with F;
- ``random``: as many random real images per class under the protocol, others for every network;
- ``real``: the whole training set;
- ``set_plain``, ``random_plain``: as the ones without that word, but without augmentation.
"""


@dataclass(frozen=True)
class StoredFeatures:
    """F as a set has it: its settings and the shape [c, h, w] of one item."""

    spec: FeatureSpec
    item: Shape


@dataclass(frozen=True)
class Arm:
    """One architecture under one plan, with F (``features``, ``weight``) or without (None)."""

    network: Network
    plan: Plan
    features: FeatureSpec | None = None
    weight: float | None = None
    role: str = OWN

    @property
    def key(self) -> str:
        """The evaluation key: plan, architecture, lambda, role."""
        role = [] if self.role == OWN else [self.role]
        return fingerprint([self.plan.key(self.weight), self.network.identity(), *role])

    @property
    def ensemble_key(self) -> str:
        """The key of the ensemble's row, which depends on how many networks there are."""
        return fingerprint([self.key, self.plan.repeats])

    @property
    def comparable_key(self) -> str:
        """The key of the same arm without F: arms of one key are trained and tested alike."""
        return self._plain.key

    @property
    def comparable_ensemble_key(self) -> str:
        """The ensemble's key of the same arm without F."""
        return self._plain.ensemble_key

    @property
    def _plain(self) -> Arm:
        return replace(self, features=None, weight=None)


def arms_of(
    stored: StoredFeatures | None,
    network: Network,
    plan: Plan,
    how: EvaluationFeatures,
    shape: Shape,
) -> list[Arm]:
    """The arms of one architecture. Where its map has another shape than F it is trained without.

    Raises:
        BadInput: F does not fit the network and ``on_mismatch`` is error.
    """
    plain = Arm(network, plan)
    if stored is None or how.use == "without":
        return [plain]
    try:
        found: Shape | None = stored.spec.item_shape(network, shape)
    except BadInput:
        found = None
    if found != stored.item:
        if how.on_mismatch == "error":
            gives = "no such layer" if found is None else f"items {list(found)}"
            raise BadInput(
                f"F has items {list(stored.item)}, {network.label} gives {gives}",
                field="evaluation.features.on_mismatch", allowed="skip, to train it without F",
            )  # fmt: skip
        return [plain]
    weight = stored.spec.lambda_reg if how.lambda_ is None else how.lambda_
    with_features = Arm(network, plan, stored.spec, weight)
    return [with_features, plain] if how.use == "both" else [with_features]


def recipe_arms(recipe: Recipe) -> list[Arm]:
    """All arms that a recipe's evaluation asks for; those of role ``set`` before the others."""
    arms = [arm for network in recipe.evaluated_networks for arm in _network_arms(recipe, network)]
    return sorted(arms, key=lambda arm: arm.role != OWN)


def _network_arms(recipe: Recipe, network: Network) -> Iterator[Arm]:
    facts, how = recipe.facts, recipe.evaluation
    stored = None
    if recipe.features is not None:
        item = recipe.features.item_shape(recipe.feature_network, facts.shape)
        stored = StoredFeatures(recipe.features, item)
    for role in how.roles if recipe.method.has_set else (OWN,):  # the full data compare no set
        plan = how.plan(facts, network, role, ipc=recipe.ipc)
        if role in BASELINES:  # no snapshot is chosen
            plan = plan.model_copy(update={"selection": "last", "candidates": []})
        known = stored if role in (OWN, "set_plain") else None
        for arm in arms_of(known, network, plan, how.features, facts.shape):
            yield replace(arm, role=role)
