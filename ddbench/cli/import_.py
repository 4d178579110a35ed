"""``ddbench import``: a foreign set as a result file of ours."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ddbench.cli import _foreign, _options

HELP = "a foreign set to our HDF5; refuses with the question where something is open"
EXAMPLE = "ddbench import images_best.pt --dataset cifar10 --space zca --lr 0.03 -o SET.h5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--dataset", required=True, metavar="D", help="name or fields of it")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="SET.h5",
                        help="file; several sets are numbered: SET-0.h5, ...")  # fmt: skip
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="FIELD=VALUE",
        help="a field of the stored recipe, e.g. features.lambda_reg=0.1",
    )  # fmt: skip
    _options.add_json(parser)
    _foreign.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Import every set; nothing is written before all of them are understood."""
    from ddbench import reevaluation, runner
    from ddbench.errors import BadInput

    request = reevaluation.Request(
        dataset=args.dataset, protocol="dc", overrides=args.overrides,
        options=_foreign.options(args),
    )  # fmt: skip
    for path in args.files:
        if reevaluation.is_ours(path):
            raise BadInput("is a ddbench result already", file=path)
    recipes = [reevaluation.foreign_recipe(path, request) for path in args.files]
    jobs = [(recipe, seed) for recipe in recipes for seed in recipe.seeds]
    targets = [args.output]
    if len(jobs) > 1:
        names = (f"{args.output.stem}-{index}{args.output.suffix}" for index in range(len(jobs)))
        targets = [args.output.with_name(name) for name in names]
    for target in targets:
        if target.exists():
            raise BadInput("exists already", file=target, field="-o")
    written: list[Path] = []
    try:
        for (recipe, seed), target in zip(jobs, targets, strict=True):
            runner.make(recipe, seed, target)
            written.append(target)
    except BaseException:
        for target in written:  # all or none
            target.unlink(missing_ok=True)
        raise
    if args.json:
        print(json.dumps([str(target) for target in targets], indent=2))
    else:
        print(*targets, sep="\n")
    return 0
