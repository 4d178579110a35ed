"""``ddbench logs``: what submitted runs wrote."""

from __future__ import annotations

import argparse

from ddbench.cli import _options

HELP = "what a submitted run wrote, over all its starts"
EXAMPLE = "ddbench logs digits_dc_ipc1:0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    _options.add_runs(parser)
    _options.add_results(parser)
    parser.add_argument("--lines", type=int, default=40, metavar="N", help="the last N (0 = all)")


def run(args: argparse.Namespace) -> int:
    """Print the end of each log."""
    from ddbench.cluster.diagnosis import log_tail

    for state in _options.submitted_tasks(args):
        path = state.submission.log(state.task.number)
        print(f"==> {state.task.title}: {state.state}, job {state.job or '-'}, {path}")
        lines = log_tail(path, args.lines or 10**9) if path.is_file() else ["(nothing written yet)"]
        print("\n".join(lines))
    return 0
