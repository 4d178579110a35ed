"""``ddbench check``: validate recipes and say what running them means."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ddbench.cli import _options

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.recipe import Recipe

HELP = "validate recipes; show keys, bytes, what is cached, estimates"
EXAMPLE = "ddbench check recipes/cifar10_dc_ipc10.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    what = "recipe file, shipped name, or folder of recipes; none with --schema"
    _options.add_recipes(parser, what=what, nargs="*")
    _options.add_results(parser)
    _options.add_json(parser)
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of recipes")


def run(args: argparse.Namespace) -> int:
    """Print one report per recipe."""
    if args.schema:
        from ddbench.schema import recipe_schema

        print(json.dumps(recipe_schema(), indent=2))
        return 0
    if not args.recipes:
        from ddbench.errors import BadInput

        raise BadInput("name at least one recipe, or --schema", field="RECIPE")
    results = _options.results_folder(args)
    reports = [(recipe, report(recipe, results)) for recipe in _options.read_recipes(args)]
    if args.json:
        print(json.dumps([data for _, data in reports], indent=2))
    else:
        print("\n\n".join(_text(recipe, data) for recipe, data in reports))
    return 0


def report(recipe: Recipe, results: Path) -> dict[str, Any]:
    """Everything ``check`` says of a recipe, as plain data: bytes, seconds, keys, paths."""
    from ddbench import datasets
    from ddbench.arms import recipe_arms
    from ddbench.estimates import estimate

    facts, size, costs = recipe.facts, recipe.size(), estimate(recipe)
    label = datasets.label(recipe.dataset)
    files = {
        seed: results / label / recipe.name / f"{recipe.key}-s{seed}.h5" for seed in recipe.seeds
    }
    per_image = 4 * facts.shape[0] * facts.shape[1] * facts.shape[2]
    return {
        "name": recipe.name,
        "key": recipe.key,
        "evaluations": [
            {"network": arm.network.label, "key": arm.key, "networks": arm.plan.repeats,
             "used_features": arm.features is not None, "epochs": arm.plan.epochs_run}
            for arm in recipe_arms(recipe)
        ],
        "jobs": [
            {"seed": seed, "file": str(path), "found": path.is_file()}
            for seed, path in files.items()
        ],
        "experts": [
            f"{spec.members} x {spec.network.label}, {spec.epochs} epochs on the real data"
            for spec in recipe.networks_needed()
        ],
        "bytes": {"images": size.images, "features": size.features, "labels": size.labels,
                  "total": size.total},
        "image_equivalents": (size.images + size.features) / per_image / facts.num_classes,
        "over_budget": _over_budget(recipe),
        "estimates": {
            "cpu_memory": costs.cpu_memory, "gpu_memory": costs.gpu_memory, "disk": costs.disk,
            "cpu_seconds": round(costs.cpu_seconds, 1), "gpu_seconds": round(costs.gpu_seconds, 1),
        },
        "published": [item.model_dump() for item in recipe.published],
    }  # fmt: skip


def _over_budget(recipe: Recipe) -> str | None:
    if recipe.features is None:
        return None
    item = recipe.features.item_shape(recipe.feature_network, recipe.facts.shape)
    return recipe.over_budget(recipe.features, item, recipe.facts.shape)


def _text(recipe: Recipe, data: dict[str, Any]) -> str:
    from ddbench.progress import clock

    human = _options.human
    size, costs = data["bytes"], data["estimates"]
    lines = [f"# {data['name']}: valid", recipe.to_yaml().rstrip(), "", f"key {data['key']}"]
    for row in data["evaluations"]:
        arm = "with F" if row["used_features"] else "without F"
        lines.append(
            f"evaluation {row['key']}: {row['networks']} x {row['network']} {arm}, "
            f"{row['epochs']} epochs"
        )
    lines += [f"experts: {text}" for text in data["experts"]]
    for job in data["jobs"]:
        lines.append(f"seed {job['seed']}: {job['file']} ({'found' if job['found'] else 'to do'})")
    lines.append(
        f"stores {human(size['total'])} (images {human(size['images'])}, F "
        f"{human(size['features'])}, labels {human(size['labels'])}) = "
        f"{data['image_equivalents']:.2f} images per class"
    )
    if data["over_budget"]:
        lines.append(f"warning: {data['over_budget']}")
    lines.append(
        f"estimates per seed: memory {human(costs['cpu_memory'])} on a CPU or "
        f"{human(costs['gpu_memory'])} on a GPU, disk {human(costs['disk'])}, time about "
        f"{clock(costs['cpu_seconds'])} here on the CPU or {clock(costs['gpu_seconds'])} on a GPU"
    )
    return "\n".join(lines)
