"""From scores to the rows of a table. Accuracies: fractions come in, percent goes out.

    mean = 1/D * sum_d (1/E_d * sum_e a_de)

over the D sets (seeds d) of a row and the E_d networks of each. Spreads, all with ddof 1: of all
networks together, of the means of the sets, and within sets (pooled). One row never holds two keys,
evaluation keys, networks, selections or test-time augmentations, nor scores with F beside scores
without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd

from ddbench import statistics
from ddbench.arms import OWN
from ddbench.leaderboard.cells import UPPER_BOUND, mark, scores_of
from ddbench.leaderboard.recipe_facts import Row, is_within
from ddbench.leaderboard.records import DONE
from ddbench.statistics import Scores

BASELINES = ("random", "herding", "kmeans", "average")
TEST_SELECTED = "best_on_test"

_GROUP = [
    *("dataset", "ipc", "method", "key", "network", "evaluation_key"),
    *("used_features", "ensemble", "tta", "selection", "fixed_iteration"),
]
_SCORE = [*_GROUP, "seed", "network_seed"]

COLUMNS = (
    *("dataset", "method", "name", "ipc", "network", "division"),
    *("accuracy_percent", "accuracy_std_percent"),
    *("interval_low_percent", "interval_high_percent", "interval_method"),
    *("between_sets_std_percent", "within_sets_std_percent"),
    *("n_sets", "n_networks", "networks_per_set", "seeds"),
    *("cell", "ranked", "unranked", "rank", "best", "p_vs_best"),
    *("bytes", "image_bytes", "label_bytes", "feature_bytes", "teacher_bytes"),
    "image_equivalents_per_class",
    *("published_percent", "published_std_percent", "published_source", "difference_points"),
    "within_published",
    *("used_features", "has_features", "fixed_images", "features", "ensemble", "test_selected"),
    *("as_recipe", "recipe", "protocol", "tta", "selection", "evaluation_key", "comparable", "key"),
    *("iterations", "test_size"),
    *("distill_seconds_per_set", "evaluation_seconds_per_network", "peak_memory_bytes"),
    *("device", "measured"),
)
_TYPES = {
    **dict.fromkeys(("ipc", "networks_per_set", "n_sets", "n_networks", "test_size"), "Int64"),
    **dict.fromkeys(("cell", "rank"), "Int64"),
    "within_published": "boolean",
    **dict.fromkeys(("used_features", "has_features", "fixed_images", "ensemble"), "bool"),
    **dict.fromkeys(("test_selected", "as_recipe", "ranked", "best", "measured"), "bool"),
    **dict.fromkeys(
        (
            *("accuracy_percent", "accuracy_std_percent", "interval_low_percent"),
            *("interval_high_percent", "between_sets_std_percent", "within_sets_std_percent"),
            *("p_vs_best", "published_percent", "published_std_percent", "difference_points"),
            *("bytes", "image_bytes", "label_bytes", "feature_bytes", "teacher_bytes"),
            *("image_equivalents_per_class", "distill_seconds_per_set", "peak_memory_bytes"),
            "evaluation_seconds_per_network",
        ),
        "float64",
    ),
}

Columns = Mapping[str, Any]
"""Columns of a frame as arrays."""


def summarise(frame: pd.DataFrame, *, by_bytes: bool = False) -> pd.DataFrame:
    """The rows of a table, sorted and compared, with full precision.

    Only runs that are done count. A score that is there twice (same set, seed and network in two
    files) counts once; the number of such repetitions is in ``attrs['repeated']``.

    Args:
        frame: of ``collect``, or a part of it.
        by_bytes: sort by bytes within a dataset and compare at equal bytes, instead of by IPC.

    Returns:
        A frame with ``COLUMNS``; what does not exist (the spread of one network, the rank of a row
        that is not ranked) is missing. ``attrs`` are those of ``frame`` and ``repeated``.
    """
    done = frame[(frame["status"] == DONE) & (frame["role"] == OWN)]
    done = done.sort_values("path", kind="stable")  # whatever the order of the folders
    # A snapshot chosen by a rule may differ from seed to seed; the last one is the same for all.
    done["fixed_iteration"] = done["iteration"].where(done["selection"] == "last", -1)
    kept = done.drop_duplicates(_SCORE)
    columns = {str(name): kept[name].to_numpy() for name in kept}
    groups = kept.groupby(_GROUP, dropna=False, sort=False).indices.values()
    parts = [{name: values[index] for name, values in columns.items()} for index in groups]
    made = [(_row(part, scores), scores) for part in parts for scores in [scores_of(part)]]
    made.sort(key=lambda pair: _order(pair[0], by_bytes=by_bytes))
    rows = [row for row, _ in made]
    marks = mark(rows, [scores for _, scores in made], by_bytes=by_bytes)
    attrs = {**frame.attrs, "repeated": len(done) - len(kept), "by_bytes": by_bytes}
    return frame_of([row | each for row, each in zip(rows, marks, strict=True)], attrs)


def frame_of(rows: Sequence[Row], attrs: Mapping[Any, Any]) -> pd.DataFrame:
    """Rows as a summary, in the order of the table; a column that a row lacks is missing there."""
    ordered = sorted(rows, key=lambda row: _order(row, by_bytes=bool(attrs["by_bytes"])))
    summary = pd.DataFrame(ordered, columns=list(COLUMNS)).astype(_TYPES)
    summary.attrs = dict(attrs)
    return summary


def _row(part: Columns, scores: Scores) -> Row:
    """One row from the scores of one group."""
    first = {name: values[0] for name, values in part.items()}
    sets = [list(networks.values()) for networks in scores.values()]
    mean = 100 * statistics.mean_over_sets(sets)
    counts = {len(networks) for networks in sets}
    interval = statistics.interval_of(sets)
    published, std, source = _published(part)
    key = first["evaluation_key"]
    return {
        **{name: first[name] for name in _COPIED},
        "name": _name(first),
        "comparable": next((each for each in part["comparable"] if each != key), key),
        "accuracy_percent": mean,
        "accuracy_std_percent": _percent(_std(part["accuracy"])),
        "interval_low_percent": _percent(interval.low if interval else None),
        "interval_high_percent": _percent(interval.high if interval else None),
        "interval_method": interval and interval.method,
        "between_sets_std_percent": _percent(statistics.between_sets_std(sets)),
        "within_sets_std_percent": _percent(statistics.within_sets_std(sets)),
        "n_sets": len(sets),
        "n_networks": len(part["seed"]),
        "networks_per_set": counts.pop() if len(counts) == 1 else None,
        "seeds": _names(part["seed"]),
        "image_equivalents_per_class": first["image_equivalents"],
        "published_percent": published,
        "published_std_percent": std,
        "published_source": source,
        "difference_points": mean - published,
        "within_published": None if math.isnan(std) else is_within(mean - published, std),
        "test_selected": first["selection"] == TEST_SELECTED or bool(part["set_selected"].any()),
        "recipe": _names(part["recipe"]),
        "protocol": _names(part["protocol"]),
        "iterations": _names(part["iteration"]),
        "distill_seconds_per_set": _per_set(part, "distill_seconds"),
        "evaluation_seconds_per_network": fmean(part["seconds"].tolist()),
        "peak_memory_bytes": float(part["peak_memory_bytes"].max()),
        "device": _names(part["device"]),
        "measured": True,
    }


_COPIED = (
    *("dataset", "method", "ipc", "network", "division", "used_features", "has_features"),
    *("fixed_images", "features", "ensemble", "tta", "selection", "evaluation_key", "as_recipe"),
    *("key", "bytes", "image_bytes", "label_bytes", "feature_bytes", "teacher_bytes", "test_size"),
)


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _std(values: np.ndarray[Any, Any]) -> float | None:
    """Sample standard deviation; None of a single value."""
    return stdev(values.tolist()) if len(values) > 1 else None


def _published(part: Columns) -> tuple[float, float, str | None]:
    """The first published number of a row with its spread and source; NaN and None without."""
    known = np.flatnonzero(~np.isnan(part["published_accuracy"]))
    if not len(known):
        return math.nan, math.nan, None
    names = "published_accuracy", "published_std", "published_source"
    accuracy, std, source = (part[name][known[0]] for name in names)
    return float(accuracy), float(std), str(source)


def _per_set(part: Columns, column: str) -> float:
    """Mean over the sets of what is the same for all networks of one."""
    return fmean(dict(zip(part["seed"], part[column], strict=True)).values())


def _names(values: np.ndarray[Any, Any]) -> str:
    return ", ".join(str(value) for value in sorted(set(values.tolist())))


def _name(row: Columns) -> str:
    """The method as a reader has to know it: with F or without, on which images, as what."""
    notes = [
        text
        for holds, text in (
            (row["fixed_images"], "F on fixed images"),
            (row["has_features"] and not row["used_features"], "trained without F"),
            (row["ensemble"], "ensemble"),
        )
        if holds
    ]
    name = f"{row['title']} + F" if row["used_features"] else str(row["title"])
    return f"{name} ({', '.join(notes)})" if notes else name


def _order(row: Row, *, by_bytes: bool) -> tuple[object, ...]:
    """Dataset; the full data last; IPC or bytes; baselines before methods; then what is stable."""
    method = str(row["method"])
    size = row.get("bytes") if by_bytes else row["ipc"]
    rank = BASELINES.index(method) if method in BASELINES else len(BASELINES)
    return (
        row["dataset"],
        method == UPPER_BOUND,
        math.inf if pd.isna(size) else size,  # type: ignore[call-overload]
        rank,
        method,
        row["has_features"],
        row["fixed_images"],
        not row["used_features"],
        row["ensemble"],
        *(str(row.get(name, "")) for name in _LAST),
    )


_LAST = (
    *("network", "recipe", "protocol", "evaluation_key", "key", "tta", "selection", "iterations"),
)
