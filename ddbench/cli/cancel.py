"""``ddbench cancel``: stop submitted runs and what waits for them."""

from __future__ import annotations

import argparse
import json

from ddbench.cli import _options

HELP = "stop submitted runs and everything that waits for them"
EXAMPLE = "ddbench cancel digits_dc_ipc1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    _options.add_runs(parser)
    _options.add_results(parser)
    _options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Cancel; what was finished stays, what was begun can be continued by ``retry``."""
    from ddbench.cluster import control

    done = control.cancel(_options.submitted_tasks(args), _options.results_folder(args))
    if args.json:
        print(json.dumps([{"task": s.task.title, "job": s.job} for s in done], indent=2))
        return 0
    for state in done:
        print(f"{state.task.title}: cancelled (job {state.job or '-'})")
    if not done:
        print("nothing of it was waiting or running")
    return 0
