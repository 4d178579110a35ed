"""DD-Ranking's view: HLR, IOR, LRS and ARS of every set, with their intervals.

The scores and their definitions are those of ``ddbench.ranking``; this module only finds which
networks belong together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ddbench import ranking, statistics
from ddbench.arms import OF_SET, OWN, recipe_arms
from ddbench.errors import BadInput
from ddbench.leaderboard.records import DONE
from ddbench.leaderboard.section import Section
from ddbench.leaderboard.settings import made_by
from ddbench.leaderboard.signs import DAGGER, NOTHING, PLUS_MINUS
from ddbench.leaderboard.summary import TEST_SELECTED, summarise
from ddbench.leaderboard.view import ipc_text, plain_record
from ddbench.protocols import roles_of
from ddbench.ranking import NEEDS, VARIANTS, Ranking, Variant

_TITLES: Mapping[Variant, str] = {
    "final": "DD-Ranking scores at the final epoch",
    "max_over_eval": f"DD-Ranking scores at the best epoch {DAGGER}",
}
_COLUMNS = ("dataset", "method", "IPC", "network", "protocol")
_ROUNDS = ("sets", "rounds")
_DEFINITIONS = (
    "HLR = A_real - A_hard, hard label recovery: lower is better. IOR = A_set - A_random, "
    "improvement over random images: higher is better. Both are fractions.",
    "LRS = S(0.5 IOR - 0.5 HLR), ARS = S(0.5 IOR + 0.5 IOR without augmentation), "
    "S(a) = (exp(a) - exp(-1)) / (exp(1) - exp(-1)): in [0, 1], higher is better. A set that is "
    "worth random images and recovers everything has LRS 0.269.",
    f"{PLUS_MINUS}: population standard deviation (ddof 0) over the rounds, as DD-Ranking; in "
    "brackets the 95 % interval of the mean (of one set: over its networks, conditional on it). "
    "A_real is that of a set's own full-data networks; where there is one, its rounds share it.",
)


def view(frame: pd.DataFrame) -> list[Section]:
    """DD-Ranking's scores: at the final epoch, and at the best where that was tracked.

    Args:
        frame: of ``collect(paths, baselines=True)``. Only protocols with baselines take part.
    """
    groups = _groups(_relevant(frame))
    final = _section("final", groups)
    best = [group for group in groups if any(vars(group.scores("max_over_eval")).values())]
    return [final, _section("max_over_eval", best)] if best else [final]


class _Group:
    """The sets of one row of a table, with the baselines of the same evaluation."""

    def __init__(self, row: Mapping[Any, Any], own: pd.DataFrame, others: pd.DataFrame) -> None:
        self.row = row
        self.used_features = bool(row["used_features"])
        found, self.unclear = _belonging(own, others)
        self._records = pd.concat([own, found])
        self._sets: dict[int, list[Any]] = {
            int(seed): list(self._records[self._records["seed"] == seed].itertuples(index=False))
            for seed in self._records["seed"].unique()
        }
        self._rankings = ranking.ranking_of(self._sets, used_features=self.used_features)

    def scores(self, variant: Variant) -> Ranking:
        """The scores."""
        return self._rankings[variant]

    def lacking(self, variant: Variant) -> dict[ranking.Name, tuple[str, ...]]:
        """The roles that scores lack."""
        return ranking.lacking(self._sets, used_features=self.used_features, variant=variant)

    @property
    def test_selected(self) -> list[str]:
        """Roles of which a set or a rate was chosen on the test set."""
        relevant = self._records[self._records["used_features"].isin([False, self.used_features])]
        chosen = (relevant["selection"] == TEST_SELECTED) | (
            relevant["set_selected"] & relevant["role"].isin(OF_SET)
        )
        return sorted(relevant["role"][chosen].unique())


def _relevant(frame: pd.DataFrame) -> pd.DataFrame:
    """Finished scores of single networks by protocols that have baselines, each once."""
    compared = [name for name in frame["protocol"].unique() if _has_baselines(name)]
    done = frame[(frame["status"] == DONE) & ~frame["ensemble"]]
    found = done[done["protocol"].isin(compared)]
    alike = ["key", "seed", "network", "network_seed", "role", "evaluation_key", "used_features"]
    part = found.drop_duplicates(["dataset", *alike])
    part.attrs = frame.attrs
    return part


def _has_baselines(protocol: str) -> bool:
    try:
        return len(roles_of(protocol)) > 1
    except BadInput:  # a protocol that only another version knows
        return False


def _groups(frame: pd.DataFrame) -> list[_Group]:
    baselines = frame[frame["role"] != OWN]
    groups = []
    for row in summarise(frame).to_dict(orient="records"):
        alike = ("dataset", "key", "network", "tta")
        sets = frame[frame["role"] == OWN]
        own = _where(sets, row, (*alike, "evaluation_key", "used_features"))
        others = _where(baselines, row, alike)
        others = others[others["protocol"].isin(own["protocol"])]
        if row["used_features"]:  # where the protocol has no other, A_hard is of these
            plain = _where(sets[~sets["used_features"]], row, (*alike, "comparable"))
            others = pd.concat([others, plain])
        groups.append(_Group(row, own, others))
    return groups


def _where(frame: pd.DataFrame, row: Mapping[Any, Any], columns: Sequence[str]) -> pd.DataFrame:
    same = pd.Series(True, index=frame.index)
    for name in columns:
        same &= frame[name] == row[name]
    return frame[same]


def _belonging(own: pd.DataFrame, others: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The baselines of the evaluation of ``own``, and roles for which that cannot be told.

    A role that was trained in one way only belongs to it; of several ways, the one that its
    evaluation block asks for.
    """
    ways = others[["role", "used_features", "evaluation_key"]].drop_duplicates()
    unclear = sorted(ways[ways.duplicated(["role", "used_features"])]["role"].unique())
    if not unclear:
        return others, []
    first = own.iloc[0]
    recipe = made_by(first["path"], first["protocol"], first["network"], first["comparable"])
    keys = {arm.key for arm in recipe_arms(recipe)} if recipe is not None else set()
    if first["evaluation_key"] not in keys:  # not found, or another lambda
        return others[~others["role"].isin(unclear)], unclear
    return others[~others["role"].isin(unclear) | others["evaluation_key"].isin(keys)], []


# --- the table -----------------------------------------------------------------------------------


def _section(variant: Variant, groups: Sequence[_Group]) -> Section:
    """The scores of one variant, by dataset and IPC, then by LRS; those without last, by IOR."""

    def order(group: _Group) -> tuple[str, float, float, float]:
        found, ipc = group.scores(variant), group.row["ipc"]
        lrs, ior = (-score.mean if score else math.inf for score in (found.lrs, found.ior))
        return str(group.row["dataset"]), math.inf if pd.isna(ipc) else ipc, lrs, ior

    ordered = sorted(groups, key=order)
    return Section(
        title=_TITLES[variant],
        columns=[*_COLUMNS, *(name.upper() for name in NEEDS), *_ROUNDS],
        rows=[_cells(group, variant) for group in ordered],
        right=[name == "IPC" for name in _COLUMNS] + [True] * (len(NEEDS) + len(_ROUNDS)),
        notes=_notes(ordered, variant),
        data=[_record(group, variant) for group in ordered],
        row_header=1,
    )


def _cells(group: _Group, variant: Variant) -> list[str]:
    row, found, lacking = group.row, group.scores(variant), group.lacking(variant)
    marked = group.test_selected or variant == "max_over_eval"
    cells = [
        str(row["dataset"]), f"{row['name']} {DAGGER}" if marked else str(row["name"]),
        ipc_text(row), str(row["network"]), str(row["protocol"]),
    ]  # fmt: skip
    for name in NEEDS:
        score = getattr(found, name)
        cells.append(_text(score) if score else _lack(lacking[name], group.unclear))
    rounds = _rounds(found)
    return [*cells, _numbers([sets for sets, _ in rounds]), _numbers([n for _, n in rounds])]


def _text(score: ranking.Score) -> str:
    interval = score.interval
    between = f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
    return f"{score}{between}"


def _lack(roles: Sequence[str], unclear: Sequence[str]) -> str:
    """Why a score is not there."""
    if not roles:
        return "no common round"
    return "; ".join(f"{'unclear' if role in unclear else 'no'} {role}" for role in roles)


def _rounds(found: Ranking) -> list[tuple[int, int]]:
    """Sets and rounds of every score that is there."""
    scores = [score for score in vars(found).values() if score]
    return [(len(score.by_set), len(score.rounds)) for score in scores]


def _numbers(counts: Sequence[int]) -> str:
    distinct = sorted(set(counts))
    return " to ".join(map(str, distinct[:1] + distinct[1:][-1:])) or NOTHING


def _record(group: _Group, variant: Variant) -> dict[str, object]:
    """One row at full precision."""
    row, found = group.row, group.scores(variant)
    record: dict[str, object] = {
        **{name: row[name] for name in ("dataset", "method", "name", "network", "protocol")},
        "ipc": row["ipc"],
        **{name: row[name] for name in ("recipe", "key", "evaluation_key", "used_features")},
        "variant": variant,
        "test_selected": ", ".join(group.test_selected),
    }
    for name, roles in group.lacking(variant).items():
        score: ranking.Score | None = getattr(found, name)
        interval = score.interval if score else None
        record |= {
            name: score.mean if score else None,
            f"{name}_std": score.std if score else None,
            f"{name}_low": interval.low if interval else None,
            f"{name}_high": interval.high if interval else None,
            f"{name}_interval": interval.method if interval else None,
            f"{name}_sets": len(score.by_set) if score else 0,
            f"{name}_rounds": len(score.rounds) if score else 0,
            f"{name}_lacks": "" if score else ", ".join(roles),
        }
    return plain_record(record)


def _notes(groups: Sequence[_Group], variant: Variant) -> list[str]:
    if not groups:
        return ["No finished run was scored by a protocol with baselines (ddranking-*)."]
    notes = list(_DEFINITIONS)
    methods = {getattr(group.scores(variant), name).interval.method for group in groups
               for name in NEEDS if _has_interval(group.scores(variant), name)}  # fmt: skip
    if methods:
        notes.append(f"Intervals: {', '.join(sorted(methods))}.")
    if any(len(group.row["seeds"].split(", ")) < statistics.MIN_SETS for group in groups):
        notes.append(f"Fewer than {statistics.MIN_SETS} sets say little about a method.")
    if variant == "max_over_eval":
        notes.append(
            f"{DAGGER}: accuracies are the best over training by the test set "
            f"({VARIANTS[variant]}), as DD-Ranking's own; compare at the final epoch."
        )
    elif chosen := sorted({role for group in groups for role in group.test_selected}):
        notes.append(f"{DAGGER}: a set or a rate was chosen on the test set ({', '.join(chosen)}).")
    if unclear := sorted({role for group in groups for role in group.unclear}):
        notes.append(
            "Unclear: a baseline was trained in several ways, and which of them the set's scores "
            f"belong to cannot be told ({', '.join(unclear)})."
        )
    return notes


def _has_interval(found: Ranking, name: str) -> bool:
    score: ranking.Score | None = getattr(found, name)
    return score is not None and score.interval is not None
