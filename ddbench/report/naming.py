"""What the rows of a summary are called in plots, and which colour they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ddbench.leaderboard.signs import DAGGER
from ddbench.leaderboard.view import telling_columns


def labels(summary: pd.DataFrame) -> list[str]:
    """A name per row: the method with what tells it from others of its dataset, IPC and network."""
    telling = telling_columns(summary)
    return [_label(row, telling) for row in summary.to_dict(orient="records")]


def _label(row: Mapping[Any, Any], telling: list[str]) -> str:
    name = f"{row['name']} {DAGGER}" if row["test_selected"] else str(row["name"])
    return ", ".join([name, *(str(row[column]) for column in telling)])


def slots(labels: list[str]) -> dict[str, int]:
    """The slot (colour and symbol) of each name, in the order of the table."""
    return {name: slot for slot, name in enumerate(dict.fromkeys(labels))}
