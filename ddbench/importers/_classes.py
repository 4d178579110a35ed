"""Whose class is whose: a file's class indices in the order of the dataset.

Tools sort folders by name, so that 0, 1, 10, 2 and the several orders of Tiny-ImageNet silently
give every image another label. Axes: K classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddbench.errors import BadInput
from ddbench.importers import _answers

if TYPE_CHECKING:
    from ddbench.datasets import DatasetFacts


def order(
    names: Sequence[str], facts: DatasetFacts, given: Path | None
) -> tuple[list[int], str, str]:
    """The dataset's class for each of the file's class indices.

    Args:
        names: what the file calls its classes; empty where it only numbers them.
        given: the user's list: line i names the dataset's class that the file calls i.

    Returns:
        K class numbers, how they were found, and from whom (``user``, ``format``, ``evident``).

    Raises:
        BadInput: names that are not the dataset's, or another number of them.
    """
    numbers = _trailing_numbers(names)
    if given is not None:
        try:
            listed = _by_name(_answers.lines(given), facts)
        except BadInput as error:
            raise error.at(file=given) from None
        if numbers is not None and sorted(numbers) == list(range(len(listed))):
            listed = [listed[number] for number in numbers]
        return listed, given.name, "user"
    if not names:
        return list(range(facts.num_classes)), "the dataset's own", "format"
    if numbers is not None and len(numbers) == facts.num_classes:
        own = list(range(facts.num_classes))
        for known, what in ((own, "numbers"), (list(facts.indices), "ILSVRC-2012 indices")):
            if sorted(numbers) == sorted(known):
                return [known.index(number) for number in numbers], f"by their {what}", "evident"
    return _by_name(names, facts), "by their names", "evident"


def _by_name(names: Sequence[str], facts: DatasetFacts) -> list[int]:
    """The class of every index, WordNet id or name; each exactly once."""
    if len(names) != facts.num_classes:
        raise BadInput(f"names {len(names)} classes, {facts.name} has {facts.num_classes}",
                       field="--class-order", allowed="one class per line")  # fmt: skip
    known = {str(number): number for number in range(facts.num_classes)}
    for listed in (facts.classes, facts.wnids):
        known |= {_folded(name): number for number, name in enumerate(listed)}
    found: list[int] = []
    for name in names:
        number = known.get(_folded(name))
        if number is None or number in found:
            problem = "is no class of" if number is None else "names a class twice of"
            raise BadInput(
                f"'{name}' {problem} {facts.name}", field="--class-order",
                allowed="a file with one class per line: index, WordNet id or name",
            )  # fmt: skip
        found.append(number)
    return found


def _folded(name: str) -> str:
    return name.casefold().replace(" ", "_").replace("-", "_")


def _trailing_numbers(names: Sequence[str]) -> list[int] | None:
    """``new007`` is 7; None where a name does not end in a number, or is a WordNet id."""
    if not names or any(re.fullmatch(r"n\d{8}", name) for name in names):
        return None
    found = [re.fullmatch(r"\D*(\d{1,9})", name) for name in names]
    return [int(match[1]) for match in found if match] if all(found) else None
