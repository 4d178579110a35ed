"""Figures for papers: the plots of the page as PDF and SVG, drawn by matplotlib.

Equal content gives equal bytes. Text stays text (TrueType fonts in PDF, ``text`` elements in SVG);
colours and symbols are those of the page.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.report.colours import LIGHT, colour, heat, symbol
from ddbench.report.direction import undirected
from ddbench.report.plots import HeatMap, Panel, Plot, Series
from ddbench.report.ticks import log_ticks
from ddbench.store.atomic import publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 5.5
"""Inches: the text width of the usual conference styles."""
FORMATS = ("pdf", "svg")

_SETTINGS: dict[Any, Any] = {
    "pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "ddbench",
    "text.parse_math": False, "font.size": 8, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#e3e6ea", "grid.linewidth": 0.6,
    "axes.axisbelow": True, "legend.frameon": False, "figure.constrained_layout.use": True,
}  # fmt: skip
_MARKERS = {
    "circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "cross": "P", "x": "X",
    "star": "*", "pentagon": "p",
}  # fmt: skip
_DASHES = ("-", "--", ":", "-.")


def save(folder: Path, panels: Mapping[str, Sequence[Panel]], maps: Sequence[HeatMap]) -> None:
    """Write every plot as ``KIND-WHAT.pdf`` and ``.svg``; namesakes are numbered.

    Args:
        panels: by the kind of plot, which begins the names of its files.

    Raises:
        OSError: the file system refused.
    """
    taken: Counter[str] = Counter()

    def write(kind: str, title: str, made: Figure) -> None:
        name = f"{kind}-{_slug(title)}"
        taken[name] += 1
        _write(folder, name if taken[name] == 1 else f"{name}-{taken[name]}", made)

    with _drawing():
        for heat_map in maps:
            write("architectures", heat_map.title, heat_figure(heat_map))
        for kind, group in panels.items():
            for plot in (plot for panel in group for plot in panel.plots):
                write(kind, plot.title, figure(plot))


def figure(plot: Plot) -> Figure:
    """One plot."""
    draw = {"points": _points, "lines": _lines, "map": _map}[plot.kind]
    made, axes = _axes(3.6 if plot.kind == "map" else 3.2)
    if plot.front:
        x, y = zip(*plot.front, strict=True)
        axes.step(x, y, where="post", color="#565d66", linestyle=":", label="Pareto front")
    for name, value in plot.levels:
        axes.axhline(value, color="#565d66", linewidth=0.8, linestyle="--")
        axes.annotate(undirected(name), (1, value), xycoords=("axes fraction", "data"), ha="right",
                      va="bottom")  # fmt: skip
    for series in plot.series:
        draw(axes, series)
    axes.set_title(_wrapped(plot.title))
    axes.set(xlabel=_wrapped(plot.x.title), ylabel=undirected(plot.y.title))
    if plot.kind == "map":
        axes.set(xticks=[], yticks=[], aspect="equal")
    else:
        _log_axes(axes, plot)
    if len(plot.series) > 1 or plot.front:
        made.legend(loc="outside lower center", ncols=2)
    return made


def heat_figure(heat_map: HeatMap) -> Figure:
    """One heat map, its numbers in the cells."""
    from matplotlib.patches import Rectangle

    cells = np.asarray(heat_map.cells, np.float64)
    low, high = np.nanmin(cells), np.nanmax(cells)
    made, axes = _axes(0.9 + 0.28 * len(heat_map.rows))
    axes.grid(visible=False)
    for (row, column), value in np.ndenumerate(cells):
        if math.isnan(value):
            continue
        back, ink = heat((value - low) / (high - low) if high > low else 0.5)
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=back, linewidth=0))
        axes.text(column, row, f"{value:.1f}", color=ink, ha="center", va="center")
    columns, rows = (list(map(undirected, names)) for names in (heat_map.columns, heat_map.rows))
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlim=(-0.5, len(heat_map.columns) - 0.5), ylim=(len(heat_map.rows) - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(_wrapped(f"{heat_map.title}: accuracy (%)"))
    return made


def _log_axes(axes: Axes, plot: Plot) -> None:
    """Logarithmic scales with the ticks of the page, where the plot has them."""
    if plot.x.log:
        axes.set_xscale("log")
        axes.set_xticks(*log_ticks([value for series in plot.series for value in series.x]))
    if plot.y.log:
        axes.set_yscale("log")
        axes.set_yticks(*log_ticks([value for series in plot.series for value in series.y]))
    axes.minorticks_off()


# --- series --------------------------------------------------------------------------------------


def _points(axes: Axes, series: Series) -> None:
    style: dict[str, Any] = {"color": colour(series.slot), "linestyle": "none"}
    hollow = np.asarray(series.hollow or [False] * len(series.x), bool)
    x, y = np.asarray(series.x), np.asarray(series.y)
    if len(series.low):
        ends = np.stack([y - np.asarray(series.low), np.asarray(series.high) - y])
        axes.errorbar(x, y, np.nan_to_num(ends), capsize=2, linewidth=0.9, **style)
    label: str | None = undirected(series.name)
    for chosen, face in ((~hollow, style["color"]), (hollow, "white")):
        if chosen.any():
            axes.plot(x[chosen], y[chosen], marker=_MARKERS[symbol(series.slot)], markersize=5,
                      markerfacecolor=face, label=label, **style)  # fmt: skip
            label = None


def _lines(axes: Axes, series: Series) -> None:
    dash = _DASHES[series.slot // len(LIGHT) % len(_DASHES)]
    axes.plot(series.x, series.y, color=colour(series.slot), linestyle=dash, linewidth=1.2,
              label=undirected(series.name))  # fmt: skip
    if len(series.low):
        axes.fill_between(series.x, series.low, series.high, color=colour(series.slot), alpha=0.2,
                          linewidth=0)  # fmt: skip


def _map(axes: Axes, series: Series) -> None:
    if series.glyphs:
        for x, y, glyph in zip(series.x, series.y, series.glyphs, strict=True):
            axes.text(
                x,
                y,
                undirected(glyph),
                color="#7f8994",
                size=5,
                ha="center",
                va="center",
                clip_on=True,
            )
        axes.update_datalim(list(zip(series.x, series.y, strict=True)))
    elif series.faint:
        axes.scatter(series.x, series.y, s=5, color="#7f8994", linewidths=0,
                     label=undirected(series.name))  # fmt: skip
    else:
        axes.scatter(series.x, series.y, s=24, marker=_MARKERS[symbol(series.slot)],
                     color=colour(series.slot), edgecolors="white", linewidths=0.5,
                     label=undirected(series.name))  # fmt: skip


# --- files ---------------------------------------------------------------------------------------


@contextmanager
def _drawing() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        yield


def _axes(height: float) -> tuple[Figure, Axes]:
    """A figure that no window knows, and its axes."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(WIDTH, height))
    return made, made.add_subplot()


def _write(folder: Path, name: str, made: Figure) -> None:
    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    for suffix in FORMATS:
        with publish(folder / f"{name}.{suffix}") as temporary:
            made.savefig(temporary, format=suffix, metadata=dates[suffix])


def _slug(title: str) -> str:
    """A title as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:100] or "plot"


def _wrapped(text: str) -> str:
    return textwrap.fill(undirected(text), 78)
