"""The table of a paper in one step, from folders to text: what ``ddbench table`` prints."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ddbench.arms import OWN
from ddbench.errors import BadInput, unknown
from ddbench.leaderboard import bibtex as citations
from ddbench.leaderboard.pivot import AXES, pivot
from ddbench.leaderboard.published_rows import with_published
from ddbench.leaderboard.recipe_facts import DIVISIONS
from ddbench.leaderboard.records import collect
from ddbench.leaderboard.render import check_format, render, sections
from ddbench.leaderboard.summary import summarise

VIEWS: Mapping[str, str | None] = {
    "default": None,
    "ddranking": "ddranking",
    "dcbench": "dcbench",
    "ranks": "ranks_view",
}
"""What can be shown, and the module that shows it."""


_OF_A_TABLE = ("--pivot", "--by-bytes", "--costs")


def table(
    paths: Sequence[Path],
    *,
    fmt: str = "github",
    pivot_by: str | None = None,
    by_bytes: bool = False,
    division: str | None = None,
    view: str = "default",
    published: bool = False,
    costs: bool = False,
    bibtex: bool = False,
) -> str:
    """The table of all results at or below ``paths``.

    Args:
        fmt: one of ``FORMATS``.
        pivot_by: one of ``AXES``: its values become columns.
        by_bytes: sort by bytes and compare at equal bytes, instead of by IPC.
        division: one of ``DIVISIONS``; its rows alone.
        view: one of ``VIEWS``; others than the default take ``fmt`` and ``division`` only.
        published: with the published numbers that ddbench knows of the cells of the table.
        costs: with seconds, peak memory and device.
        bibtex: the BibTeX of the methods shown, in place of the table.

    Raises:
        BadInput: a path that does not exist or holds toy runs, an unknown name, or options that
            cannot be together.
    """
    check_format(fmt)
    _check(division, list(DIVISIONS), "division")
    _check(pivot_by, list(AXES), "pivot")
    _check(view, list(VIEWS), "view")
    given = {
        "--pivot": pivot_by, "--by-bytes": by_bytes, "--published": published, "--costs": costs,
        "--bibtex": bibtex,
    }  # fmt: skip
    if module := VIEWS[view]:
        for name in (name for name, value in given.items() if value):
            raise BadInput(f"does not go with --view {view}", field=name,
                           allowed="--view default")  # fmt: skip
        frame = _part(collect(paths, baselines=True), division)
        return sections(importlib.import_module(f"{__package__}.{module}").view(frame), fmt)
    if bibtex:
        for name in (name for name, value in given.items() if value and name in _OF_A_TABLE):
            raise BadInput("is of a table, which --bibtex does not print", field=name)
    if pivot_by and costs:
        raise BadInput("does not go with --pivot, whose cells are accuracies", field="--costs")
    summary = summarise(_part(collect(paths), division), by_bytes=by_bytes)
    if published:
        summary = with_published(summary)
    if bibtex:
        return cited(summary)
    if pivot_by:
        return sections([pivot(summary, pivot_by)], fmt)
    return render(summary, fmt, published=published, costs=costs)


def _check(name: str | None, known: Sequence[str], field: str) -> None:
    if name is not None and name not in known:
        raise unknown(field, name, known, f"--{field}")


def _part(frame: pd.DataFrame, division: str | None) -> pd.DataFrame:
    """The rows of one division, and the baselines that they may be compared with."""
    if division is None:
        return frame
    part = frame[(frame["division"] == division) | (frame["role"] != OWN)]
    part.attrs = {**frame.attrs, "division": division}
    return part


def cited(summary: pd.DataFrame) -> str:
    """BibTeX of the methods and protocols of a summary, and of F where it is used."""
    protocols = {
        name.partition("@")[0]
        for names in summary["protocol"].dropna()
        for name in str(names).split(", ")
    }
    return citations.entries(
        summary["method"], features=bool(summary["used_features"].any()), protocols=protocols
    )
