"""The page: everything that was made of the results, put into one HTML file.

Nothing is fetched: style, script and plotly are in the file, and its Content-Security-Policy
forbids the network. All text is escaped, in HTML by the template and in JSON by ``_json``,
and none of it changes the direction of the page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import ddbench
from ddbench.leaderboard.section import Section
from ddbench.report.board import FILTERS, Board
from ddbench.report.charts import chart, describe, table
from ddbench.report.colours import DARK, LIGHT, heat
from ddbench.report.direction import undirected
from ddbench.report.origins import Origin
from ddbench.report.pictures import Picture
from ddbench.report.plots import HeatMap, Panel

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Part:
    """A part of the page with plots that a reader chooses from.

    Attributes:
        anchor: its id.
        short: its name in the navigation.
        intro: what it shows.
        notes: what is not shown, and why.
    """

    anchor: str
    short: str
    title: str
    intro: str
    panels: Sequence[Panel]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """What the page says.

    Attributes:
        title: of the document.
        overview: what was found, in a sentence.
        left_apart: headings with what is not in the tables, one text each.
        views: further tables, by the heading of their part.
        downloads: file names with their content.
    """

    title: str
    overview: str
    left_apart: Mapping[str, Sequence[str]]
    board: Board
    heat_maps: Sequence[HeatMap]
    parts: Sequence[Part]
    pictures: Sequence[Picture]
    picture_notes: Sequence[str]
    views: Mapping[str, Sequence[Section]]
    origins: Sequence[Origin]
    downloads: Mapping[str, str]


def render(page: Page) -> str:
    """The HTML file; equal content gives equal text."""
    charts = {
        f"{part.anchor}-{p}-{q}": chart(plot)
        for part in page.parts
        for p, panel in enumerate(part.panels)
        for q, plot in enumerate(panel.plots)
    }
    return _environment().get_template("page.html.j2").render(
        page=page,
        version=ddbench.__version__,
        filters=FILTERS,
        charts=_json(charts) if charts else None,
        downloads=_json(page.downloads),
        plotly=_plotly() if charts else None,
        style=Markup(_text("page.css")),  # noqa: S704 - files of this package
        script=Markup(_text("page.js")),  # noqa: S704
        light=LIGHT,
        dark=DARK,
    )  # fmt: skip


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=_shown,
    )  # fmt: skip
    environment.globals.update(describe=describe, table=table, heat_cells=heat_cells)
    return environment


def _shown(value: object) -> object:
    """A value as the template writes it; what is ready for HTML stays as it is."""
    return undirected(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def heat_cells(heat_map: HeatMap) -> list[list[tuple[str, str, str, str]]]:
    """Per cell its text, its spread, its background and its ink; empty where nothing is known."""
    known = [value for row in heat_map.cells for value in row if not math.isnan(value)]
    low, high = min(known), max(known)
    return [
        [
            _heat_cell(value, spread, low, high)
            for value, spread in zip(values, spreads, strict=True)
        ]
        for values, spreads in zip(heat_map.cells, heat_map.spread, strict=True)
    ]


def _heat_cell(value: float, spread: float, low: float, high: float) -> tuple[str, str, str, str]:
    if math.isnan(value):
        return "", "", "", ""
    share = (value - low) / (high - low) if high > low else 0.5
    return f"{value:.1f}", "" if math.isnan(spread) else f"{spread:.1f}", *heat(share)


def _json(value: object) -> Markup:
    """JSON for a script element: nothing in it can end the element, or start a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - no character is left that HTML knows


@cache
def _plotly() -> Markup:
    """Plotly's script; a release in which it could end its element is refused."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    text: str = get_plotlyjs()
    assert "</script" not in text.lower() and "<!--" not in text, "cannot be inlined"
    return Markup(text)  # noqa: S704 - of the installed package


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
