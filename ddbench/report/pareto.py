"""The Pareto front: what nothing else beats at the same or at a lower cost."""

from __future__ import annotations

from collections.abc import Sequence


def front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Positions of the points that no other dominates, by rising cost.

    A point dominates another if it costs no more and is worth no less, and differs in one of the
    two. Points that are equal in both stay together.

    Args:
        costs: finite [n]; less is better.
        values: finite [n]; more is better.
    """
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -values[i], i))
    kept: list[int] = []
    for i in order:
        if not kept or values[i] > values[kept[-1]] or _same(costs, values, i, kept[-1]):
            kept.append(i)
    return kept


def _same(costs: Sequence[float], values: Sequence[float], i: int, j: int) -> bool:
    return costs[i] == costs[j] and values[i] == values[j]
