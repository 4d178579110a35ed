"""``ddbench report``: results as one HTML file that needs nothing else, and figures for papers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ddbench.errors import printable, unknown
from ddbench.leaderboard import collect, ddranking, ranks_view, render, summarise
from ddbench.leaderboard.paper import cited
from ddbench.leaderboard.published_rows import with_published
from ddbench.leaderboard.records import DONE
from ddbench.leaderboard.section import Section
from ddbench.report import across, costs, curves, embedding, figures, page, pictures
from ddbench.report.board import board
from ddbench.report.feature_space import MODES, Mode
from ddbench.report.origins import origins
from ddbench.report.page import Page, Part
from ddbench.store.atomic import publish

log = logging.getLogger(__name__)

_BYTES = (
    "What has to be stored to train on a set (images, labels, F where it is used, a teacher that "
    "labels while networks train), against what the networks reach. The rows of one plot have the "
    "same dataset, network and protocol."
)
_SECONDS = (
    "What making a set takes, against what the networks reach. The rows of one plot also have the "
    "same device."
)
_CURVES = "What every run logged, iteration by iteration, and the accuracy of its snapshots."
_EMBEDDING = (
    "Real images and those of every set as the same network sees them, brought to two dimensions."
)


def build(
    paths: Sequence[Path], out: Path, *, figures_in: Path | None = None, mode: Mode = "untrained"
) -> None:
    """Write the page of all results at or below ``paths``; of none, a page that says so.

    Args:
        out: the HTML file; what was there before stays until the new one is whole.
        figures_in: a folder for the plots as PDF and SVG; None: no figures.
        mode: whose features the t-SNE compares, one of ``MODES``.

    Raises:
        BadInput: a path that does not exist or holds toy runs, an unknown mode.
        OSError: the file system refused.
    """
    if mode not in MODES:
        raise unknown("embedding", mode, MODES, "--embedding")
    frame = collect(paths, baselines=True)
    summary = _measured(summarise(frame))
    if summary.empty:
        log.warning("nothing to show: no finished run in %s", printable(", ".join(map(str, paths))))
    made = _page(frame, summary, mode)
    with publish(out) as temporary:
        temporary.write_text(page.render(made), encoding="utf-8")
    if figures_in is not None:
        panels = {part.anchor: part.panels for part in made.parts}
        panels["ipc"] = costs.panels(summary, "ipc")
        figures.save(figures_in, panels, made.heat_maps)


def _measured(summary: pd.DataFrame) -> pd.DataFrame:
    """The measured rows, with the published numbers of their cells beside them."""
    whole = with_published(summary)
    return whole[whole["measured"].astype(bool)].reset_index(drop=True)


def _page(frame: pd.DataFrame, summary: pd.DataFrame, mode: Mode) -> Page:
    found = origins(frame)
    drawn, drawn_notes = curves.panels(frame)
    maps, map_notes = embedding.panels(frame, mode)
    shown, picture_notes = pictures.pictures(frame)
    size, time = costs.panels(summary, "bytes"), costs.panels(summary, "seconds")
    parts = [
        Part("bytes", "Bytes", "Accuracy against bytes", _BYTES, size),
        Part("seconds", "Time", "Accuracy against time", _SECONDS, time),
        Part("curves", "Curves", "Learning curves", _CURVES, drawn, drawn_notes),
        Part("embedding", "Features", "Real and synthetic features", _EMBEDDING, maps, map_notes),
    ]
    datasets = ", ".join(sorted(set(summary["dataset"])))
    return Page(
        title=f"Dataset distillation: {datasets}" if datasets else "Dataset distillation",
        overview=_overview(frame, summary),
        left_apart=_left_apart(frame),
        board=board(summary, found),
        heat_maps=across.heat_maps(summary),
        parts=parts,
        pictures=shown,
        picture_notes=picture_notes,
        views=_views(frame),
        origins=list(found.values()),
        downloads=_downloads(summary),
    )


def _overview(frame: pd.DataFrame, summary: pd.DataFrame) -> str:
    """How much there is."""
    files = frame.loc[frame["status"] == DONE, "path"].nunique()
    counts = (
        (len(summary), "row", "rows"),
        (files, "result file", "result files"),
        (summary["method"].nunique(), "method", "methods"),
        (summary["network"].nunique(), "network", "networks"),
    )
    rows, *others = (_count(*count) for count in counts)
    finished = "; all runs are finished" if not frame.attrs["unfinished"] else ""
    return f"{rows} from {', '.join(others)}{finished}."


def _left_apart(frame: pd.DataFrame) -> dict[str, list[str]]:
    """What is in no table: unfinished runs with their status, files with why they are no use."""
    unfinished = [f"{path} ({status})" for path, status in frame.attrs["unfinished"]]
    rejected = [f"{path}: {reason}" for path, reason in frame.attrs["rejected"]]
    found = {
        _count(len(unfinished), "unfinished run", "unfinished runs"): unfinished,
        _count(len(rejected), "unreadable file", "unreadable files"): rejected,
    }
    return {heading: items for heading, items in found.items() if items}


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _views(frame: pd.DataFrame) -> Mapping[str, Sequence[Section]]:
    """The further tables that have rows."""
    views = {"DD-Ranking": ddranking.view(frame), "Ranks": ranks_view.view(frame)}
    return {
        title: sections
        for title, sections in views.items()
        if any(section.rows for section in sections)
    }


def _downloads(summary: pd.DataFrame) -> dict[str, str]:
    """File names and their content: what ``ddbench table`` gives in these formats."""
    files = {
        "leaderboard.csv": render(summary, "csv"),
        "leaderboard.tex": render(summary, "latex"),
        "references.bib": cited(summary),
    }
    return {name: text for name, text in files.items() if text}
