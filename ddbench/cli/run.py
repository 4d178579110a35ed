"""``ddbench run``: execute recipes here."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.cli import _options

if TYPE_CHECKING:
    from ddbench.recipe import Recipe

HELP = "run recipes here; skips what is done, resumes what was cut off"
EXAMPLE = "ddbench run recipes/digits_dc_ipc2.yaml --seeds 0,1"

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    _options.add_recipes(parser)
    _options.add_results(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:i")
    parser.add_argument("--stages", metavar="A,B", help="of experts,distill,label,evaluate")
    parser.add_argument("--toy", action="store_true", help="shrink the recipe to seconds")
    parser.add_argument("--verify", action="store_true", help="repeat finished runs, compare bits")
    parser.add_argument("--download", action="store_true", help="fetch missing public datasets")
    _options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run every recipe and seed; a failed one does not stop the others."""
    recipes, results, stages = list(_options.read_recipes(args)), *_settings(args)
    if args.toy:
        from ddbench import toy

        recipes = [toy.shrink(recipe, results) for recipe in recipes]
        results = toy.results_folder(results)
    failed, told = [], []
    for recipe in recipes:
        for seed in recipe.seeds:
            entry = _one(args, recipe, seed, results, stages)
            told.append(entry)
            if entry["state"] not in ("done", "found", "verified"):
                failed.append(f"{recipe.name} seed {seed}: {entry['reason']}")
    if args.json:
        print(json.dumps(told, indent=2))
    for line in failed:
        print(f"ddbench: failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def _settings(args: argparse.Namespace) -> tuple[Path, list[str]]:
    from ddbench.errors import unknown

    known = ("experts", "distill", "label", "evaluate")
    stages = args.stages.split(",") if args.stages else list(known)
    for stage in stages:
        if stage not in known:
            raise unknown("stage", stage, known, field="--stages")
    return _options.results_folder(args), stages


def _one(
    args: argparse.Namespace, recipe: Recipe, seed: int, results: Path, stages: list[str]
) -> dict[str, Any]:
    """Do one recipe and seed; what happened, as plain data."""
    from ddbench import runner, verification
    from ddbench.errors import RunFailed
    from ddbench.store import Locked

    entry: dict[str, Any] = {"recipe": recipe.name, "key": recipe.key, "seed": seed}
    try:
        if args.verify:
            differing = verification.verify(recipe, seed, results, device=args.device)
            if differing:
                return entry | {"state": "differs", "reason": "; ".join(differing[:5])}
            log.info("%s seed %d: bit-equal when repeated", recipe.name, seed)
            return entry | {"state": "verified"}
        outcome = runner.run(
            recipe, seed, results, device=args.device, stages=stages, download=args.download
        )
    except (RunFailed, Locked, MemoryError, OSError) as error:
        return entry | {"state": "failed", "reason": str(error) or type(error).__name__}
    state = "done" if outcome.fresh else "found"
    log.info("%s seed %d: %s, %s", recipe.name, seed, state, outcome.path)
    return entry | {"state": state, "path": str(outcome.path)}
