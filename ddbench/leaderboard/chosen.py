"""What the two names of a comparison stand for, and which of their rows can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ddbench import store
from ddbench.errors import BadInput, nearest
from ddbench.leaderboard.records import DONE, collect
from ddbench.recipe_files import from_yaml

CELL = ["dataset", "network", "comparable", "ensemble", "tta", "selection"]
"""Rows that agree in these were trained and tested alike."""
_ROW = [*CELL, "key", "evaluation_key", "used_features", "fixed_iteration"]
_SCORE = [*_ROW, "seed", "network_seed"]
_MOST = 6
"""How many names an error lists."""


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two: what the user called it, and its scores.

    Attributes:
        field: A or B.
        name: as the user wrote it.
        scores: of finished runs, as ``collect`` gives them, each once; ``file`` is the path without
            detours, by which one run under two names is known.
        unfinished: runs that are left out, (path, status).
    """

    field: str
    name: str
    scores: pd.DataFrame
    unfinished: Sequence[tuple[str, str]]

    def rows(self) -> list[pd.DataFrame]:
        """The scores by rows of a table."""
        groups = self.scores.groupby(_ROW, dropna=False, sort=False)
        return [part for _, part in groups]


def sides(names: Sequence[str], results: Path, networks: Sequence[str] = ()) -> list[Side]:
    """The scores that each name stands for.

    A name is a result file, a folder of them, or, below ``results``, a recipe's name, one with
    ``:SEED``, a set's key, or a method. What exists as a path is a path.

    Args:
        networks: only these architectures; empty = all.

    Raises:
        BadInput: an unknown name, one without a finished run, or an unknown architecture.
    """
    everything: list[pd.DataFrame] = []  # of the folder of results, read when it is needed
    found = []
    for field, name in zip("AB", names, strict=True):
        if name and Path(name).exists():
            side = _side(field, name, collect([Path(name)]))
        else:
            everything = everything or [_all(results, field, name)]
            side = _named(field, name, everything[0], results)
        found.append(side)
    return [_of_networks(side, found, networks) for side in found]


def pairs(a: Side, b: Side) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """The rows of ``a`` and ``b`` that were trained and tested alike, each with each.

    Where both are the same runs: the networks that were trained with F, and those without, of the
    same sets.

    Raises:
        BadInput: there are none, or a name stands for several sets in one cell.
    """
    if set(a.scores["file"]) == set(b.scores["file"]):
        return _with_and_without(a)
    cells = _cells(a) & _cells(b)
    for side in (a, b):
        _check_one_set(side, cells)
    found = [
        (one, other)
        for one in a.rows()
        for other in b.rows()
        if _cell(one) == _cell(other) and not _overlap(one, other)
    ]
    if not found:
        raise BadInput(f"nothing to compare: {_what_differs(a, b)}", field="A, B")
    return found


# --- names ---------------------------------------------------------------------------------------


def _all(results: Path, field: str, name: str) -> pd.DataFrame:
    if not results.is_dir():
        raise BadInput(f"'{name}' is no file, and there is no folder of results '{results}'",
                       field=field, allowed="a result file, or --results DIR")  # fmt: skip
    return collect([results])


def _named(field: str, name: str, frame: pd.DataFrame, results: Path) -> Side:
    """The part of ``frame`` that a name stands for: recipes before keys, keys before methods."""
    recipe, key = frame["recipe"], frame["key"]
    seeds = frame["seed"].astype(str)
    for names in (recipe, recipe + ":" + seeds, key, key + ":" + seeds, frame["method"]):
        if (names == name).any():
            part = frame[names == name]
            part.attrs = {"unfinished": _unfinished(frame, name)}
            return _side(field, name, part)
    if left := _unfinished(frame, name):
        raise _not_finished(field, name, left)
    base, _, seed = name.partition(":")
    of_base = frame[((recipe == base) | (key == base)) & (frame["status"] == DONE)]
    if seed and len(of_base):
        known = sorted(set(of_base["seed"].tolist()))
        raise BadInput(f"'{base}' has no finished seed '{seed}'", field=field, allowed=known)
    known = sorted({*recipe, *frame["method"]})
    guess = nearest(name, [*known, *key])
    hint = f"; did you mean '{guess}'?" if guess else ""
    raise BadInput(f"no file, recipe, key or method '{name}' below {results}{hint}", field=field,
                   allowed=_some(known) or "nothing: there are no results")  # fmt: skip


def _side(field: str, name: str, frame: pd.DataFrame) -> Side:
    """The finished scores of ``frame``, each once."""
    scores = frame[frame["status"] == DONE].copy()
    # a snapshot chosen by a rule may differ from seed to seed; the last one is the same for all
    scores["fixed_iteration"] = scores["iteration"].where(scores["selection"] == "last", -1)
    scores = scores.drop_duplicates(_SCORE)
    files = {path: str(Path(path).resolve()) for path in scores["path"].unique()}
    scores["file"] = scores["path"].map(files)
    unfinished = frame.attrs["unfinished"]
    if scores.empty and unfinished:
        raise _not_finished(field, name, unfinished)
    if scores.empty:
        reasons = [reason for _, reason in frame.attrs.get("rejected", ())]
        raise BadInput(f"'{name}' holds no scores{f': {reasons[0]}' if reasons else ''}",
                       field=field)  # fmt: skip
    return Side(field, name, scores, unfinished)


def _not_finished(field: str, name: str, left: Sequence[tuple[str, str]]) -> BadInput:
    told = _some([f"{path} is {status}" for path, status in left])
    return BadInput(f"'{name}' has no finished run: {told}", field=field)


def _unfinished(frame: pd.DataFrame, name: str) -> list[tuple[str, str]]:
    """The unfinished runs that ``name`` stands for; those without scores are no rows."""
    return [left for left in frame.attrs["unfinished"] if name in _names_of(Path(left[0]))]


def _names_of(path: Path) -> set[str]:
    attrs = store.read_header(path).attrs
    recipe, key, seed = from_yaml(str(attrs["recipe"]), file=path), attrs["key"], attrs["seed"]
    return {recipe.name, f"{recipe.name}:{seed}", key, f"{key}:{seed}", recipe.method.name}


def _of_networks(side: Side, every: Sequence[Side], networks: Sequence[str]) -> Side:
    """``side`` with the wanted architectures alone."""
    known = sorted({name for each in every for name in each.scores["network"]})
    for name in networks:
        if name not in known:
            guess = nearest(name, known)
            hint = f"; did you mean '{guess}'?" if guess else ""
            raise BadInput(f"neither has network '{name}'{hint}", field="--networks",
                           allowed=known)  # fmt: skip
    if not networks:
        return side
    kept = side.scores[side.scores["network"].isin(list(networks))]
    return Side(side.field, side.name, kept, side.unfinished)


# --- pairs ---------------------------------------------------------------------------------------


def _cell(row: pd.DataFrame) -> tuple[object, ...]:
    return tuple(row.iloc[0][CELL])


def _cells(side: Side) -> set[tuple[object, ...]]:
    return {_cell(row) for row in side.rows()}


def _overlap(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Whether a score is in both rows."""
    alike = all(a.iloc[0][name] == b.iloc[0][name] for name in ("evaluation_key", "used_features"))
    return alike and bool(set(a["file"]) & set(b["file"]))


def _with_and_without(side: Side) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    rows = side.rows()
    found = [
        (one, other)
        for one in rows
        for other in rows
        if one["used_features"].iloc[0] and not other["used_features"].iloc[0]
        and _cell(one) == _cell(other) and one["key"].iloc[0] == other["key"].iloc[0]
    ]  # fmt: skip
    if not found:
        raise BadInput(
            "nothing to compare: A and B are the same runs, and of no set of theirs were networks "
            "trained both with F and without it", field="A, B",
        )  # fmt: skip
    return found


def _check_one_set(side: Side, cells: set[tuple[object, ...]]) -> None:
    """Refuse a name that leaves open which set of a cell is meant."""
    for cell, part in side.scores.groupby(CELL, sort=False):
        sets = part.drop_duplicates("key")
        if cell not in cells or len(sets) == 1:
            continue
        names = sets["recipe"] if sets["recipe"].is_unique else sets["key"]
        dataset, network = cell[:2]
        raise BadInput(f"'{side.name}' stands for several sets ({dataset}, {network}); name one",
                       field=side.field, allowed=_some(sorted(names)))  # fmt: skip


def _what_differs(a: Side, b: Side) -> str:
    """The first thing that A and B have nothing of in common, and what each has."""
    for what, column in _WHATS:
        if not set(a.scores[column]) & set(b.scores[column]):
            of = (f"{side.name} has {_some(sorted(set(map(str, side.scores[column]))))}"
                  for side in (a, b))  # fmt: skip
            return f"no {what} in common; {'; '.join(of)}"
    of = (f"{side.name} has {_some([_told(row) for row in side.rows()])}" for side in (a, b))
    if set(a.scores["file"]) & set(b.scores["file"]):
        return f"a run is in both; {'; '.join(of)}"
    return f"no two rows were trained and tested alike; {'; '.join(of)}"


_WHATS = (
    ("dataset", "dataset"), ("network", "network"), ("protocol", "protocol"),
    ("setting of the protocol", "comparable"), ("selection", "selection"),
)  # fmt: skip


def _told(row: pd.DataFrame) -> str:
    first = row.iloc[0]
    ensemble = " (ensemble)" if first["ensemble"] else ""
    return f"{first['network']}{ensemble} by {first['protocol']} ({first['comparable']})"


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f", and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more
