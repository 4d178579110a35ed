"""Accuracy against what it costs: images per class, bytes, seconds of computing.

A plot holds rows that were tested alike (dataset, network, protocol, test-time augmentation), and
one against seconds only those of one device. Ensembles are left out, and so are earlier snapshots
of a set: what is known is the cost of the whole run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from ddbench.leaderboard.cells import UPPER_BOUND
from ddbench.leaderboard.view import human_bytes, ipc_text
from ddbench.report.grouping import grouped
from ddbench.report.naming import labels, slots
from ddbench.report.pareto import front
from ddbench.report.plots import Axis, Panel, Plot, Series

COSTS = {"ipc": "ipc", "bytes": "bytes", "seconds": "distill_seconds_per_set"}
"""What can be on the axis, and the column of the summary that holds it."""

MIN_SECONDS = 0.1
"""What takes less, as choosing real images does, is drawn here: the axis is logarithmic."""

_ALIKE = ("dataset", "network", "protocol", "tta")
"""Rows of one plot agree in these; training on the whole dataset, in the first two."""
_SET = ("dataset", "key")
_FRONT = (
    "The line is the Pareto front: nothing measured here is as accurate for less. Test-selected "
    "rows are not on it."
)
_HOLLOW = "Hollow: not ranked (too few seeds or networks, or selected on the test set)."
_UNLIKE = "Not all networks were trained alike: some recipes change settings of the protocol."
_BARS = "Bars: 95 % intervals, as in the table."

Row = Mapping[str, Any]
"""A row of the summary with its ``label``; sets also with ``early`` and, where known, ``cost``."""


def panels(summary: pd.DataFrame, cost: str) -> list[Panel]:
    """One panel per group of rows that were tested alike, those with most rows first.

    Args:
        cost: one of ``COSTS``.
    """
    named = summary.assign(label=labels(summary)).to_dict(orient="records")
    rows: list[Row] = [
        {str(name): value for name, value in row.items()}
        for row in named
        if row["measured"] and not row["ensemble"]
    ]
    ends = {place: max(map(_iteration, part)) for place, part in grouped(rows, _SET).items()}
    sets = [{**row, "early": _is_early(row, ends)} for row in rows if row["method"] != UPPER_BOUND]
    bounds = grouped((row for row in rows if row["method"] == UPPER_BOUND), _ALIKE[:2])
    slot = slots([str(row["label"]) for row in sets])
    alike = (*_ALIKE, "device") if cost == "seconds" else _ALIKE
    plots = [
        _plot(part, bounds.get(place[:2], []), cost, slot)
        for place, part in grouped(sets, alike).items()
    ]
    found = [Panel(plot.title, (plot,), plot.notes) for plot in plots if plot is not None]
    return sorted(found, key=lambda panel: -sum(len(s.x) for s in panel.plots[0].series))


def _iteration(row: Row) -> int:
    """The latest iteration of which the row has a snapshot."""
    return int(str(row["iterations"]).rsplit(", ", 1)[-1])


def _is_early(row: Row, ends: Mapping[tuple[Any, ...], int]) -> bool:
    """Whether the set was iterated further; choosing a snapshot by a rule takes the whole run."""
    return row["selection"] == "last" and _iteration(row) < ends[row["dataset"], row["key"]]


def _plot(
    part: Sequence[Row], bounds: Sequence[Row], cost: str, slot: Mapping[str, int]
) -> Plot | None:
    """The plot of one group, with training on the whole dataset; None where no cost is known."""
    final = [{**row, "cost": _cost(row, cost)} for row in part if not row["early"]]
    drawn = [row for row in final if row["cost"] > 0]
    if not drawn:
        return None
    first = part[0]
    tta = "" if first["tta"] == "none" else f" with {first['tta']}"
    title = f"{first['dataset']}, {first['network']}, protocol {first['protocol']}{tta}"
    if cost == "seconds":
        title = f"{title}, {first['device']}"
    series = [
        _series(name, rows, slot[name]) for (name,), rows in grouped(drawn, ("label",)).items()
    ]
    levels = [(str(row["label"]), row["accuracy_percent"]) for row in bounds]
    line = _front(drawn)
    notes = [
        *([_FRONT] if line else []),
        *_notes(drawn, cost),
        *_left_out(len(part) - len(final), "of an earlier snapshot: its own cost is not known"),
        *_left_out(len(final) - len(drawn), "without a known cost"),
    ]
    return Plot(
        "points", title, _axis(cost, str(first["device"])), Axis("Accuracy (%)"), series,
        line, levels, notes,
    )  # fmt: skip


def _cost(row: Row, cost: str) -> float:
    """What a row costs; NaN where it is not known."""
    value = row[COSTS[cost]]
    if pd.isna(value):
        return math.nan
    return max(float(value), MIN_SECONDS) if cost == "seconds" else float(value)


def _axis(cost: str, device: str) -> Axis:
    if cost == "ipc":
        return Axis("Images per class", log=True)
    if cost == "bytes":
        return Axis("Bytes stored", log=True)
    return Axis(f"{seconds_unit(device)} to make one set ({device})", log=True)


def seconds_unit(device: str) -> str:
    """What a second of computing is: ``GPU-seconds``, or of a CPU."""
    names = {name.strip().lower() for name in device.split(",")}
    if names == {"cpu"}:
        return "CPU-seconds"
    return "Seconds on several devices" if "cpu" in names else "GPU-seconds"


def _series(name: str, rows: Sequence[Row], slot: int) -> Series:
    """The rows of one name by rising cost."""
    rows = sorted(rows, key=lambda row: float(row["cost"]))
    return Series(
        name,
        [row["cost"] for row in rows],
        [row["accuracy_percent"] for row in rows],
        [row["interval_low_percent"] for row in rows],
        [row["interval_high_percent"] for row in rows],
        text=[_text(row) for row in rows],
        hollow=[not row["ranked"] for row in rows],
        slot=slot,
    )


def _text(row: Row) -> str:
    low, high = row["interval_low_percent"], row["interval_high_percent"]
    interval = "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    seconds = row["distill_seconds_per_set"]
    time = "" if math.isnan(seconds) else f", {seconds:.3g} s"
    return (
        f"{row['label']}, IPC {ipc_text(row)}: {row['accuracy_percent']:.2f} %{interval}, "
        f"{human_bytes(row['bytes'])}{time}"
    )


def _front(drawn: Sequence[Row]) -> list[tuple[float, float]]:
    """The front of all rows that were not selected on the test set, up to the highest cost."""
    fair = [(row["cost"], row["accuracy_percent"]) for row in drawn if not row["test_selected"]]
    kept = front([cost for cost, _ in fair], [value for _, value in fair])
    line = [fair[place] for place in kept]
    if line:
        line.append((max(row["cost"] for row in drawn), line[-1][1]))
    line = list(dict.fromkeys(line))
    return line if len(line) > 1 else []


def _left_out(count: int, what: str) -> list[str]:
    return [f"Not drawn: {count} {'row' if count == 1 else 'rows'} {what}."] if count else []


def _notes(drawn: Sequence[Row], cost: str) -> Iterator[str]:
    if any(not math.isnan(row["interval_low_percent"]) for row in drawn):
        yield _BARS
    if not all(row["ranked"] for row in drawn):
        yield _HOLLOW
    if any(
        len({row["comparable"] for row in part}) > 1 for part in grouped(drawn, ("ipc",)).values()
    ):
        yield _UNLIKE
    if cost == "seconds":
        yield (
            "Seconds of the method's iterations, by the clock. Choosing real images, networks "
            "trained beforehand and evaluation are not in them."
        )
        if any(row["cost"] <= MIN_SECONDS for row in drawn):
            yield f"What takes less than {MIN_SECONDS} s is drawn at {MIN_SECONDS} s."
