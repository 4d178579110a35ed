"""Plots as plotly draws them on the page, and the same numbers as tables beside them.

Colours are names of the style sheet's custom properties (``var(--c0)``): the page's script puts
their values in, anew when the reader's theme changes. All text is escaped: plotly reads some HTML.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from ddbench.report.colours import LIGHT, symbol
from ddbench.report.direction import undirected
from ddbench.report.plots import Axis, Plot, Series
from ddbench.report.ticks import log_ticks

Chart = dict[str, Any]

LEGEND = 24
"""Series in a legend at most; of more, each says its name under the pointer."""
TABLE_ROWS = 24
"""Rows per series of the table beside a plot."""


def chart(plot: Plot) -> Chart:
    """``data`` and ``layout`` of a plot, as plain values for JSON."""
    draw = {"points": _points, "lines": _lines, "map": _map}[plot.kind]
    traces = [trace for series in plot.series for trace in draw(series)]
    layout = {
        "showlegend": 1 < len(plot.series) + len(plot.levels) + bool(plot.front) <= LEGEND,
        "xaxis": _axis(plot.x, [value for series in plot.series for value in series.x]),
        "yaxis": _axis(plot.y, [value for series in plot.series for value in series.y]),
    }
    if plot.kind == "map":
        layout["xaxis"] = layout["yaxis"] = {"visible": False}
        layout["yaxis"] = {"visible": False, "scaleanchor": "x"}
    return {"data": [*_front(plot.front), *_levels(plot), *traces], "layout": layout}


def describe(plot: Plot) -> str:
    """The plot in one sentence, for readers who cannot see it."""
    axes = f"{plot.y.title} against {plot.x.title}" if plot.x.title else "A map of images"
    names = ", ".join(series.name for series in plot.series)
    return f"{plot.title}. {axes}; {len(plot.series)} series: {names}."


def table(plot: Plot) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of text: the numbers of a plot, of long lines every so many points."""
    if plot.kind == "map":
        return ["series", "images drawn"], [[s.name, str(len(s.x))] for s in plot.series]
    spread = any(len(series.low) for series in plot.series)
    headers = ["series", plot.x.title, plot.y.title, *(["low", "high"] if spread else [])]
    rows = [
        [series.name, *(_number(values[i]) if len(values) else "" for values in columns)]
        for series in plot.series
        for columns in [[series.x, series.y, *([series.low, series.high] if spread else [])]]
        for i in _some(len(series.x))
    ]
    return headers, rows


def _some(count: int) -> list[int]:
    """At most ``TABLE_ROWS`` positions, the first and the last among them."""
    if count <= TABLE_ROWS:
        return list(range(count))
    return [round(i * (count - 1) / (TABLE_ROWS - 1)) for i in range(TABLE_ROWS)]


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else "\N{EN DASH}"


# --- traces --------------------------------------------------------------------------------------


def _points(series: Series) -> list[Chart]:
    marks = [symbol(series.slot)] * len(series.x)
    if series.hollow:
        marks = [
            f"{mark}-open" if hollow else mark
            for mark, hollow in zip(marks, series.hollow, strict=True)
        ]
    trace = _named(series) | {
        "type": "scatter",
        "mode": "markers",
        "marker": {
            "symbol": marks,
            "size": 10,
            "color": _colour(series),
            "line": {"width": 2, "color": _colour(series)},
        },
    }
    if len(series.low):
        trace["error_y"] = {
            "type": "data",
            "array": _numbers([h - y for h, y in zip(series.high, series.y, strict=True)]),
            "arrayminus": _numbers([y - v for v, y in zip(series.low, series.y, strict=True)]),
            "color": _colour(series),
            "thickness": 1.5,
            "width": 5,
        }
    return [trace]


def _lines(series: Series) -> list[Chart]:
    line = {"color": _colour(series), "width": 2, "dash": _dash(series.slot)}
    trace = _named(series) | {"type": "scatter", "mode": "lines", "line": line}
    if not len(series.low):
        return [trace]
    edge = {
        "type": "scatter", "mode": "lines", "x": _numbers(series.x), "line": {"width": 0},
        "hoverinfo": "skip", "showlegend": False, "legendgroup": trace["legendgroup"],
    }  # fmt: skip
    band = {"fill": "tonexty", "fillcolor": f"var(--b{series.slot % len(LIGHT)})"}
    return [
        {**edge, "y": _numbers(series.low)},
        {**edge, "y": _numbers(series.high), **band},
        trace,
    ]


def _map(series: Series) -> list[Chart]:
    if series.glyphs:
        glyphs = {
            "mode": "text", "text": [_plain(glyph) for glyph in series.glyphs],
            "hovertext": [_plain(text) for text in series.text], "showlegend": False,
            "textfont": {"color": "var(--faint)", "size": 11},
        }  # fmt: skip
        return [_named(series) | {"type": "scatter"} | glyphs]
    marker: Chart = {"symbol": symbol(series.slot), "size": 10, "color": _colour(series),
                     "line": {"width": 1, "color": "var(--paper)"}}  # fmt: skip
    if series.faint:
        marker = {"symbol": "circle", "size": 5, "color": "var(--faint)"}
    return [_named(series) | {"type": "scatter", "mode": "markers", "marker": marker}]


def _named(series: Series) -> Chart:
    """What every trace has."""
    trace: Chart = {
        "name": _plain(series.name),
        "legendgroup": _plain(series.name),
        "x": _numbers(series.x),
        "y": _numbers(series.y),
    }
    if series.text:
        trace |= {"text": [_plain(text) for text in series.text], "hoverinfo": "text"}
    return trace


def _front(corners: Sequence[tuple[float, float]]) -> list[Chart]:
    """The Pareto front as steps: at every cost the best that can be had for it."""
    if not corners:
        return []
    return [
        {
            "type": "scatter", "mode": "lines", "name": "Pareto front", "hoverinfo": "skip",
            "x": [x for x, _ in corners], "y": [y for _, y in corners],
            "line": {"shape": "hv", "width": 2, "dash": "dot", "color": "var(--muted)"},
        }
    ]  # fmt: skip


def _levels(plot: Plot) -> list[Chart]:
    """Lines from the least to the largest x; traces, as the range of the axis heeds them."""
    x = [value for series in plot.series for value in series.x]
    return [
        {
            "type": "scatter", "mode": "lines", "name": _plain(name), "hoverinfo": "name",
            "x": _numbers([min(x), max(x)]), "y": _numbers([value, value]),
            "line": {"width": 1.5, "dash": "longdash", "color": "var(--muted)"},
        }
        for name, value in plot.levels
    ]  # fmt: skip


def _axis(axis: Axis, values: Sequence[float]) -> Chart:
    found: Chart = {"title": {"text": _plain(axis.title)}}
    if axis.log:
        places, texts = log_ticks(values)
        found |= {"type": "log", "tickvals": places, "ticktext": texts}
    return found


def _dash(slot: int) -> str:
    """Another dash for every round of the colours."""
    return ("solid", "dash", "dot", "dashdot")[slot // len(LIGHT) % 4]


def _colour(series: Series) -> str:
    return f"var(--c{series.slot % len(LIGHT)})"


def _numbers(values: Sequence[float]) -> list[float | None]:
    """Numbers with seven significant digits; JSON has no NaN."""
    return [float(f"{value:.7g}") if math.isfinite(value) else None for value in values]


def _plain(text: str) -> str:
    """Text that plotly shows as it is: no markup, and no mathematics between dollars."""
    return html.escape(" ".join(undirected(text).split()), quote=False).replace("$", "&#36;")
