"""``ddbench logs``: what submitted runs wrote."""

from __future__ import annotations

import argparse
import json

from ddbench.cli import _options

HELP = "what a submitted run wrote, over all its starts"
EXAMPLE = "ddbench logs digits_dc_ipc1:0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    _options.add_runs(parser)
    _options.add_results(parser)
    parser.add_argument("--lines", type=_count, default=40, metavar="N", help="the last N of each")
    _options.add_json(parser)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of lines")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Print the end of each log; the worker's where a run never started."""
    from ddbench.cluster.diagnosis import log_tail

    told = [
        {"task": state.task.title, "state": state.state, "job": state.job, "log": str(state.log),
         "lines": log_tail(state.log, args.lines)}
        for state in _options.submitted_tasks(args)
    ]  # fmt: skip
    if args.json:
        print(json.dumps(told, indent=2))
        return 0
    for one in told:
        print(f"==> {one['task']}: {one['state']}, job {one['job'] or '-'}, {one['log']}")
        print("\n".join(one["lines"] or ["(nothing written yet)"]))
    return 0
