"""``ddbench compare``: two methods or runs against one another, in pairs."""

from __future__ import annotations

import argparse
import json

from ddbench.cli import _options

HELP = "paired comparison of two methods or runs: difference, interval, p"
EXAMPLE = "ddbench compare digits_dc_ipc2 digits_herding_ipc2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    what = "result file, folder of them, recipe's name, NAME:SEED, key, or method"
    parser.add_argument("a", metavar="A", help=what)
    parser.add_argument("b", metavar="B", help="likewise; as A: with F against without F")
    _options.add_results(parser)
    parser.add_argument("--networks", metavar="N,N", help="only these architectures")
    parser.add_argument("--alpha", type=float, default=0.05, metavar="P",
                        help="error that a verdict accepts (default: 0.05)")  # fmt: skip
    _options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the comparison."""
    from ddbench.leaderboard.compare import compare
    from ddbench.leaderboard.compare_text import text

    networks = [name for name in (args.networks or "").split(",") if name]
    found = compare(
        args.a, args.b, results=_options.results_folder(args), networks=networks, alpha=args.alpha
    )
    if args.json:
        print(json.dumps(found.data(), indent=2, allow_nan=False))
    else:
        print(text(found), end="")
    return 0
