"""What a recipe says of every score in its files; told once, however many files share its text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from ddbench import datasets
from ddbench.arms import OF_SET, OWN, Arm, recipe_arms
from ddbench.features.budget import BYTES_OF, SetSize
from ddbench.recipe import Recipe
from ddbench.store import Header

Row = dict[str, object]

DIVISIONS: Mapping[str, str] = {
    "hard": "hard labels",
    "soft": "stored soft labels",
    "teacher": "online teacher",
    "features": "with F",
}
"""What networks learn from besides the images; each is ranked on its own."""


@dataclass(frozen=True)
class Scored:
    """What tells apart the scores of one file, apart from seeds.

    Attributes:
        ensemble: whether the mean logits of all networks were scored.
    """

    network: str
    ensemble: bool
    evaluation_key: str
    comparable_key: str
    used_features: bool
    role: str
    teacher: str
    teacher_bytes: float


class RecipeFacts:
    """The columns that follow from a recipe, for the files made by it."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._facts = recipe.facts
        self.shared: Row = {
            "dataset": datasets.label(recipe.dataset),
            "recipe": recipe.name,
            "method": recipe.method.name,
            "title": recipe.method.heading,
            "ipc": recipe.ipc if recipe.method.has_set else None,
            "has_features": recipe.features is not None,
            "fixed_images": recipe.fixed_images,
            "features": _features_text(recipe),
            "test_size": self._facts.test_size,
        }

    def of(self, scored: Scored, header: Header) -> Row:
        """Kind, division, bytes and the published number of scores."""
        division = self._division(scored, header)
        return {
            "comparable": scored.comparable_key or self._comparable(scored),
            "division": division,
            "ensemble": scored.ensemble,
            "as_recipe": scored.evaluation_key in self._arms,
            **self._bytes(scored, header, division),
            **self._published(scored),
        }

    # --- how it was trained -------------------------------------------------------------------

    @cached_property
    def _arms(self) -> dict[str, Arm]:
        """The recipe's arms by their evaluation keys, as this version makes them."""
        arms = recipe_arms(self._recipe)
        return {key: arm for arm in arms for key in (arm.key, arm.ensemble_key)}

    def _comparable(self, scored: Scored) -> str:
        """The comparable key of a file that does not record it."""
        arm = self._arms.get(scored.evaluation_key) if scored.used_features else None
        if arm is None:
            return scored.evaluation_key
        return arm.comparable_ensemble_key if scored.ensemble else arm.comparable_key

    def _division(self, scored: Scored, header: Header) -> str:
        if scored.used_features:
            return "features"
        if scored.teacher:
            return "teacher"
        soft = header.has_views or header.label_kind not in (None, "index")
        return "soft" if soft and not self._hardened(scored) else "hard"

    def _hardened(self, scored: Scored) -> bool:
        """Whether the protocol keeps only the classes of soft labels."""
        if scored.role == "set_hard":
            return True
        arm = self._arms.get(scored.evaluation_key)
        plan = arm.plan if arm else self._recipe.plans()[0][1]
        return plan.labels == "hard"

    # --- bytes --------------------------------------------------------------------------------

    def _bytes(self, scored: Scored, header: Header, division: str) -> Row:
        """Storage that a score needs: who trains without F does not store it, a teacher is stored.

        A recipe tells the size of a set that it makes; an imported one's is in the file.
        """
        if scored.role not in OF_SET:
            return dict.fromkeys(_BYTES, float("nan"))
        parts = self._parts(header)
        if division == "hard" and (header.label_bytes or header.has_views):
            parts |= {"labels": self._size.labels, "views": 0}
        features = parts["features"] if scored.used_features else 0
        labels = parts["labels"] + parts["views"]
        image = BYTES_OF["float32"] * prod(self._facts.shape)
        return {
            "bytes": float(parts["images"] + labels + features + scored.teacher_bytes),
            "image_bytes": float(parts["images"]),
            "label_bytes": float(labels),
            "feature_bytes": float(features),
            "teacher_bytes": float(scored.teacher_bytes),
            "image_equivalents": (parts["images"] + features) / image / self._facts.num_classes,
        }

    def _parts(self, header: Header) -> dict[str, float]:
        """Bytes of the whole set as it is stored."""
        if "set_bytes" in header.attrs:
            return {"views": 0, **json.loads(str(header.attrs["set_bytes"]))}
        size = self._size
        return {
            "images": size.images,
            "labels": header.label_bytes or size.labels,
            "features": size.features,
            "views": header.view_bytes,
        }

    @cached_property
    def _size(self) -> SetSize:
        return self._recipe.size()

    # --- published numbers --------------------------------------------------------------------

    def _published(self, scored: Scored) -> Row:
        """The first published number, on the rows of the cell that it is of.

        That is the recipe's own network (where it is evaluated), trained and tested as the recipe
        says, with F if the recipe has F.
        """
        cells = self._recipe.published
        own = scored.role == OWN and not scored.ensemble and scored.evaluation_key in self._arms
        if not cells or not own or (scored.network, scored.used_features) != self._published_arm:
            return dict.fromkeys(("published_accuracy", "published_std", "published_source"))
        return {
            "published_accuracy": cells[0].accuracy,
            "published_std": cells[0].std,
            "published_source": cells[0].source,
        }

    @cached_property
    def _published_arm(self) -> tuple[str, bool]:
        recipe = self._recipe
        names = [network.label for network in recipe.evaluated_networks]
        network = recipe.net.label if recipe.net.label in names else names[0]
        features = recipe.features is not None and recipe.evaluation.features.use != "without"
        return network, features


def is_within(difference: float, std: float) -> bool:
    """Whether a difference is at most a standard deviation, both in points.

    Not by the rounding error of a difference of percentages: 50.1 is within 50.0 +- 0.1.
    """
    return round(abs(difference) - std, 9) <= 0


_BYTES = (
    *("bytes", "image_bytes", "label_bytes", "feature_bytes", "teacher_bytes"),
    "image_equivalents",
)


def _features_text(recipe: Recipe) -> str:
    """For example ``matching, channel per_image, lambda 0.01``; empty without F."""
    spec = recipe.features
    if spec is None:
        return ""
    own = recipe.evaluation.features.lambda_
    weight = spec.lambda_reg if own is None else own
    return f"{recipe.feature_source}, {spec.item} {spec.granularity}, lambda {weight:g}"
