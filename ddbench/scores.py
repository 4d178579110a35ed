"""The scores of one recipe in its result files, summed up for whoever just ran it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ddbench import ranking, store
from ddbench.arms import ENSEMBLE, OF_SET, recipe_arms
from ddbench.recipe import Recipe
from ddbench.store import EvaluationRecord, Header


def keys(recipe: Recipe) -> set[str]:
    """Evaluation keys of everything the recipe asks for."""
    return {key for arm in recipe_arms(recipe) for key in (arm.key, arm.ensemble_key)}


def of_recipe(recipe: Recipe, path: Path) -> list[dict[str, Any]]:
    """Per arm of the recipe, accuracies of its file as fractions: plain data."""
    groups: dict[tuple[str, str, bool, bool], list[EvaluationRecord]] = {}
    for record in _asked(store.read_header(path), recipe):
        ensemble = record.network_seed == ENSEMBLE
        group = (record.network, record.role, record.used_features, ensemble)
        groups.setdefault(group, []).append(record)
    return [
        {
            "network": network,
            "role": role,
            "with_features": features,
            "ensemble": ensemble,
            "accuracy": mean(record.accuracy for record in records),
            "std": stdev(r.accuracy for r in records) if len(records) > 1 else None,
            "networks": len(records),
            "lr": sorted({record.lr for record in records}),
        }
        for (network, role, features, ensemble), records in groups.items()
    ]


def rankings(found: Sequence[tuple[Recipe, Path]]) -> Iterator[str]:
    """DD-Ranking's scores, for protocols that have the baselines: a line per set and network.

    Files of one recipe are the seeds of one set, whose networks are the rounds of its scores.
    Different sets, and one set under different evaluations, are never put together.

    Args:
        found: recipes, each with a file that holds its scores.
    """
    groups: dict[_Group, dict[int, list[EvaluationRecord]]] = {}
    for recipe, path in found:
        header = store.read_header(path)
        group = (recipe.name, recipe.key, frozenset(keys(recipe)))
        groups.setdefault(group, {})[int(header.attrs["seed"])] = _marked(header, recipe)
    names = Counter(name for name, _, _ in groups)
    for (name, key, _), sets in groups.items():
        title = name if names[name] == 1 else f"{name} ({key})"
        for network in dict.fromkeys(r.network for records in sets.values() for r in records):
            of_network = {
                seed: [record for record in records if record.network == network]
                for seed, records in sets.items()
            }
            for line in ranking.lines(of_network):
                yield f"{title}, {network}: {line}"


_Group = tuple[str, str, frozenset[str]]
"""A recipe's name, the key of its set, and its evaluation keys."""


def _marked(header: Header, recipe: Recipe) -> list[EvaluationRecord]:
    """The recipe's scores; those of a set that was published for its test accuracy say so."""
    if not header.attrs.get("selected_on_test", False):
        return _asked(header, recipe)
    return [
        replace(r, selection=ranking.TEST_SELECTED) if r.role in OF_SET else r
        for r in _asked(header, recipe)
    ]


def _asked(header: Header, recipe: Recipe) -> list[EvaluationRecord]:
    wanted = keys(recipe)
    return [record for record in header.evaluations if record.evaluation_key in wanted]
