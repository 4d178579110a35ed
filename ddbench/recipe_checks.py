"""What has to hold between the fields of a recipe, beyond each field's own type and bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench import networks
from ddbench.datasets import DatasetFacts, DatasetSpec
from ddbench.errors import BadInput
from ddbench.features import FeatureSpec
from ddbench.networks import Network, Shape
from ddbench.protocols import Plan, parse_augmentation

if TYPE_CHECKING:
    from ddbench.recipe import Recipe


def check_together(recipe: Recipe) -> None:
    """Refuse fields that are each right and cannot be together; raises ``BadInput``."""
    facts = recipe.facts
    _check_depth(recipe.net, facts, "network")
    recipe.method.check(recipe.ipc, facts.smallest_class)
    _check_init(recipe, facts)
    _check_snapshots(recipe)
    for network in recipe.evaluated_networks:
        _check_depth(network, facts, "evaluation.networks")
    with_features = recipe.features is not None and recipe.evaluation.features.use != "without"
    for plan in recipe.every_plan():
        plan.check_runnable(with_features=with_features)
        _check_augmentation(plan, facts, recipe.dataset)
    if recipe.features is not None:
        _check_features(recipe, recipe.features, facts)


def _check_augmentation(plan: Plan, facts: DatasetFacts, dataset: DatasetSpec) -> None:
    if plan.augmentation is None:
        return
    try:
        plan.augmentation.uniforms(facts.shape)
    except ValueError as error:
        raise BadInput(str(error), field="evaluation.augmentation") from None
    if dataset.zca == "kip" and plan.augmentation.needs_pixels:
        raise BadInput(f"'{plan.augmentation.name}' works on pixels, which kip_zca does not keep",
                       field="evaluation.augmentation", allowed="none, dsa")  # fmt: skip


def _check_init(recipe: Recipe, facts: DatasetFacts) -> None:
    if recipe.init is not None and recipe.init.from_ not in recipe.method.inits:
        allowed = ", ".join(recipe.method.inits) or f"nothing: {recipe.method.name} gives x itself"
        raise BadInput(f"found '{recipe.init.from_}'", field="init.from", allowed=allowed)
    few = facts.smallest_class
    if recipe.init_name == "real" and few is not None and recipe.ipc > few:
        raise BadInput(
            f"found {recipe.ipc}, but the smallest class has {few} training images to start from",
            field="ipc", allowed=f"1 to {few} with init real",
        )  # fmt: skip


def _check_snapshots(recipe: Recipe) -> None:
    last = recipe.method.iterations_of(recipe.ipc)
    kept, rule = recipe.evaluation.snapshots, recipe.evaluation.selection
    if kept and kept[-1] >= last:
        raise BadInput(f"found {kept}", field="evaluation.snapshots",
                       allowed=f"iterations below {last}, the final one")  # fmt: skip
    if rule != "last" and not kept:
        raise BadInput(f"'{rule}' has only the final set to choose from",
                       field="evaluation.selection",
                       allowed="last, or list evaluation.snapshots")  # fmt: skip
    if rule == "best_on_validation" and recipe.dataset.validation is None:
        raise BadInput("needs a validation split", field="evaluation.selection",
                       allowed="best_on_validation with dataset.validation set")  # fmt: skip


def _check_features(recipe: Recipe, features: FeatureSpec, facts: DatasetFacts) -> None:
    method = recipe.method
    if not method.has_set:
        raise BadInput(f"method {method.name} has no synthetic set that F could label",
                       field="features", allowed="null")  # fmt: skip
    source = features.source
    if source == "matching" and not method.trains_on_synthetic:
        raise BadInput(
            f"'matching' cannot teach F with method {method.name}: no network trains on the "
            "synthetic set while it is made, so its loss does not contain F",
            field="features.source", allowed="init, second_stage",
        )  # fmt: skip
    if source == "second_stage":
        raise BadInput("'second_stage' is not built in this version", field="features.source",
                       allowed="init, matching")  # fmt: skip
    if features.update == "joint":
        raise BadInput("'joint' is not built for gradient matching in this version",
                       field="features.update", allowed="alternate")  # fmt: skip
    if not features.update_images and not method.inits:
        raise BadInput(f"false says nothing with method {method.name}, whose images never move",
                       field="features.update_images", allowed="true")  # fmt: skip
    if not features.update_images and recipe.init_name != "real":
        raise BadInput(
            f"false keeps x as initialised, which needs init real (found {recipe.init_name})",
            field="features.update_images", allowed="true, or init: {from: real}",
        )  # fmt: skip
    learned = recipe.feature_source == "matching" and features.learns
    if not features.update_images and not learned:
        raise BadInput("neither x nor F would be learned: this is method random",
                       field="features.update_images", allowed="true")  # fmt: skip
    if features.use == "best" and not learned:
        raise BadInput("'best' is told by the fit of a learned F", field="features.use",
                       allowed="mean, random")  # fmt: skip
    alone = recipe.ipc == 1 or features.granularity == "per_class"
    if features.contrast.weight > 0 and features.contrast.variant == "per_image" and alone:
        raise BadInput("contrast has no pairs: every class has one F",
                       field="features.contrast.weight", allowed="0")  # fmt: skip
    _check_feature_init(recipe, features, facts)
    try:
        item = features.item_shape(recipe.feature_network, facts.shape)
    except BadInput as error:
        raise error.at(prefix="features") from None
    if recipe.feature_source == "matching" and item != features.item_shape(recipe.net, facts.shape):
        raise BadInput(
            f"{recipe.feature_network.label} gives items {list(item)}, {recipe.net.label}, which "
            "trains on them, others", field="features.init.network", allowed="null",
        )  # fmt: skip
    _check_budget(recipe, features, item, facts.shape)


def _check_feature_init(recipe: Recipe, features: FeatureSpec, facts: DatasetFacts) -> None:
    init, method = features.init, recipe.method
    if init.source == "file" and not method.given:
        raise BadInput(f"'file' is F of an imported set; method {method.name} makes its own",
                       field="features.init.source", allowed="network, noise")  # fmt: skip
    if init.path is not None:
        raise BadInput("F of another file is not built in this version",
                       field="features.init.path", allowed="null, the set's own F")  # fmt: skip
    if init.network is not None:
        try:
            network = networks.resolve(init.network)
        except BadInput as error:
            raise BadInput(error.problem, field="features.init.network",
                           allowed=error.allowed) from None  # fmt: skip
        _check_depth(network, facts, "features.init.network")
    if init.augment is not None:
        try:
            parse_augmentation({"name": "dsa", "strategy": init.augment})
        except BadInput as error:
            raise BadInput(error.problem, field="features.init.augment",
                           allowed=error.allowed) from None  # fmt: skip


def _check_budget(recipe: Recipe, features: FeatureSpec, item: Shape, shape: Shape) -> None:
    over = recipe.over_budget(features, item, shape)
    if over is not None and features.budget.enforce == "error":
        raise BadInput(over, field="features.budget")


def _check_depth(network: Network, facts: DatasetFacts, field: str) -> None:
    """Refuse a network that is too deep for the images."""
    try:
        network.feature_shapes(facts.shape)
    except BadInput as error:
        raise error.at(prefix=field) from None
