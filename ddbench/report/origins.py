"""Where the rows of a table come from: recipe, key, seeds, versions, machine, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ddbench.arms import OWN
from ddbench.leaderboard.records import DONE
from ddbench.leaderboard.section import Section
from ddbench.report.grouping import grouped
from ddbench.store.tree import open_tree

Row = Mapping[Any, Any]

_FACTS = {
    "seeds": "seed", "ddbench": "ddbench", "commit": "git", "torch": "torch", "device": "device",
    "container image": "image", "job": "job", "restarts": "restarts", "finished": "finished",
    "files": "path",
}  # fmt: skip
"""What is said of a set, and the column of ``collect`` that holds it."""


@dataclass(frozen=True)
class Origin:
    """One distilled set: all seeds of one key.

    Attributes:
        anchor: an id for links, unique on the page.
        facts: pairs (name, values), each value once.
        scores: how its networks were trained and tested, a row per evaluation.
        recipes: pairs (name, resolved YAML): recipes with the same key differ in the evaluation.
    """

    anchor: str
    title: str
    key: str
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    scores: Section
    recipes: tuple[tuple[str, str], ...]


def origins(frame: pd.DataFrame) -> dict[tuple[str, str], Origin]:
    """By (dataset, key), in the order of ``frame``.

    Raises:
        BadInput: a file was damaged since it was collected.
    """
    done = frame[(frame["status"] == DONE) & (frame["role"] == OWN)]
    groups = grouped(done.to_dict(orient="records"), ("dataset", "key"))
    return {
        (str(dataset), str(key)): _origin(f"origin-{number}", rows)
        for number, ((dataset, key), rows) in enumerate(groups.items(), 1)
    }


def _origin(anchor: str, rows: Sequence[Row]) -> Origin:
    first: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: (str(row["recipe"]), int(row["seed"]))):
        first.setdefault(str(row["recipe"]), row)
    facts = [(name, _values(rows, column)) for name, column in _FACTS.items()]
    return Origin(
        anchor,
        f"{', '.join(first)} on {rows[0]['dataset']}",
        str(rows[0]["key"]),
        tuple((name, values) for name, values in facts if values),
        _scores(rows),
        tuple((name, _yaml(row["path"])) for name, row in first.items()),
    )


def _yaml(path: str) -> str:
    with open_tree(Path(path)) as file:
        return str(file.attrs["recipe"])


def _values(rows: Sequence[Row], column: str) -> tuple[str, ...]:
    """The distinct values, numbers by size and text in its order; what is not there is none."""
    values = {row[column] for row in rows}
    return tuple(str(value) for value in sorted(v for v in values if not pd.isna(v) and v != ""))


_EVALUATION = ("network", "protocol", "evaluation_key", "used_features", "tta", "selection")
_HEADERS = (
    "network", "protocol", "evaluation key", "with F", "test-time augmentation", "selection",
    "epochs", "learning rate", "snapshot", "teacher",
)  # fmt: skip


def _scores(rows: Sequence[Row]) -> Section:
    cells = [
        [
            *(str(value) for value in (network, protocol, key)),
            "yes" if used else "no",
            *(str(value) for value in (tta, selection)),
            *(", ".join(_values(part, name)) for name in ("epochs", "lr", "iteration")),
            ", ".join(_values(part, "teacher")) or "none",
        ]
        for (network, protocol, key, used, tta, selection), part in grouped(
            rows, _EVALUATION
        ).items()
    ]
    return Section("How networks were trained and tested", _HEADERS, cells, [False] * len(_HEADERS))
