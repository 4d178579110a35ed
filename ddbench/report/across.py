"""Accuracy of every method on every network, one heat map per dataset, IPC and protocol."""

from __future__ import annotations

import math

import pandas as pd

from ddbench.leaderboard.cells import UPPER_BOUND
from ddbench.report.naming import labels
from ddbench.report.plots import HeatMap


def heat_maps(summary: pd.DataFrame) -> list[HeatMap]:
    """Heat maps in the order of the table, of datasets and IPCs tested on two networks or more.

    A map holds sets that were tested alike: by one protocol, with one test-time augmentation. A
    cell is a row of the summary, never a mean of several: what differs has rows of its own.
    Training on the whole dataset is the last row of each of its dataset's maps.
    """
    if summary.empty:
        return []
    named = summary[summary["measured"].astype(bool)]
    named = named.assign(label=labels(named))
    maps = []
    for dataset, rows in named.groupby("dataset", sort=False):
        bound = rows[rows["method"] == UPPER_BOUND]
        for ipc, sets in rows[rows["method"] != UPPER_BOUND].groupby("ipc", sort=True):
            several = sets["protocol"].nunique() > 1
            for (protocol, tta), part in sets.groupby(["protocol", "tta"], sort=False):
                if part["network"].nunique() > 1:
                    title = f"{dataset}, IPC {ipc}"
                    title = f"{title}, protocol {protocol}" if several else title
                    title = title if tta == "none" else f"{title} with {tta}"
                    maps.append(_map(title, pd.concat([part, bound]) if len(bound) else part))
    return maps


def _map(title: str, part: pd.DataFrame) -> HeatMap:
    rows = list(dict.fromkeys(part["label"]))
    columns = sorted(set(part["network"]))
    places = list(zip(part["label"], part["network"], strict=True))
    means = dict(zip(places, part["accuracy_percent"], strict=True))
    spread = dict(zip(places, part["accuracy_std_percent"], strict=True))
    return HeatMap(
        title,
        rows,
        columns,
        [[means.get((row, column), math.nan) for column in columns] for row in rows],
        [[spread.get((row, column), math.nan) for column in columns] for row in rows],
    )
