"""Two rows image by image: which test images their paired networks get right.

Axes: n test images, K classes. All of it speaks of the networks that were trained, not of others
that could be. Only the files that are compared are read for their bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ddbench import statistics
from ddbench.errors import BadInput
from ddbench.recipe_files import from_yaml
from ddbench.store import EvaluationRecord
from ddbench.store.evaluations import decode_evaluations
from ddbench.store.tree import open_tree

Network = tuple[int, int]
"""The seed of a set, and the number of a network of it."""


@dataclass(frozen=True)
class NetworkPair:
    """McNemar's exact test of one network of A and the same one of B.

    Attributes:
        only_a, only_b: test images that only one of the two gets right.
        p, adjusted_p: two-sided; the second by Holm over all pairs of the two rows.
    """

    seed: int
    network_seed: int
    only_a: int
    only_b: int
    p: float
    adjusted_p: float


@dataclass(frozen=True)
class ClassDifference:
    """Accuracy of A - B on the test images of one class; descriptive, not tested."""

    label: int
    name: str
    points: float


@dataclass(frozen=True)
class Images:
    """What the stored bits say of two rows.

    Attributes:
        test_size: n; None where no bits are kept.
        pairs: of networks that both rows have, with bits.
        without_bits: how many pairs of networks lack the bits of one.
        difference_points, low_points, high_points, p: of the mean over ``pairs``, with an interval
            over test images.
        classes: mean over all paired networks, the largest difference first.
    """

    test_size: int | None
    pairs: tuple[NetworkPair, ...]
    without_bits: int
    difference_points: float | None
    low_points: float | None
    high_points: float | None
    p: float | None
    classes: tuple[ClassDifference, ...]

    def significant(self, alpha: float) -> tuple[int, int]:
        """In how many pairs A, and B, is significantly better after Holm's correction."""
        found = [pair for pair in self.pairs if pair.adjusted_p <= alpha]
        better = sum(pair.only_a > pair.only_b for pair in found)
        return better, len(found) - better


class Files:
    """The result files of a comparison, each read once, when its bits are asked for."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    def images(self, a: pd.DataFrame, b: pd.DataFrame, level: float) -> Images:
        """Compare two rows over the networks that both have, at least one.

        Raises:
            BadInput: they were tested on different images.
        """
        self._check_same_images([*a["path"].unique(), *b["path"].unique()])
        one, other = self._records(a), self._records(b)
        shared = sorted(one.keys() & other.keys())
        pairs = [(one[network], other[network]) for network in shared]
        kept = [
            (network, x.correct, y.correct)
            for network, (x, y) in zip(shared, pairs, strict=True)
            if x.correct is not None and y.correct is not None
        ]
        classes = self._file(a["path"].iloc[0]).classes
        found = _bits([bits for _, *bits in kept], level) if kept else {}
        return Images(
            test_size=kept[0][1].size if kept else None,
            pairs=tuple(_mcnemar(kept)),
            without_bits=len(pairs) - len(kept),
            difference_points=found.get("difference"),
            low_points=found.get("low"),
            high_points=found.get("high"),
            p=found.get("p"),
            classes=tuple(_class_differences(pairs, classes)),
        )

    def _file(self, path: str) -> _File:
        if path not in self._files:
            self._files[path] = _File(Path(path))
        return self._files[path]

    def _records(self, row: pd.DataFrame) -> dict[Network, EvaluationRecord]:
        """The records behind the scores of a row."""
        columns = ("path", "evaluation_key", "network", "used_features", "network_seed", "seed")
        return {
            (seed, member): self._file(path).records[key, network, with_f, member]
            for path, key, network, with_f, member, seed in zip(
                *(row[name].tolist() for name in columns), strict=True
            )
        }

    def _check_same_images(self, paths: Sequence[str]) -> None:
        """Refuse files whose real data or number of test images differ, where they say so."""
        for what in ("dataset_sha256", "test_size"):
            known = {path: value for path in paths if (value := getattr(self._file(path), what))}
            if len(set(known.values())) > 1:
                first, *others = known
                other = next(path for path in others if known[path] != known[first])
                raise BadInput(
                    f"was tested on other images than {first}: {what} is {_short(known[other])}, "
                    f"there {_short(known[first])}", file=other,
                )  # fmt: skip


class _File:
    """What is needed of one result file."""

    def __init__(self, path: Path) -> None:
        with open_tree(path) as file:
            attrs, records = file.attrs, decode_evaluations(file)
        self._recipe = str(attrs["recipe"])
        self._path = path
        self.dataset_sha256 = str(attrs.get("dataset_sha256", ""))
        sizes = [record.correct.size for record in records if record.correct is not None]
        self.test_size = sizes[0] if sizes else 0
        self.records = {
            (each.evaluation_key, each.network, each.used_features, each.network_seed): each
            for each in records
        }

    @cached_property
    def classes(self) -> Sequence[str]:
        """The names of the classes, where they are known."""
        return from_yaml(self._recipe, file=self._path).facts.classes


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 12 else f"{text[:12]}..."


def _bits(pairs: Sequence[Sequence[Any]], level: float) -> dict[str, float]:
    """The pooled difference over test images, in points."""
    a, b = (np.stack(bits) for bits in zip(*pairs, strict=True))
    if a.shape[1] < 2:
        return {}
    found = statistics.image_difference(a, b, level)
    points = {
        "difference": found.difference, "low": found.interval.low, "high": found.interval.high
    }  # fmt: skip
    return {name: 100 * value for name, value in points.items()} | {"p": found.p}


def _mcnemar(kept: Sequence[tuple[Network, Any, Any]]) -> Iterator[NetworkPair]:
    tests = [statistics.mcnemar(a, b) for _, a, b in kept]
    adjusted = statistics.holm([test.p for test in tests])
    for ((seed, member), *_), test, p in zip(kept, tests, adjusted, strict=True):
        yield NetworkPair(seed, member, test.only_a, test.only_b, test.p, p)


def _class_differences(
    pairs: Sequence[tuple[EvaluationRecord, EvaluationRecord]], names: Sequence[str]
) -> list[ClassDifference]:
    """Of the classes that every paired network has an accuracy for."""
    lengths = {record.per_class.size for pair in pairs for record in pair}
    if len(lengths) > 1:
        return []
    found = np.mean([np.subtract(a.per_class, b.per_class, dtype=float) for a, b in pairs], axis=0)
    differences = [
        ClassDifference(label, names[label] if names else str(label), 100 * float(value))
        for label, value in enumerate(found)
        if not math.isnan(value)
    ]
    return sorted(differences, key=lambda each: (-abs(each.points), each.label))
