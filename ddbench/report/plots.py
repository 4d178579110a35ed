"""What is drawn, before it has a format: the page (plotly) and the figures (matplotlib) share it.

Accuracies are percent. A value that is missing or not finite is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["points", "lines", "map"]


@dataclass(frozen=True)
class Axis:
    """An axis: its title with the unit, and whether it is logarithmic."""

    title: str
    log: bool = False


@dataclass(frozen=True)
class Series:
    """Points or a line with one name, one colour and one symbol.

    Attributes:
        x, y: the numbers, [n].
        low, high: ends of an error bar (points) or of a band (lines), [n]; empty: none.
        text: what is said of each point, [n]; empty: nothing.
        glyphs: characters drawn in place of symbols, [n]; empty: symbols.
        hollow: which points are drawn as outlines, [n]; empty: none.
        slot: colour and symbol (``colours``).
        faint: drawn behind the others, small and grey.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    text: Sequence[str] = ()
    glyphs: Sequence[str] = ()
    hollow: Sequence[bool] = ()
    slot: int = 0
    faint: bool = False


@dataclass(frozen=True)
class Plot:
    """One plot.

    Attributes:
        title: what it shows, complete in itself.
        front: corners (x, y) of a Pareto front, by rising x; empty: none.
        levels: horizontal lines (name, y) to compare with.
        notes: sentences below the plot.
    """

    kind: Kind
    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    front: Sequence[tuple[float, float]] = ()
    levels: Sequence[tuple[str, float]] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class HeatMap:
    """Numbers of methods by networks.

    Attributes:
        rows, columns: the names.
        cells: percent [rows][columns]; NaN: never measured.
        spread: standard deviations, alike.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[float]]
    spread: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Panel:
    """What a reader chooses to see in a part of the page: one plot, or several side by side."""

    title: str
    plots: Sequence[Plot] = ()
    notes: Sequence[str] = field(default=())
