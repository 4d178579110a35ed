"""From scores to the rows of a table. Accuracies: fractions come in, percent goes out.

    mean = 1/n * sum a,   std = sqrt(sum (a - mean)^2 / (n - 1))

over the n networks of all sets of a row. One row never holds two keys, evaluation keys, networks,
selections or test-time augmentations, nor scores with F beside scores without.
"""

from __future__ import annotations

import math

import pandas as pd

from ddbench.leaderboard.records import DONE, Row

BASELINES = ("random", "herding", "kmeans", "average")
UPPER_BOUND = "full"
TEST_SELECTED = "best_on_test"

_CELL = [
    *("dataset", "ipc", "method", "key", "network", "evaluation_key"),
    *("used_features", "ensemble", "tta", "selection", "fixed_iteration"),
]
_SCORE = [*_CELL, "seed", "network_seed"]

COLUMNS = (
    *("dataset", "method", "name", "ipc", "network"),
    *("accuracy_percent", "accuracy_std_percent", "between_sets_std_percent"),
    *("n_sets", "n_networks", "networks_per_set", "bytes", "image_equivalents_per_class"),
    *("published_percent", "published_std_percent", "published_source", "difference_points"),
    *("used_features", "has_features", "fixed_images", "features", "ensemble", "test_selected"),
    *("recipe", "protocol", "tta", "selection", "evaluation_key", "key", "iterations"),
    *("distill_seconds_per_set", "evaluation_seconds_per_network", "peak_memory_bytes"),
    *("device", "measured"),
)


def summarise(frame: pd.DataFrame, *, by_bytes: bool = False) -> pd.DataFrame:
    """The rows of a table, sorted, with full precision.

    Only runs that are done count. A score that is there twice (same set, seed and network in two
    files) counts once; the number of such repetitions is in ``attrs['repeated']``.

    Args:
        frame: of ``collect``, or a part of it.
        by_bytes: sort by bytes within a dataset, instead of by IPC.

    Returns:
        A frame with ``COLUMNS``. ``accuracy_std_percent`` is missing for a single network,
        ``between_sets_std_percent`` (of the means per set) for a single set. ``attrs`` are those
        of ``frame`` and ``repeated``.
    """
    done = frame[frame["status"] == DONE].copy()
    # A snapshot chosen by a rule may differ from seed to seed; the last one is the same for all.
    done["fixed_iteration"] = done["iteration"].where(done["selection"] == "last", -1)
    scores = done.drop_duplicates(_SCORE)
    groups = scores.groupby(_CELL, dropna=False, sort=False)
    rows = sorted((_row(part) for _, part in groups), key=lambda row: _order(row, by_bytes))
    summary = pd.DataFrame(rows, columns=list(COLUMNS))
    summary = summary.astype({"ipc": "Int64", "networks_per_set": "Int64"})
    summary.attrs = {**frame.attrs, "repeated": len(done) - len(scores)}
    return summary


def _row(part: pd.DataFrame) -> Row:
    """One row from the scores of one cell."""
    first = part.iloc[0]
    percent = part["accuracy"].astype(float) * 100
    sets = percent.groupby(part["seed"])
    mean = float(percent.mean())
    counts = set(sets.count().tolist())
    published = part["published_accuracy"].dropna().astype(float).tolist()
    return {
        **{name: first[name] for name in _COPIED},
        "name": _name(first),
        "accuracy_percent": mean,
        "accuracy_std_percent": float(percent.std(ddof=1)),
        "between_sets_std_percent": float(sets.mean().std(ddof=1)),
        "n_sets": sets.ngroups,
        "n_networks": len(part),
        "networks_per_set": counts.pop() if len(counts) == 1 else None,
        "image_equivalents_per_class": first["image_equivalents"],
        "published_percent": published[0] if published else None,
        "published_std_percent": _first(part, "published_std"),
        "published_source": _first(part, "published_source"),
        "difference_points": mean - published[0] if published else None,
        "test_selected": first["selection"] == TEST_SELECTED or bool(part["set_selected"].any()),
        "recipe": _names(part["recipe"]),
        "protocol": _names(part["protocol"]),
        "iterations": _names(part["iteration"]),
        "distill_seconds_per_set": float(part.drop_duplicates("seed")["distill_seconds"].mean()),
        "evaluation_seconds_per_network": float(part["seconds"].mean()),
        "peak_memory_bytes": float(part["peak_memory_bytes"].max()),
        "device": _names(part["device"]),
        "measured": True,
    }


_COPIED = (
    *("dataset", "method", "ipc", "network", "bytes", "used_features", "has_features"),
    *("fixed_images", "features", "ensemble", "tta", "selection", "evaluation_key", "key"),
)


def _first(part: pd.DataFrame, column: str) -> object:
    """The first value of a column that is there, or None."""
    values = part[column].dropna().tolist()
    return values[0] if values else None


def _names(values: pd.Series) -> str:
    return ", ".join(str(value) for value in sorted(set(values.tolist())))


def _name(row: pd.Series) -> str:
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


def _order(row: Row, by_bytes: bool) -> tuple[object, ...]:
    """Dataset; the full data last; IPC or bytes; baselines before methods; then what is stable."""
    method = str(row["method"])
    size = row["bytes"] if by_bytes else row["ipc"]
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
        *(row[name] for name in ("network", "recipe", "protocol", "evaluation_key", "key")),
        *(row[name] for name in ("tta", "selection", "iterations")),
    )
