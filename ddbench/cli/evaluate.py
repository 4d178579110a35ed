"""``ddbench evaluate``: score any set, ours or foreign, across architectures."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.cli import _attempts, _foreign, _options

if TYPE_CHECKING:
    from ddbench.recipe import Recipe

HELP = "score any set, ours or foreign, across architectures"
EXAMPLE = "ddbench evaluate res_DC_MNIST_ConvNet_1ipc.pt --dataset mnist --protocol dc --repeats 4"

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("sets", nargs="+", type=Path, metavar="SET",
                        help="result file of ddbench, or anybody's published set")  # fmt: skip
    parser.add_argument("--dataset", metavar="D", help="name or fields of the dataset it is of")
    parser.add_argument("--networks", metavar="A,B", help="architectures (ddbench list networks)")
    parser.add_argument("--protocol", metavar="NAME", help="preset (ddbench list protocols)")
    parser.add_argument("--repeats", type=int, metavar="N", help="networks per set")
    parser.add_argument("--like", metavar="RECIPE", help="take dataset and evaluation from it")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="FIELD=VALUE",
        help="any other field, e.g. evaluation.epochs=100",
    )  # fmt: skip
    _options.add_results(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:i")
    _options.add_json(parser)
    _foreign.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Score every set; print the table of what was asked for."""
    from ddbench import reevaluation

    results, request = _options.results_folder(args), request_of(args)
    asked = [(path, reevaluation.recipe_for(path, request)) for path in args.sets]
    told = [
        (recipe, entry)
        for path, recipe in asked
        for entry in _attempts.seeds(recipe, partial(_scored, args.device, results, path, recipe))
    ]
    if not args.json:
        _print_table([(recipe, Path(entry["path"])) for recipe, entry in told if "path" in entry])
    return _attempts.finish([entry for _, entry in told], as_json=args.json)


def request_of(args: argparse.Namespace) -> Any:
    """The request that the arguments make."""
    from ddbench import recipe_files, reevaluation

    return reevaluation.Request(
        dataset=args.dataset,
        networks=[name for name in (args.networks or "").split(",") if name],
        protocol=args.protocol,
        repeats=args.repeats,
        like=recipe_files.read(args.like) if args.like else None,
        overrides=args.overrides,
        options=_foreign.options(args),
    )


def _scored(device: str, results: Path, path: Path, recipe: Recipe, seed: int) -> dict[str, Any]:
    from ddbench import reevaluation, runner, scores

    reevaluation.place(path, recipe, results)
    outcome = runner.run(recipe, seed, results, device=device)
    state = "done" if outcome.fresh else "found"
    log.info("%s seed %d: %s, %s", recipe.name, seed, state, outcome.path)
    rows = scores.of_recipe(recipe, outcome.path)
    return {"state": state, "path": str(outcome.path), "scores": rows}


def _print_table(found: Sequence[tuple[Recipe, Path]]) -> None:
    """The table of these recipes' scores, and what their protocols compare them with."""
    from ddbench import leaderboard, scores

    if not found:
        return
    asked = {(str(path), key) for recipe, path in found for key in scores.keys(recipe)}
    frame = leaderboard.collect([path for _, path in found])
    pairs = zip(frame["path"], frame["evaluation_key"], strict=True)
    frame = frame[[pair in asked for pair in pairs]]
    print(leaderboard.render(leaderboard.summarise(frame), "github"), end="")
    for line in scores.rankings(found):
        print(line)
