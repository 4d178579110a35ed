"""``ddbench check``: validate recipes and say what running them means."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from ddbench.cli import _options

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.cluster.profile import Profile
    from ddbench.protocols import TrainedOn
    from ddbench.recipe import Recipe

HELP = "validate recipes; show keys, bytes, what is cached, estimates"
EXAMPLE = "ddbench check recipes/cifar10_dc_ipc10.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    what = "recipe file, shipped name, or folder of recipes; none with --schema"
    _options.add_recipes(parser, what=what, nargs="*")
    _options.add_results(parser)
    _options.add_cluster(parser, default=None)
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
    profile = _options.read_profile(args) if args.cluster or args.image else None
    reports = [(recipe, report(recipe, results)) for recipe in _options.read_recipes(args)]
    jobs = _jobs([recipe for recipe, _ in reports], results, profile) if profile else None
    if args.json:
        data = [data for _, data in reports]
        print(json.dumps(data if jobs is None else {"recipes": data, "cluster": jobs}, indent=2))
    else:
        texts = [_text(recipe, data) for recipe, data in reports]
        print("\n\n".join([*texts, *([_jobs_text(jobs)] if jobs else [])]))
    for text in jobs["misfits"] if jobs else []:
        print(f"ddbench: does not fit {args.cluster}: {text}", file=sys.stderr)
    return 2 if jobs and jobs["misfits"] else 0


def _jobs(recipes: list[Recipe], results: Path, profile: Profile) -> dict[str, Any]:
    """What ``submit`` would queue with a profile, what it costs, and what cannot fit."""
    from ddbench.cluster import fitting, submitting

    _, plan, outcome = submitting.scripts(recipes, results, profile, command=[])
    left = {(task.name, task.key, task.seed) for task in plan.tasks}
    counted = [(r, sum((r.name, r.key, seed) in left for seed in r.seeds)) for r in recipes]
    costs = fitting.costs(counted, profile, results)
    return {
        "groups": [{"title": g.title, "jobs": len(g.elements)} for g in plan.groups],
        "done": len(outcome.done),
        "hours": costs.hours, "of": costs.unit, "disk": costs.disk, "free": costs.free,
        "misfits": [f"{recipe.name}: {found}" for recipe in recipes
                    for found in fitting.misfits(recipe, profile)],
    }  # fmt: skip


def _jobs_text(jobs: dict[str, Any]) -> str:
    human = _options.human
    arrays = ", ".join(f"{g['title']} x {g['jobs']}" for g in jobs["groups"]) or "none"
    lines = [
        f"# jobs: {arrays}; {jobs['done']} runs are done",
        f"about {jobs['hours']:.2g} {jobs['of']} hours and {human(jobs['disk'])} of results; "
        f"{human(jobs['free'])} are free",
    ]
    if jobs["disk"] > jobs["free"]:
        lines.append("warning: the results will not fit on the disk")
    return "\n".join(lines)


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
        "experts": [_expert(recipe, spec) for spec in recipe.networks_needed()],
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


def _expert(recipe: Recipe, spec: TrainedOn) -> str:
    """Networks trained beforehand, and for how many of the seeds they are in the cache."""
    from ddbench import experts

    keys = [experts.expert_key(recipe.dataset, spec, seed) for seed in recipe.seeds]
    cached = sum(map(experts.known, keys))
    what = f"{spec.members} x {spec.network.label}, {spec.epochs} epochs on the real data"
    return f"{what}, cached for {cached} of {len(keys)} seeds"


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
