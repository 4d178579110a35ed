"""What a reader sees of a summary: which columns, how numbers are written, what stands below."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
DAGGER = "\N{DAGGER}"
NOTHING = "\N{EN DASH}"

_IDENTITY = ["dataset", "name", "ipc", "network", "test_selected"]
_TELLING = {
    "recipe": "recipe",
    "protocol": "protocol",
    "tta": "test-time augmentation",
    "selection": "selection",
    "evaluation_key": "evaluation key",
    "key": "key",
    "iterations": "iteration",
}


@dataclass(frozen=True)
class Table:
    """Text cells [rows][columns] with headers; ``right`` says which columns hold numbers."""

    headers: list[str]
    cells: list[list[str]]
    right: list[bool]


@dataclass(frozen=True)
class _Column:
    header: str
    right: bool
    text: Callable[[pd.Series], str]


def table_of(summary: pd.DataFrame, *, published: bool = False) -> Table:
    """The summary as text cells; see ``render`` for ``published``."""
    columns = _columns(summary, published)
    cells = [[column.text(row) for column in columns] for _, row in summary.iterrows()]
    return Table([column.header for column in columns], cells, [column.right for column in columns])


def telling_columns(summary: pd.DataFrame) -> list[str]:
    """The further columns without which two rows would look the same."""
    shown = list(_IDENTITY)
    distinct = _distinct(summary, shown)
    for name in _TELLING:
        if distinct == len(summary):
            break
        more = _distinct(summary, [*shown, name])
        if more > distinct:
            shown.append(name)
            distinct = more
    return shown[len(_IDENTITY) :]


def _distinct(summary: pd.DataFrame, columns: list[str]) -> int:
    return len(summary.drop_duplicates(columns))


def _columns(summary: pd.DataFrame, published: bool) -> list[_Column]:
    columns = [
        _Column("dataset", False, lambda row: str(row["dataset"])),
        _Column("method", False, _method),
        _Column("IPC", True, lambda row: "all" if pd.isna(row["ipc"]) else str(row["ipc"])),
        _Column("network", False, lambda row: str(row["network"])),
    ]
    for name in telling_columns(summary):
        columns.append(_Column(_TELLING[name], False, _field(name)))
    columns += [
        _Column("accuracy (%)", True, _accuracy),
        _Column(f"sets {TIMES} networks", True, _counts),
        _Column("bytes", True, lambda row: human_bytes(row["bytes"])),
        _Column("images", True, lambda row: f"{row['image_equivalents_per_class']:.2f}"),
    ]
    if published or summary["published_percent"].notna().any():
        numbers = {source: number for number, source in enumerate(_sources(summary), 1)}
        columns += [
            _Column("published (%)", True, lambda row: _published(row, numbers)),
            _Column("difference", True, _difference),
        ]
    if published:
        columns.append(_Column("source", False, _source))
    return columns


def _field(name: str) -> Callable[[pd.Series], str]:
    return lambda row: str(row[name])


def _method(row: pd.Series) -> str:
    return f"{row['name']} {DAGGER}" if row["test_selected"] else str(row["name"])


def _accuracy(row: pd.Series) -> str:
    return _spread(row["accuracy_percent"], row["accuracy_std_percent"])


def _spread(mean: float, std: float) -> str:
    return f"{mean:.2f}" if pd.isna(std) else f"{mean:.2f} {PLUS_MINUS} {std:.2f}"


def _counts(row: pd.Series) -> str:
    """``3 x 20``, or the total where the sets have different numbers of networks."""
    per_set = row["networks_per_set"]
    if pd.isna(per_set):
        return f"{row['n_networks']} on {row['n_sets']} sets"
    return f"{row['n_sets']} {TIMES} {per_set}"


def _published(row: pd.Series, numbers: dict[str, int]) -> str:
    if pd.isna(row["published_percent"]):
        return NOTHING
    value = _spread(row["published_percent"], row["published_std_percent"])
    return f"{value} [{numbers[str(row['published_source'])]}]"


def _difference(row: pd.Series) -> str:
    points = row["difference_points"]
    if pd.isna(points):
        return NOTHING
    return f"{points:+.2f}" if round(points, 2) else "0.00"


def _source(row: pd.Series) -> str:
    return NOTHING if pd.isna(row["published_percent"]) else str(row["published_source"])


def human_bytes(count: float) -> str:
    """Bytes in units of 1000: ``850 B``, ``25.1 kB``."""
    if count < 1000:
        return f"{math.ceil(count)} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if round(count, 1) < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


# --- below the table ---------------------------------------------------------------------------


def footer(summary: pd.DataFrame) -> list[str]:
    """What a reader has to know about the table, one sentence or two per line."""
    lines = [
        f"{PLUS_MINUS}: sample standard deviation (ddof 1) over all networks of all sets. "
        "Accuracy: mean at the final epoch, on the whole test set.",
        f"Sets {TIMES} networks: sets made with different seeds, and networks trained on each. "
        "Images: bytes of images and (where used) F per class, in float32 images.",
    ]
    lines += _marks(summary)
    lines += _sources_lines(summary)
    if left := _left_apart(summary):
        lines.append(f"Left apart: {', '.join(left)}.")
    devices = sorted({name for text in summary["device"] for name in str(text).split(", ")})
    lines.append(f"Measured on: {', '.join(devices) or 'nothing yet'}.")
    return lines


def _marks(summary: pd.DataFrame) -> list[str]:
    lines = []
    if summary["has_features"].any():
        lines.append('"+ F": trained with the privileged features F of the set.')
    if summary["fixed_images"].any():
        lines.append("F on fixed images: only F was learned; the images are real ones.")
    if summary["ensemble"].any():
        lines.append(
            "Ensemble: the mean logits of all networks of a set, one score per set; kept apart "
            "from single networks."
        )
    if summary["test_selected"].any():
        lines.append(
            f"{DAGGER}: the set, or the learning rate, was chosen on the test set; not comparable."
        )
    return lines


def _sources(summary: pd.DataFrame) -> list[str]:
    """The sources of published numbers, in the order of the rows."""
    return list(dict.fromkeys(str(source) for source in summary["published_source"].dropna()))


def _sources_lines(summary: pd.DataFrame) -> list[str]:
    sources = _sources(summary)
    if not sources:
        return []
    meaning = "Published: the paper's number, not measured here. Difference: measured - published."
    return [meaning, *(f"[{number}] {source}" for number, source in enumerate(sources, 1))]


def _left_apart(summary: pd.DataFrame) -> list[str]:
    unfinished = len(summary.attrs.get("unfinished", ()))
    rejected = len(summary.attrs.get("rejected", ()))
    repeated = summary.attrs.get("repeated", 0)
    return [
        f"{number} {one if number == 1 else many}"
        for number, one, many in (
            (unfinished, "unfinished run", "unfinished runs"),
            (rejected, "file that could not be read", "files that could not be read"),
            (repeated, "score found twice", "scores found twice"),
        )
        if number
    ]
