"""Two methods or runs against one another, row by row, in pairs.

Network e of seed d has the same initialisation, order of the data and augmentation for every
method, so two rows that were trained and tested alike are compared by the differences of their
sets (``ddbench.statistics.paired``). The networks of one set are no replicates of a method: nothing
here treats them as such. Accuracies come in as fractions and go out as percent and points.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ddbench import statistics
from ddbench.errors import BadInput
from ddbench.leaderboard import chosen
from ddbench.leaderboard.cells import scores_of
from ddbench.leaderboard.per_image import Files, Images
from ddbench.leaderboard.recipe_facts import DIVISIONS
from ddbench.leaderboard.summary import summarise

ALPHA = 0.05
MARGIN = 0.5
"""Points below which two accuracies are taken for equal."""

Outcome = Literal["A better", "B better", "equivalent", "no difference shown", "not tested"]


@dataclass(frozen=True)
class Row:
    """One row of a table, as a side of a comparison.

    Attributes:
        name: the method, with what was done with F.
        n_sets, n_networks: sets, and networks on all of them together.
        low_percent, high_percent, interval_method: of the mean, as ``statistics.interval_of``;
            None for a single score.
        test_selected: whether the set, or a rate, was chosen by its accuracy on the test set.
    """

    name: str
    recipe: str
    key: str
    ipc: int | None
    division: str
    bytes: float
    evaluation_key: str
    used_features: bool
    test_selected: bool
    seeds: tuple[int, ...]
    n_sets: int
    n_networks: int
    mean_percent: float
    low_percent: float | None
    high_percent: float | None
    interval_method: str | None


@dataclass(frozen=True)
class Difference:
    """A - B over what both have, as ``statistics.Paired``, in points.

    Attributes:
        level: of the interval.
        adjusted_p: by Holm over all blocks of the comparison.
        equivalent: within ``MARGIN``, by two one-sided tests.
        unit, pairs: what a pair is, and how many there are.
        unpaired: what only one of the two has.
    """

    points: float
    low_points: float | None
    high_points: float | None
    level: float
    p: float | None
    adjusted_p: float | None
    wilcoxon_p: float | None
    equivalent: bool | None
    unit: str
    pairs: int
    seeds: tuple[int, ...]
    differences_points: tuple[float, ...]
    unpaired: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """One row of A against one of B, trained and tested alike.

    Attributes:
        difference: None where the two have no seed and network in common.
        images: None likewise.
        verdict: one sentence.
        notes: what else differs between the two, or marks them.
    """

    dataset: str
    network: str
    protocol: str
    comparable: str
    ensemble: bool
    tta: str
    selection: str
    a: Row
    b: Row
    difference: Difference | None
    images: Images | None
    outcome: Outcome
    verdict: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """All that can be compared of A and B.

    Attributes:
        alpha: error that a verdict accepts, after Holm's correction over the blocks.
        unfinished: runs that are left out, as text.
    """

    a: str
    b: str
    alpha: float
    margin_points: float
    blocks: tuple[Block, ...]
    unfinished: tuple[str, ...]

    def data(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        return dataclasses.asdict(self)


def compare(
    a: str, b: str, *, results: Path, networks: Sequence[str] = (), alpha: float = ALPHA
) -> Comparison:
    """Compare what two names stand for, over every pair of rows that were trained and tested alike.

    Args:
        a, b: a result file, a folder of them, or, below ``results``, a recipe's name, one with
            ``:SEED``, a set's key, or a method. The same twice compares networks that were trained
            with F to those without, on the same sets.
        networks: only these architectures; empty = all.
        alpha: in (0, 0.5); intervals have the level 1 - alpha.

    Raises:
        BadInput: a name that is not known or that stands for several sets in one cell, nothing to
            compare, or different test images.
    """
    if not 0 < alpha < 0.5:
        raise BadInput(f"found {alpha:g}", field="--alpha", allowed="a number between 0 and 0.5")
    one, other = chosen.sides((a, b), results, networks)
    files = Files()
    blocks = [_block(*pair, alpha, files) for pair in chosen.pairs(one, other)]
    unfinished = dict.fromkeys((*one.unfinished, *other.unfinished))
    return Comparison(
        a=a, b=b, alpha=alpha, margin_points=MARGIN,
        blocks=tuple(_judged(_corrected(blocks), alpha)),
        unfinished=tuple(f"{path} ({status})" for path, status in unfinished),
    )  # fmt: skip


def _block(a: pd.DataFrame, b: pd.DataFrame, alpha: float, files: Files) -> Block:
    """The block of two rows, before its verdict."""
    one, other, first = _row(a, 1 - alpha), _row(b, 1 - alpha), a.iloc[0]
    difference = _difference(a, b, 1 - alpha)
    return Block(
        **{name: first[name] for name in ("dataset", "network", "comparable", "tta", "selection")},
        ensemble=bool(first["ensemble"]),
        protocol=" / ".join(dict.fromkeys((first["protocol"], b.iloc[0]["protocol"]))),
        a=one,
        b=other,
        difference=difference,
        images=files.images(a, b, 1 - alpha) if difference else None,
        outcome="not tested",
        verdict="",
        notes=tuple(_notes(one, other)),
    )


def _row(part: pd.DataFrame, level: float) -> Row:
    told = summarise(part).iloc[0]
    scores = scores_of(part)
    interval = statistics.interval_of([list(each.values()) for each in scores.values()], level)
    return Row(
        name=str(told["name"]),
        recipe=str(told["recipe"]),
        key=str(told["key"]),
        ipc=None if pd.isna(told["ipc"]) else int(told["ipc"]),
        division=str(told["division"]),
        bytes=float(told["bytes"]),
        evaluation_key=str(told["evaluation_key"]),
        used_features=bool(told["used_features"]),
        test_selected=bool(told["test_selected"]),
        seeds=tuple(sorted(scores)),
        n_sets=len(scores),
        n_networks=len(part),
        mean_percent=float(told["accuracy_percent"]),
        low_percent=100 * interval.low if interval else None,
        high_percent=100 * interval.high if interval else None,
        interval_method=interval.method if interval else None,
    )


def _difference(a: pd.DataFrame, b: pd.DataFrame, level: float) -> Difference | None:
    one, other = scores_of(a), scores_of(b)
    if not any(one[seed].keys() & other[seed].keys() for seed in one.keys() & other.keys()):
        return None
    found = statistics.paired(one, other, level=level, margin=MARGIN / 100)
    return Difference(
        points=100 * found.difference,
        low_points=100 * found.interval.low if found.interval else None,
        high_points=100 * found.interval.high if found.interval else None,
        level=level,
        p=found.p,
        adjusted_p=found.p,
        wilcoxon_p=found.wilcoxon_p,
        equivalent=found.equivalent,
        unit=found.unit,
        pairs=found.pairs,
        seeds=found.seeds,
        differences_points=tuple(100 * value for value in found.differences),
        unpaired=found.unpaired,
    )


def _notes(a: Row, b: Row) -> list[str]:
    """What a reader has to know about the two rows."""
    notes = []
    if a.ipc != b.ipc:
        sizes = ["all images" if row.ipc is None else f"IPC {row.ipc}" for row in (a, b)]
        notes.append(f"sizes differ: {' and '.join(sizes)}; the order of the data differs with it")
    if a.division != b.division:
        notes.append(f"divisions differ: {DIVISIONS[a.division]} and {DIVISIONS[b.division]}")
    selected = [side for side, row in (("A", a), ("B", b)) if row.test_selected]
    if selected:
        notes.append(f"the set or a rate of {' and '.join(selected)} was chosen on the test set")
    return notes


# --- verdicts ------------------------------------------------------------------------------------


def _corrected(blocks: Sequence[Block]) -> list[Block]:
    """The blocks with p-values adjusted over all of them."""
    tested = [block.difference.p for block in blocks if block.difference is not None]
    adjusted = iter(statistics.holm([p for p in tested if p is not None]))
    return [
        replace(block, difference=replace(block.difference, adjusted_p=next(adjusted)))
        if block.difference is not None and block.difference.p is not None
        else block
        for block in blocks
    ]


def _judged(blocks: Sequence[Block], alpha: float) -> list[Block]:
    found = []
    for block in blocks:
        outcome = _outcome(block.difference, alpha)
        found.append(replace(block, outcome=outcome, verdict=_sentence(block, outcome)))
    return found


def _outcome(difference: Difference | None, alpha: float) -> Outcome:
    if difference is None or difference.adjusted_p is None:
        return "not tested"
    if difference.adjusted_p <= alpha:
        return "A better" if difference.points > 0 else "B better"
    return "equivalent" if difference.equivalent else "no difference shown"


def _sentence(block: Block, outcome: Outcome) -> str:
    difference = block.difference
    a, b = (f"{side} ({_plain(row.name)})" for side, row in (("A", block.a), ("B", block.b)))
    if difference is None:
        return f"Not tested: {a} and {b} have no seed in common, or no network of one."
    if outcome == "not tested":
        return f"Not tested: {a} and {b} have one {_ONE[difference.unit]} in common."
    if outcome in ("A better", "B better"):
        better, other = (a, b) if outcome == "A better" else (b, a)
        said = f"{better} is better than {other} by {abs(difference.points):.2f} points"
        said += f", but within {MARGIN:g} points" if difference.equivalent else ""
    elif outcome == "equivalent":
        said = f"{a} and {b} are equivalent within {MARGIN:g} points"
    else:
        said = f"no difference is shown between {a} and {b}"
    if difference.unit == "networks of one set":
        return f"Of these two sets of seed {difference.seeds[0]} alone, not of the methods: {said}."
    return f"{said[0].upper()}{said[1:]}."


def _plain(name: str) -> str:
    """A method's name without brackets of its own."""
    return name.replace(" (", ", ").removesuffix(")")


_ONE = {"sets": "seed", "networks of one set": "network of one seed"}
