"""``ddbench retry``: submit again what failed, was cancelled or was lost."""

from __future__ import annotations

import argparse
import sys

from ddbench.cli import _options, submit

HELP = "submit again only what failed, was cancelled, was lost or was never queued"
EXAMPLE = "ddbench retry results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    _options.add_results_argument(parser)
    _options.add_cluster(parser, default=None)
    parser.add_argument("--wait", action="store_true", help="follow until all has ended")
    _options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Queue it with the profile of its submission, or with the one given."""
    from ddbench.cluster import control

    results = _options.results_folder(args)
    profile = _options.read_profile(args) if args.cluster or args.image else None
    outcomes = control.retry(results, profile, command=["ddbench", *sys.argv[1:]])
    if not outcomes:
        print("nothing failed", file=sys.stderr)
    return submit.report(outcomes, results, as_json=args.json, wait=args.wait)
