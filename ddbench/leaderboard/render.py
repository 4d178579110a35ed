"""Tables as text: Markdown, LaTeX and HTML to be read, CSV and JSON to be computed with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import pandas as pd
from tabulate import tabulate

from ddbench.errors import unknown
from ddbench.leaderboard.escaping import html_environment, latex, markdown
from ddbench.leaderboard.section import Section
from ddbench.leaderboard.view import table_of

FORMATS = ("github", "latex", "csv", "html", "json")


def render(summary: pd.DataFrame, fmt: str, *, published: bool = False, costs: bool = False) -> str:
    """``summary`` as text that ends with a line feed.

    ``github``, ``latex`` (with booktabs) and ``html`` (a fragment) show the usual columns, two
    decimals and the footer. ``csv`` and ``json`` hold every column at full precision, its unit in
    its name; a missing value is empty or null, and the footer is left to the caller (``footer``).

    Args:
        summary: of ``summarise``.
        fmt: one of ``FORMATS``.
        published: keep the columns of published numbers even where there are none.
        costs: with seconds, peak memory and device.

    Raises:
        BadInput: an unknown format.
    """
    check_format(fmt)
    return sections([table_of(summary, published=published, costs=costs)], fmt)


def check_format(fmt: str) -> None:
    """Raise ``BadInput`` for an unknown format."""
    if fmt not in FORMATS:
        raise unknown("format", fmt, FORMATS, "--format")


def sections(parts: Sequence[Section], fmt: str) -> str:
    """Tables one below the other, as text that ends with a line feed.

    A single table without a title is that table alone: in ``csv`` its records, in ``json`` a list
    of them. Otherwise ``csv`` has the column ``section`` before all others, and ``json`` is a list
    of ``title``, ``rows`` and ``notes``.

    Raises:
        BadInput: an unknown format.
    """
    check_format(fmt)
    return _FORMATS[fmt](parts)


# --- for programs --------------------------------------------------------------------------------


def _records(part: Section) -> list[dict[str, object]]:
    """The records of a table: its data, else its text."""
    if part.data:
        return [dict(record) for record in part.data]
    return [dict(zip(part.columns, row, strict=True)) for row in part.rows]


def _alone(parts: Sequence[Section]) -> bool:
    return len(parts) == 1 and not parts[0].title


def _csv(parts: Sequence[Section]) -> str:
    records = [
        record if _alone(parts) else {"section": part.title, **record}
        for part in parts
        for record in _records(part)
    ]
    names = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, names or parts[0].columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _json(parts: Sequence[Section]) -> str:
    data: object = _records(parts[0])
    if not _alone(parts):
        data = [
            {"title": part.title, "rows": _records(part), "notes": list(part.notes)}
            for part in parts
        ]
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


# --- for readers ---------------------------------------------------------------------------------


def _github(parts: Sequence[Section]) -> str:
    return "\n".join(_markdown_section(part) for part in parts)


def _markdown_section(part: Section) -> str:
    cells = _marked(part, markdown, "**{}**")
    text = tabulate(
        cells,
        headers=[markdown(header) for header in part.columns],
        tablefmt="pipe",  # what GitHub reads, with the alignment written down
        disable_numparse=True,
        colalign=["right" if right else "left" for right in part.right] if cells else None,
    )
    heading = [f"### {markdown(part.title)}", ""] if part.title else []
    notes = [f"- {markdown(note)}" for note in part.notes]
    return "\n".join([*heading, text, "", *notes]) + "\n"


def _latex(parts: Sequence[Section]) -> str:
    return "\n".join(_latex_section(part) for part in parts)


def _latex_section(part: Section) -> str:
    """A tabular for the package booktabs, and the notes as small paragraphs below it."""
    heading = [rf"\par\noindent\textbf{{{latex(part.title)}}}\par"] if part.title else []
    return "\n".join(
        [
            *heading,
            r"\begin{tabular}{" + "".join("r" if right else "l" for right in part.right) + "}",
            r"\toprule",
            " & ".join(latex(header) for header in part.columns) + r" \\",
            r"\midrule",
            *(_guarded(" & ".join(row)) + r" \\" for row in _marked(part, latex, r"\textbf{{{}}}")),
            r"\bottomrule",
            r"\end{tabular}",
            "",
            r"{\footnotesize",
            *(rf"{latex(note)}\par" for note in part.notes),
            "}",
            "",
        ]
    )


def _guarded(row: str) -> str:
    r"""A row that cannot be taken for the argument of the \\ before it."""
    return "{}" + row if row.startswith(("[", "*")) else row


def _marked(part: Section, escape: Callable[[str], str], bold: str) -> list[list[str]]:
    """The cells, escaped, those that stand out wrapped in ``bold``."""
    return [
        [
            bold.format(escape(cell)) if (row, column) in part.bold else escape(cell)
            for column, cell in enumerate(cells)
        ]
        for row, cells in enumerate(part.rows)
    ]


def _html(parts: Sequence[Section]) -> str:
    return html_environment().get_template("table.html.j2").render(sections=parts)


_FORMATS: Mapping[str, Callable[[Sequence[Section]], str]] = MappingProxyType(
    {"github": _github, "latex": _latex, "csv": _csv, "html": _html, "json": _json}
)
