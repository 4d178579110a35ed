"""Learning curves: what runs logged per iteration, and accuracies of their snapshots.

Axes: T logged iterations, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ddbench.arms import OWN
from ddbench.errors import BadInput
from ddbench.leaderboard.records import DONE
from ddbench.report.grouping import spread
from ddbench.report.plots import Axis, Panel, Plot, Series
from ddbench.scalars import stage_of
from ddbench.store.tree import open_tree

MAX_PANELS = 24
"""Sets whose curves are drawn; their logs are the only ones that are read."""
MAX_SCALARS = 12
"""Plots of one panel."""
POINTS = 300
"""Points of a curve; longer logs are averaged in blocks of iterations."""

Array = np.ndarray[Any, np.dtype[np.float64]]
Log = Mapping[str, Array]


def panels(frame: pd.DataFrame) -> tuple[list[Panel], list[str]]:
    """One panel per set that has a log or scored snapshots, and sentences on what is left out.

    Args:
        frame: of ``collect``.
    """
    done = frame[(frame["status"] == DONE) & (frame["role"] == OWN)]
    groups = [part for _, part in done.groupby(["dataset", "key"], sort=False)]
    iterated = [part for part in groups if _may_have_curves(part)]
    chosen = spread(iterated, [str(part["dataset"].iloc[0]) for part in iterated], MAX_PANELS)
    notes = []
    if len(chosen) < len(iterated):
        notes.append(f"Curves of {len(chosen)} of {len(iterated)} sets are shown.")
    found = []
    for part in chosen:
        panel, problems = _panel(part)
        notes += problems
        if panel is not None:
            found.append(panel)
    return found, notes


def _may_have_curves(part: pd.DataFrame) -> bool:
    """Whether the set was made in iterations, by its scores alone; opens no file."""
    return bool((part["iteration"] > 0).any())


def _panel(part: pd.DataFrame) -> tuple[Panel | None, list[str]]:
    first = part.iloc[0]
    title = f"{first['dataset']}, {first['title']}"
    if not pd.isna(first["ipc"]):
        title = f"{title}, IPC {first['ipc']}"
    title = f"{title} ({first['recipe']})"
    logs, problems = _logs(sorted(set(part["path"])))
    plots = [*_accuracy_plots(title, part), *_scalar_plots(title, logs)]
    if not plots:
        return None, problems
    notes = [] if len(plots) <= MAX_SCALARS else [f"{MAX_SCALARS} of {len(plots)} plots are shown."]
    if len(logs) > 1:
        notes.append(
            f"Lines: mean over {len(logs)} seeds; bands: one sample standard deviation (ddof 1)."
        )
    longest = max((len(log["iteration"]) for log in logs), default=0)
    if longest > POINTS:
        block = math.ceil(longest / POINTS)
        notes.append(f"Each point is the mean over {block} logged iterations.")
    return Panel(title, plots[:MAX_SCALARS], notes), problems


# --- logs --------------------------------------------------------------------------------------


def read_log(path: Path) -> dict[str, Array]:
    """The scalars of a run, float64 [T] each, ``iteration`` among them; empty without a log.

    Raises:
        BadInput: the file or its log is damaged.
    """
    with open_tree(path) as file:
        names = [name for name in file.paths() if name.startswith("log/")]
        return {
            name.removeprefix("log/"): np.asarray(file.leaf(name).value, np.float64)
            for name in names
        }


def _logs(paths: Sequence[str]) -> tuple[list[Log], list[str]]:
    """The logs that are there, and what is said of files that cannot be read."""
    logs: list[Log] = []
    problems: list[str] = []
    for path in paths:
        try:
            log = read_log(Path(path))
        except BadInput as error:
            problems.append(f"No curve of {path}: {error.problem}.")
            continue
        if len(log.get("iteration", ())) > 1:
            logs.append(log)
    return logs, problems


def _scalar_plots(title: str, logs: Sequence[Log]) -> Iterator[Plot]:
    """One plot per scalar, and one for all stages of a stage-wise scalar."""
    if not logs:
        return
    names = sorted(set.intersection(*(set(log) for log in logs)) - {"iteration"})
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        prefix, stage = stage_of(name) or (name, -1)
        groups.setdefault(prefix, []).append((stage, name))
    for prefix, members in groups.items():
        series = []
        for slot, (stage, name) in enumerate(sorted(members)):
            label = prefix if stage < 0 else f"stage {stage}"
            series.append(_curve(label, slot, logs, name))
        staged = any(stage >= 0 for stage, _ in members)
        what = f"{prefix} by stage" if staged else prefix
        yield Plot(
            "lines", f"{title}: {what}", Axis("Iteration"), Axis(prefix, log=_wide(series)), series
        )


def _curve(label: str, slot: int, logs: Sequence[Log], name: str) -> Series:
    """Mean over the seeds at the iterations that all of them logged, in at most ``POINTS`` blocks.

    A band of one standard deviation (ddof 1) where there are several seeds.
    """
    common = logs[0]["iteration"]
    for log in logs[1:]:
        common = np.intersect1d(common, log["iteration"])
    values_ST = np.stack([_at(log, name, common) for log in logs])
    size = max(1, math.ceil(len(common) / POINTS))
    x = _blocks(common, size)
    with np.errstate(invalid="ignore", over="ignore"):  # a loss that diverged is a gap
        blocks = np.stack([_blocks(values, size) for values in values_ST])
        mean = blocks.mean(0)
        if len(logs) == 1:
            return Series(label, x.tolist(), _finite(mean), slot=slot)
        std = blocks.std(0, ddof=1)
        low, high = _finite(mean - std), _finite(mean + std)
    return Series(label, x.tolist(), _finite(mean), low, high, slot=slot)


def _finite(values: Array) -> list[float]:
    """The values, NaN where they are not finite."""
    found: list[float] = np.where(np.isfinite(values), values, np.nan).tolist()
    return found


def _at(log: Log, name: str, iterations: Array) -> Array:
    order = np.argsort(log["iteration"], kind="stable")
    places = np.searchsorted(log["iteration"][order], iterations)
    return log[name][order][places]


def _blocks(values: Array, size: int) -> Array:
    """Means of consecutive blocks of ``size``, the last one maybe shorter."""
    if size == 1 or not len(values):
        return values
    starts = np.arange(0, len(values), size)
    return np.add.reduceat(values, starts) / np.diff([*starts, len(values)])


def _wide(series: Sequence[Series]) -> bool:
    """Whether positive values span more than two decades: then the axis is logarithmic."""
    values = [value for line in series for value in line.y if math.isfinite(value)]
    return bool(values) and min(values) > 0 and max(values) / min(values) > 100


# --- scored snapshots ----------------------------------------------------------------------------


def _snapshot_groups(part: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The scores of each evaluation of a set of which one seed has several iterations."""
    found = []
    keys = ["network", "evaluation_key", "used_features", "ensemble"]
    for (network, _, used, ensemble), rows in part.groupby(keys, sort=False):
        if rows.groupby("seed")["iteration"].nunique().max() > 1:
            name = f"{network}{' + F' if used else ''}{' (ensemble)' if ensemble else ''}"
            found.append((name, rows))
    return found


def _accuracy_plots(title: str, part: pd.DataFrame) -> Iterator[Plot]:
    """Accuracy against the iteration of the snapshot: mean over seeds of the mean over networks."""
    series = []
    for slot, (name, rows) in enumerate(_snapshot_groups(part)):
        sets = rows.groupby(["iteration", "seed"])["accuracy"].mean().mul(100)
        by_iteration = sets.groupby(level="iteration")
        mean, std = by_iteration.mean(), by_iteration.std(ddof=1)
        several = bool(std.notna().any())
        series.append(
            Series(
                name,
                [float(iteration) for iteration in mean.index],
                mean.tolist(),
                (mean - std.fillna(0)).tolist() if several else (),
                (mean + std.fillna(0)).tolist() if several else (),
                slot=slot,
            )
        )
    if series:
        yield Plot(
            "lines", f"{title}: accuracy of snapshots", Axis("Iteration"), Axis("Accuracy (%)"),
            series,
        )  # fmt: skip
