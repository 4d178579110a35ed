"""What stands below a table: what its numbers are, what they may be used for, what is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from ddbench import statistics
from ddbench.leaderboard.cells import ALONE, FEW, SHARED_SEEDS, TOLERANCE
from ddbench.leaderboard.recipe_facts import DIVISIONS
from ddbench.leaderboard.signs import DAGGER, DOUBLE_DAGGER, PLUS_MINUS, TIMES, UNRANKED

SummaryRow = Mapping[str, Any]


def footer(summary: pd.DataFrame, *, turned: bool = False) -> list[str]:
    """What a reader has to know about the table, one sentence or two per line.

    Args:
        turned: of a pivot, which has no columns of intervals, counts and image equivalents.
    """
    measured = summary[summary["measured"]]
    lines = [
        "Accuracy: at the final epoch, on the whole test set; the mean over the sets of the mean "
        f"over the networks of each. {PLUS_MINUS}: sample standard deviation (ddof 1) over all "
        "networks of all sets.",
        *([] if turned else _intervals(measured)),
        *_sampling_error(measured),
        *([] if turned else [_SIZES]),
        *_comparison(measured, by_bytes=bool(summary.attrs.get("by_bytes"))),
        *_marks(measured),
        *_published(summary[~summary["measured"]] if turned else summary, turned=turned),
    ]
    if division := summary.attrs.get("division"):
        lines.append(f"Only one division: {DIVISIONS[division]}.")
    if left := _left_apart(summary):
        lines.append(f"Left apart: {', '.join(left)}.")
    devices = sorted({name for text in measured["device"] for name in str(text).split(", ")})
    lines.append(f"Measured on: {', '.join(devices) or 'nothing yet'}.")
    return lines


_SIZES = (
    f"Sets {TIMES} networks: sets made with different seeds, and networks trained on each. "
    "Images: bytes of images and (where used) F per class, in float32 images."
)


def cell_counts(summary: pd.DataFrame) -> str:
    """How many sets and networks are behind the cells of a table that does not say it of each."""
    measured = summary[summary["measured"] & ~summary["ensemble"]]
    if measured.empty:
        return "No single networks are measured."
    per_set = measured["n_networks"] / measured["n_sets"]
    sets, networks = _counts(measured["n_sets"]), _counts(per_set)
    return f"Sets of each cell: {sets}; networks trained on each: {networks}."


def _counts(values: pd.Series) -> str:
    low, high = (f"{value:g}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


# --- spread and error ----------------------------------------------------------------------------


def _intervals(measured: pd.DataFrame) -> list[str]:
    methods = [name for name in _INTERVALS if (measured["interval_method"] == name).any()]
    text = "; ".join(_INTERVALS[name] for name in methods)
    return [f"95 % interval: {text}."] if methods else []


_INTERVALS = {
    "t over sets": (
        f"Student's t over the means of the sets, with 2 to {statistics.BOOTSTRAP_FROM - 1} of them"
    ),
    "bootstrap over sets": (
        "studentised bootstrap of sets, and of networks within each, with "
        f"{statistics.BOOTSTRAP_FROM} sets or more"
    ),
    "t over networks of one set": (
        "with one set, Student's t over its networks, which says nothing of other sets of the "
        "method"
    ),
}


def _sampling_error(measured: pd.DataFrame) -> list[str]:
    """How far the accuracies would move with another test set of the same size, per dataset."""
    parts = []
    for dataset, rows in measured.dropna(subset=["test_size"]).groupby("dataset"):
        halves = []
        for accuracy, size in zip(rows["accuracy_percent"], rows["test_size"], strict=True):
            low, high = statistics.wilson(accuracy / 100, int(size))
            halves.append(100 * (high - low) / 2)
        sizes = sorted(set(rows["test_size"].tolist()))
        images = " or ".join(str(size) for size in sizes)
        parts.append(f"{dataset}, {images} images, {PLUS_MINUS}{_range(halves)} points")
    if not parts:
        return []
    return [
        "Error of the test set itself (half the width of Wilson's 95 % interval): "
        f"{'; '.join(parts)}. All rows share these images; it is not in the intervals."
    ]


def _range(values: Iterable[float]) -> str:
    low, high = (f"{value:.1f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


# --- comparison ----------------------------------------------------------------------------------


def _comparison(measured: pd.DataFrame, *, by_bytes: bool) -> list[str]:
    lines = []
    size = f"bytes within {100 * TOLERANCE:g} %" if by_bytes else "IPC, division"
    pairs = "the seed" if by_bytes else "common random numbers"  # the order of data depends on IPC
    if (measured["best"] & ~measured["test_selected"]).any():
        lines.append(
            f"Bold: of the rows that can be compared (same dataset, {size}, network and training) "
            "the best and all that are not significantly worse: t-tests over sets, paired by "
            f"{pairs}, corrected after Holm, 5 %."
        )
    if (measured["unranked"] == FEW).any():
        lines.append(
            f"{UNRANKED}: not ranked: fewer than {statistics.MIN_SETS} sets, or than "
            f"{statistics.MIN_NETWORKS} networks on one of them."
        )
    if alone := sorted(set(measured.loc[measured["unranked"] == ALONE, "recipe"])):
        lines.append(
            f"{UNRANKED}: not compared with the others: fewer than {SHARED_SEEDS} seeds in common "
            f"({', '.join(alone)})."
        )
    return lines


def _marks(measured: pd.DataFrame) -> list[str]:
    lines = []
    if measured["used_features"].any():
        lines.append("+ F: trained with the privileged features F of the set.")
    if measured["fixed_images"].any():
        lines.append("F on fixed images: only F was learned; the images are real ones.")
    if measured["ensemble"].any():
        lines.append(
            "Ensemble: the mean logits of all networks of a set, one score per set, of which the "
            "seconds are not counted; kept apart from single networks."
        )
    if measured["test_selected"].any():
        lines.append(
            f"{DAGGER}: the set, or the learning rate, was chosen on the test set; ranked apart "
            "from the others and never bold."
        )
    return lines


# --- published numbers ---------------------------------------------------------------------------


def sources(summary: pd.DataFrame) -> list[str]:
    """The sources of published numbers, in the order of the rows."""
    return list(dict.fromkeys(str(source) for source in summary["published_source"].dropna()))


def _published(summary: pd.DataFrame, *, turned: bool) -> list[str]:
    found = sources(summary)
    if not found:
        return []
    meaning = (
        "Published: the paper's number, not measured here. Difference: measured - published, in "
        "points; within: whether it is at most the published standard deviation."
    )
    lines = [] if turned else [meaning]
    if not summary["measured"].all():
        lines.append(f"{DOUBLE_DAGGER}: published, not measured here, and not ranked.")
    return lines + [f"[{number}] {source}" for number, source in enumerate(found, 1)]


# --- what is not there ---------------------------------------------------------------------------


def _left_apart(summary: pd.DataFrame) -> list[str]:
    by_status = Counter(status for _, status in summary.attrs.get("unfinished", ()))
    failed = by_status.pop("failed", 0)
    unfinished = sum(by_status.values())
    details = ", ".join(f"{count} {status}" for status, count in sorted(by_status.items()))
    rejected = len(summary.attrs.get("rejected", ()))
    repeated = summary.attrs.get("repeated", 0)
    return [
        f"{number} {one if number == 1 else many}"
        for number, one, many in (
            (failed, "failed run", "failed runs"),
            (unfinished, f"unfinished run ({details})", f"unfinished runs ({details})"),
            (rejected, "file that could not be read", "files that could not be read"),
            (repeated, "score found twice", "scores found twice"),
        )
        if number
    ]
