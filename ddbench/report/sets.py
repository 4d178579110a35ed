"""The synthetic sets behind a table: one file for each, that of the lowest seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ddbench.arms import OWN
from ddbench.leaderboard.cells import UPPER_BOUND
from ddbench.leaderboard.records import DONE


@dataclass(frozen=True)
class StoredSet:
    """A set as it lies in a file.

    Attributes:
        name: the method and IPC.
        recipe: its recipe, with the key where several sets of the dataset have that recipe's name.
        alone: whether no other set of the dataset has the same ``name``.
    """

    dataset: str
    name: str
    recipe: str
    alone: bool
    seed: int
    path: str

    @property
    def title(self) -> str:
        """What tells it from all other sets of the dataset."""
        return f"{self.name} ({self.recipe})"

    @property
    def short(self) -> str:
        """The same in as few words as possible."""
        return self.name if self.alone else self.title


def stored_sets(frame: pd.DataFrame) -> list[StoredSet]:
    """One set per dataset and key of the finished runs, of the lowest seed; by dataset and IPC."""
    done = frame[
        (frame["status"] == DONE) & (frame["role"] == OWN) & (frame["method"] != UPPER_BOUND)
    ]
    ordered = done.sort_values(["dataset", "ipc", "title", "recipe", "seed"], kind="stable")
    rows = ordered.drop_duplicates(["dataset", "key"]).to_dict(orient="records")
    names = Counter((row["dataset"], _name(row)) for row in rows)
    recipes = Counter((row["dataset"], row["recipe"]) for row in rows)
    return [
        StoredSet(
            dataset=str(row["dataset"]),
            name=_name(row),
            recipe=f"{row['recipe']} {row['key']}"
            if recipes[row["dataset"], row["recipe"]] > 1
            else str(row["recipe"]),
            alone=names[row["dataset"], _name(row)] == 1,
            seed=int(row["seed"]),
            path=str(row["path"]),
        )
        for row in rows
    ]


def _name(row: Mapping[Any, Any]) -> str:
    return f"{row['title']}{' + F' if row['has_features'] else ''}, IPC {row['ipc']}"
