"""Choosing among rows, and parting them: in plain Python, which is fast for many small groups."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Record = TypeVar("Record", bound=Mapping[Any, Any])


def grouped(records: Iterable[Record], names: Sequence[str]) -> dict[tuple[Any, ...], list[Record]]:
    """Records by their values of ``names``, in the order of their first."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record[name] for name in names), []).append(record)
    return groups


def spread(items: Sequence[Item], groups: Sequence[Hashable], limit: int) -> list[Item]:
    """At most ``limit`` items in their order: the first of each group, then the second of each."""
    turns: dict[Hashable, int] = {}
    ranked = []
    for place, group in enumerate(groups):
        turns[group] = turns.get(group, 0) + 1
        ranked.append((turns[group], place))
    chosen = sorted(place for _, place in sorted(ranked)[:limit])
    return [items[place] for place in chosen]
