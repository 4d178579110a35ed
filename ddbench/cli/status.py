"""``ddbench status``: how far submitted runs are."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.cli import _options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddbench.cluster.survey import Survey, TaskState

HELP = "state of every submitted run, with the reason where one failed"
EXAMPLE = "ddbench status results"
_EVERY = 2.0  # seconds between looks; Slurm is asked twice a look, whatever the number of jobs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    _options.add_results_argument(parser)
    parser.add_argument("--wait", action="store_true", help="follow until all has ended")
    _options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the states; 1 if a run failed, was cancelled or was lost."""
    from ddbench.cluster.survey import survey

    results = _options.results_folder(args)
    if args.wait:
        return follow(results, as_json=args.json)
    found = survey(results)
    print(json.dumps(_data(found), indent=2) if args.json else _text(found, results))
    return _code(found)


def follow(results: Path, *, as_json: bool) -> int:
    """Show the states until nothing lives any more."""
    from ddbench.cluster.survey import LIVE, survey

    shown, drawn = "", 0
    terminal = sys.stderr.isatty()
    while True:
        found = survey(results)
        text = _text(found, results, brief=not terminal)
        clear = f"\x1b[{drawn}A\x1b[J" if terminal and drawn else ""
        if not any(state.state in LIVE for state in found.tasks):
            print(clear, end="", file=sys.stderr, flush=True)
            break
        if text != shown:
            print(clear + text, file=sys.stderr, flush=True)
            shown, drawn = text, text.count("\n") + 1
        time.sleep(_EVERY)
    print(json.dumps(_data(found), indent=2) if as_json else _text(found, results))
    return _code(found)


def _code(found: Survey) -> int:
    from ddbench.cluster.survey import LIVE

    return 0 if all(state.state in (*LIVE, "done") for state in found.tasks) else 1


def _data(found: Survey) -> dict[str, Any]:
    return {"note": found.note, "tasks": [_entry(state) for state in found.tasks]}


def _entry(state: TaskState) -> dict[str, Any]:
    task = state.task
    return {
        "recipe": task.name, "key": task.key, "seed": task.seed, "stages": list(task.stages),
        "shard": task.shard or None, "state": state.state, "job": state.job,
        "restarts": state.restarts, "kind": state.kind, "detail": state.detail,
        "advice": state.advice, "updated": state.updated, "result": task.result,
        "log": str(state.log), "submission": state.submission.id,
    }  # fmt: skip


def _text(found: Survey, results: Path, *, brief: bool = False) -> str:
    """One line per run; ``brief``: only how many are in which state."""
    from ddbench.cluster.survey import runs

    if not found.tasks:
        return f"no submissions below {results}; 'ddbench submit' makes one"
    rows = [_row(states) for states in runs(found.tasks)]
    counts: dict[str, int] = {}
    for row in rows:
        counts[row[2]] = counts.get(row[2], 0) + 1
    summary = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    if brief:
        return summary
    heads = ("RUN", "STAGE", "STATE", "JOB", "STARTS", "DETAIL")
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(5)]
    lines = [
        " ".join([*(word.ljust(width) for word, width in zip(row, widths, strict=False)), row[5]])
        for row in (heads, *rows)
    ]
    tails = [line for states in runs(found.tasks) for line in _tail(states, results)]
    note = [f"note: {found.note}"] if found.note else []
    return "\n".join([*(line.rstrip() for line in lines), *tails, summary, *note])


def _current(states: Sequence[TaskState]) -> TaskState:
    """The task that says most of a run: a failed one, else the first that is not done."""
    bad = [s for s in states if s.state in ("failed", "lost", "not queued")]
    left = [s for s in states if s.state != "done"]
    return (bad or left or [states[-1]])[0]


def _row(states: Sequence[TaskState]) -> tuple[str, ...]:
    now = _current(states)
    stage = "+".join(now.task.stages) + (f" {now.task.shard}" if now.task.shard else "")
    detail = f"{now.kind}: {now.detail}" if now.kind else now.detail
    return (
        f"{now.task.name} seed {now.task.seed}", stage, now.state, now.job,
        str(now.restarts + 1) if now.updated else "-", detail,
    )  # fmt: skip


def _tail(states: Sequence[TaskState], results: Path) -> list[str]:
    """What a failed run wrote last, and what to do."""
    from ddbench.cluster.diagnosis import log_tail

    now = _current(states)
    if now.state != "failed":
        return []
    last = [f"    {line}" for line in log_tail(now.log, 5)]
    more = f"'ddbench logs {now.job} --results {results}' shows more"
    return [f"{now.task.title}: {now.advice}; {more}", *last]
