"""``ddbench run``: execute recipes here."""

from __future__ import annotations

import argparse
import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.cli import _attempts, _options

if TYPE_CHECKING:
    from ddbench.recipe import Recipe
    from ddbench.standing import Shard

HELP = "run recipes here; skips what is done, resumes what was cut off"
EXAMPLE = "ddbench run recipes/digits_dc_ipc2.yaml --seeds 0,1"

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    _options.add_recipes(parser)
    _options.add_results(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:i")
    parser.add_argument("--stages", metavar="A,B", help="of experts,distill,label,evaluate")
    parser.add_argument("--shard", metavar="K/N", help="with --stages evaluate: part K of N of it")
    parser.add_argument("--toy", action="store_true", help="shrink the recipe to seconds")
    parser.add_argument("--verify", action="store_true", help="repeat finished runs, compare bits")
    parser.add_argument("--download", action="store_true", help="fetch missing public datasets")
    _options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run every recipe and seed; a failed one does not stop the others, being cut off does."""
    from ddbench.cli import EXIT_CUT_OFF

    _check_code()
    recipes, results, stages = list(_options.read_recipes(args)), *_settings(args)
    shard = _shard(args, stages)
    if args.toy:
        from ddbench import toy

        recipes = [toy.shrink(recipe, results) for recipe in recipes]
        results = toy.results_folder(results)
    told: list[_attempts.Entry] = []
    for recipe in recipes:
        for entry in _attempts.seeds(recipe, partial(_done, args, results, stages, shard, recipe)):
            told.append(entry)
            if entry["state"] == "cut off":
                _attempts.finish(told, as_json=args.json)
                return EXIT_CUT_OFF
    return _attempts.finish(told, as_json=args.json)


def _check_code() -> None:
    """In a job: whether this is the code that was submitted; raises ``BadInput``."""
    from ddbench.content import code_digest

    submitted = os.environ.get("DDBENCH_CODE")
    if not submitted or submitted == code_digest():
        return
    from ddbench import __version__
    from ddbench.errors import BadInput
    from ddbench.provenance import code_version

    commit = code_version()[:12] or "of no known commit"
    raise BadInput(
        f"this is ddbench code {code_digest()[:12]} ({__version__}, {commit}), submitted was "
        f"{submitted[:12]}", field="DDBENCH_CODE",
        allowed="the code that was submitted: rebuild the image or install the version that "
        "submits",
    )  # fmt: skip


def _settings(args: argparse.Namespace) -> tuple[Path, list[str]]:
    from ddbench.errors import unknown
    from ddbench.recipe import STAGES

    stages = list(STAGES) if args.stages is None else args.stages.split(",")
    for stage in stages:
        if stage not in STAGES:
            raise unknown("stage", stage, STAGES, field="--stages")
    return _options.results_folder(args), stages


def _shard(args: argparse.Namespace, stages: list[str]) -> Shard:
    from ddbench.errors import BadInput
    from ddbench.standing import WHOLE, Shard

    if args.shard is None:
        return WHOLE
    if args.verify:
        raise BadInput("a run is verified as a whole", field="--shard", allowed="no --verify")
    shard = Shard.parse(args.shard)
    shard.check(stages)
    return shard


def _done(
    args: argparse.Namespace,
    results: Path,
    stages: list[str],
    shard: Shard,
    recipe: Recipe,
    seed: int,
) -> dict[str, Any]:
    from ddbench import runner, verification
    from ddbench.errors import CutOff
    from ddbench.standing import is_done

    if args.verify:
        differing = verification.verify(recipe, seed, results, device=args.device)
        if differing:
            return {"state": "differs", "reason": "; ".join(differing[:5])}
        log.info("%s seed %d: bit-equal when repeated", recipe.name, seed)
        return {"state": "verified"}
    try:
        outcome = runner.run(
            recipe, seed, results, device=args.device, stages=stages, download=args.download,
            shard=shard,
        )  # fmt: skip
    except CutOff as error:
        return {"state": "cut off", "reason": str(error)}
    state = "found"
    if outcome.fresh:
        state = "done" if is_done(recipe, seed, results) else "stages done"
    path = str(outcome.path) if outcome.path.exists() else None
    log.info("%s seed %d: %s, %s", recipe.name, seed, state, path or "no result yet")
    return {"state": state, "path": path}
