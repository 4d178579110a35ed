"""``ddbench submit``: recipes as Slurm jobs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.cli import _options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddbench.cluster.profile import Profile
    from ddbench.cluster.submitting import Outcome
    from ddbench.recipe import Recipe

HELP = "run recipes as Slurm jobs (or in the background here); skips what is done or in work"
EXAMPLE = "ddbench submit recipes/cifar10_dc_ipc10.yaml --cluster slurm/single-gpu.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    _options.add_recipes(parser)
    _options.add_results(parser)
    _options.add_cluster(parser, default="single-gpu")
    parser.add_argument("--dry-run", action="store_true",
                        help="print scripts and commands; needs no Slurm")  # fmt: skip
    parser.add_argument("--wait", action="store_true", help="follow until all has ended")
    parser.add_argument("--no-check", action="store_true",
                        help="queue runs that by their estimates do not fit")  # fmt: skip
    _options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Queue what is left; with ``--wait`` 1 if anything failed."""
    from ddbench.cluster import submitting

    recipes, results = list(_options.read_recipes(args)), _options.results_folder(args)
    profile = _options.read_profile(args)
    words = ["ddbench", *sys.argv[1:]]
    if args.dry_run:
        return _dry_run(args, recipes, results, profile, words)
    outcome = submitting.submit(recipes, results, profile, command=words, unchecked=args.no_check)
    return report([outcome], results, as_json=args.json, wait=args.wait)


def report(outcomes: Sequence[Outcome], results: Path, *, as_json: bool, wait: bool) -> int:
    """Say what was queued; follow it where that is asked for."""
    told = [_told(outcome) for outcome in outcomes]
    if as_json and not wait:
        print(json.dumps(told, indent=2))
    for one in told if wait or not as_json else []:
        for line in _lines(one, results):
            print(line, file=sys.stderr if as_json else sys.stdout, flush=True)
    refused = [text for outcome in outcomes for text in outcome.refused]
    for text in refused:
        print(f"ddbench: not queued: {text}", file=sys.stderr)
    if refused:
        return 2
    if wait and any(outcome.submission or outcome.busy for outcome in outcomes):
        from ddbench.cli import status

        return status.follow(results, as_json=as_json)
    return 0


def _told(outcome: Outcome) -> dict[str, Any]:
    groups = outcome.submission.plan.groups if outcome.submission else []
    return {
        "submission": outcome.submission.id if outcome.submission else None,
        "groups": [
            {"title": group.title, "jobs": len(group.elements), "job": queued.job,
             "refused": queued.refused}
            for group, queued in zip(groups, outcome.queued, strict=True)
        ],
        "done": outcome.done,
        "busy": outcome.busy,
    }  # fmt: skip


def _lines(told: dict[str, Any], results: Path) -> list[str]:
    lines = [f"{title}: job {job} works on it" for title, job in told["busy"].items()]
    if told["done"]:
        lines.append(f"{len(told['done'])} runs are done already")
    if told["submission"] is None:
        return lines or ["nothing to do"]
    for group in told["groups"]:
        if group["job"]:
            lines.append(f"{group['title']}: job {group['job']}, {group['jobs']} in the array")
    where = "" if str(results) == "results" else f" {results}"
    return [*lines, f"submission {told['submission']}; 'ddbench status{where}' shows how far it is"]


def _dry_run(
    args: argparse.Namespace,
    recipes: Sequence[Recipe],
    results: Path,
    profile: Profile,
    words: Sequence[str],
) -> int:
    """Batch scripts, and the commands that their workers start."""
    from ddbench.cluster import dry_run

    shown = dry_run.describe(recipes, results, profile, command=words, unchecked=args.no_check)
    print(json.dumps(shown, indent=2) if args.json else dry_run.text(shown))
    return 0
