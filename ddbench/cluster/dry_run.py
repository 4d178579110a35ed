"""What ``submit --dry-run`` shows: the scripts and commands of a submission that is not made."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddbench.cluster import fitting, queueing, submitting
from ddbench.cluster.command import command
from ddbench.cluster.plan import Task
from ddbench.cluster.profile import Profile
from ddbench.cluster.records import Submission
from ddbench.cluster.worker import place_of
from ddbench.recipe import Recipe


def describe(
    recipes: Sequence[Recipe],
    results: Path,
    profile: Profile,
    *,
    command: Sequence[str],
    unchecked: bool = False,
) -> dict[str, Any]:
    """Per group its script, its tasks and the command of the first; nothing is written.

    Raises:
        BadInput: a recipe does not fit the profile.
    """
    fitting.check(recipes, profile, refuse=not unchecked)
    submission, plan, outcome = submitting.scripts(recipes, results, profile, command=command)
    groups = []
    for group in plan.groups:
        tasks = [plan.tasks[number] for element in group.elements for number in element]
        groups.append(
            {
                "group": group.number,
                "title": group.title,
                "jobs": len(group.elements),
                "script": queueing.script(submission, group)
                if profile.scheduler == "slurm"
                else "",
                "command": _command(submission, tasks[0]),
                "tasks": [task.title for task in tasks],
            }
        )
    return {"groups": groups, "done": outcome.done}


def _command(submission: Submission, task: Task) -> dict[str, Any]:
    """Arguments, and the variables that differ from the job's own."""
    header = submission.header
    inputs = [Path(path) for path in header.inputs.get(task.recipe, [])]
    place = place_of(submission, "$JOB", 0)
    words, variables = command(task, header.profile, place, {}, inputs=inputs)
    return {"arguments": words, "environment": variables}


def text(shown: dict[str, Any]) -> str:
    """As a person reads it."""
    lines = []
    for group in shown["groups"]:
        lines.append(f"=== group {group['group']}: {group['title']}, {group['jobs']} jobs")
        lines.append(group["script"].rstrip() or "# in the background on this machine")
        lines.append(f"\n# {group['tasks'][0]}")
        lines += [f"# {n}={v}" for n, v in sorted(group["command"]["environment"].items())]
        lines.append(shlex.join(group["command"]["arguments"]))
        if len(group["tasks"]) > 1:
            lines.append(
                f"# ... and {len(group['tasks']) - 1} more: {group['tasks'][-1]} is the last"
            )
        lines.append("")
    calls = sum(bool(group["script"]) for group in shown["groups"])
    jobs = sum(group["jobs"] for group in shown["groups"])
    how = f"{calls} calls of sbatch for {jobs} jobs" if calls else f"{jobs} jobs in the background"
    done = f"; {len(shown['done'])} runs are done already" if shown["done"] else ""
    return "\n".join([*lines, f"{how}{done}"])
