"""Which evaluation block a score was made by: told by its key.

A key can be compared but not read, and a file may hold scores of evaluations that came after its
recipe. So likely blocks are tried: the recipe's own and its protocol's preset, each under every
augmentation of DC-BENCH.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from ddbench import augment, networks, store
from ddbench.arms import Arm
from ddbench.augment import Augmentation
from ddbench.errors import BadInput
from ddbench.networks import Network
from ddbench.protocols import EvaluationSpec, canonical
from ddbench.recipe import Recipe
from ddbench.recipe_files import from_yaml

AUGMENTATIONS = ("none", "autoaug", "randaug", "imagenet_aug", "cifar_aug", "dsa")
"""DC-BENCH's, in the order of its table (justincui03/dc_benchmark ``evaluator_utils.py:175``)."""


def made_by(
    path: str, protocol: str, network: str, comparable: str, *, preset: bool = False
) -> Recipe | None:
    """The recipe of ``path`` with the evaluation block of a score, of its network alone.

    Args:
        path: the result file.
        protocol, network, comparable: of the score, as ``collect`` has them.
        preset: only the protocol's own numbers will do, under any augmentation.

    Returns:
        None where no block that is tried gives the key.
    """
    recipe = recipe_of(path)
    for net in _networks(recipe, network):
        for block in _blocks(recipe, canonical(protocol.partition("@")[0]), preset):
            with suppress(BadInput):  # what cannot be together is not what was run
                plan = block.plan(recipe.facts, net, ipc=recipe.ipc)
                if Arm(net, plan).key == comparable:
                    found = block.model_copy(update={"networks": [net]})
                    return recipe.model_copy(update={"evaluation": found})
    return None


def augmentation_text(recipe: Recipe) -> str:
    """The augmentation of a recipe with one evaluated network, with what is not its default."""
    ((_, plan),) = recipe.plans()
    if plan.augmentation is None:
        return "none"
    fields = plan.augmentation.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
    said = (name if value is True else f"{name} {value}" for name, value in fields.items())
    return ", ".join((plan.augmentation.name, *said))


@lru_cache(maxsize=4096)
def recipe_of(path: str) -> Recipe:
    """The recipe in a result file; raises ``BadInput`` as ``store.read_header``."""
    return from_yaml(str(store.read_header(Path(path)).attrs["recipe"]), file=path)


def _networks(recipe: Recipe, label: str) -> Iterator[Network]:
    """The architectures that a score may be of: the recipe's, or what its label names."""
    yield from (net for net in (*recipe.evaluated_networks, recipe.net) if net.label == label)
    with suppress(BadInput):
        yield networks.resolve(label)


def _blocks(recipe: Recipe, protocol: str, preset: bool) -> Iterator[EvaluationSpec]:
    own = recipe.evaluation
    how = {name: getattr(own, name) for name in ("tta", "precision", "deterministic")}
    bases = [EvaluationSpec(protocol=protocol, **how)]
    if own.protocol == protocol and not preset:
        bases.insert(0, own)
    for base in bases:
        yield base
        for augmentation in _augmentations(own):
            yield base.model_copy(update={"augmentation": augmentation})


def _augmentations(own: EvaluationSpec) -> Iterator[Augmentation | str | None]:
    """DC-BENCH's augmentations, per image and per batch, and the recipe's own."""
    yield own.augmentation
    for name in AUGMENTATIONS:
        family = augment.load(name) if name != "none" else None
        yield family(name=name) if family else name
        if family and "batchwise" in family.model_fields:
            yield family.model_validate({"name": name, "batchwise": True})
