"""A summary as text: Markdown and LaTeX to be read, CSV and JSON to be computed with."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import pandas as pd
from tabulate import tabulate

from ddbench.errors import unknown
from ddbench.leaderboard.view import Table, footer, table_of

FORMATS = ("github", "csv", "json", "latex")

_LATEX = {
    **{character: f"\\{character}" for character in "%_&#${}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{DAGGER}": r"$^\dagger$",
    "\N{EN DASH}": "--",
}
_LATEX_MAP = str.maketrans(_LATEX)


def render(summary: pd.DataFrame, fmt: str, *, published: bool = False) -> str:
    """``summary`` as text that ends with a line feed.

    ``github`` and ``latex`` (with booktabs) show the usual columns, two decimals and the footer.
    ``csv`` and ``json`` hold every column at full precision, its unit in its name; a missing value
    is empty or null, and the footer is left to the caller (``footer``).

    Args:
        summary: of ``summarise``.
        fmt: one of ``FORMATS``.
        published: keep the columns of published numbers even where there are none, and say the
            source of each in a column.

    Raises:
        BadInput: an unknown format.
    """
    if fmt not in FORMATS:
        raise unknown("format", fmt, FORMATS, "--format")
    if fmt == "csv":
        return summary.to_csv(index=False, lineterminator="\n")
    if fmt == "json":
        return _json(summary)
    return _TEXTS[fmt](table_of(summary, published=published), footer(summary))


def _json(summary: pd.DataFrame) -> str:
    records = [
        {str(name): _plain(value) for name, value in record.items()}
        for record in summary.to_dict(orient="records")
    ]
    return json.dumps(records, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    """A value that JSON has; whatever is missing or not finite is null."""
    item: Callable[[], object] | None = getattr(value, "item", None)
    value = item() if item else value
    if value is None or value is pd.NA:
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _github(table: Table, notes: list[str]) -> str:
    cells = [[_markdown(cell) for cell in row] for row in table.cells]
    text = tabulate(
        cells,
        headers=table.headers,
        tablefmt="pipe",  # what GitHub reads, with the alignment written down
        disable_numparse=True,
        colalign=["right" if right else "left" for right in table.right] if cells else None,
    )
    return "\n".join([text, "", *(f"- {' '.join(note.split())}" for note in notes)]) + "\n"


def _markdown(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


def _latex(table: Table, notes: list[str]) -> str:
    """A tabular for the package booktabs, and the footer as small paragraphs below it."""
    rows = [" & ".join(escape_latex(cell) for cell in row) + r" \\" for row in table.cells]
    return "\n".join(
        [
            r"\begin{tabular}{" + "".join("r" if right else "l" for right in table.right) + "}",
            r"\toprule",
            " & ".join(escape_latex(header) for header in table.headers) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            "",
            r"{\footnotesize",
            # \par and not \\, which would take the "[1]" of a source for its argument
            *(rf"{escape_latex(note)}\par" for note in notes),
            "}",
            "",
        ]
    )


def escape_latex(text: str) -> str:
    r"""Text that LaTeX sets as it is; a leading minus becomes a minus sign."""
    escaped = " ".join(text.split()).translate(_LATEX_MAP)
    return re.sub(r"^-(?=[0-9])", "$-$", escaped)


_TEXTS: Mapping[str, Callable[[Table, list[str]], str]] = MappingProxyType(
    {"github": _github, "latex": _latex}
)
