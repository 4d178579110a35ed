"""``ddbench cancel``: stop submitted runs and what waits for them."""

from __future__ import annotations

import argparse

from ddbench.cli import _options

HELP = "stop submitted runs and everything that waits for them"
EXAMPLE = "ddbench cancel digits_dc_ipc1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    _options.add_runs(parser)
    _options.add_results(parser)


def run(args: argparse.Namespace) -> int:
    """Cancel; what was finished stays, what was begun can be continued by ``retry``."""
    from ddbench.cluster import control

    done = control.cancel(_options.submitted_tasks(args), _options.results_folder(args))
    for state in done:
        print(f"{state.task.title}: cancelled (job {state.job or '-'})")
    if not done:
        print("nothing of it was waiting or running")
    return 0
