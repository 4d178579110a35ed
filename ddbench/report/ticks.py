"""Ticks of logarithmic axes: round numbers, three at least even within one decade."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MANTISSAS = ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0))
_ENOUGH = 3
_MARGIN = 1.3
"""How far beyond the data ticks may lie, as a factor."""
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def log_ticks(values: Sequence[float]) -> tuple[list[float], list[str]]:
    """Places and texts of the ticks for positive finite ``values``; the coarsest that suffice."""
    known = [value for value in values if math.isfinite(value) and value > 0]
    if not known:
        return [], []
    low, high = min(known) / _MARGIN, max(known) * _MARGIN
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in _MANTISSAS:
        every = (float(f"{m}e{decade}") for decade in decades for m in mantissas)
        places = [place for place in every if low <= place <= high]
        if len(places) >= _ENOUGH:
            break
    return places, [_text(place) for place in places]


def _text(value: float) -> str:
    """``2.5k``, ``0.1``."""
    for unit, name in _UNITS:
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
