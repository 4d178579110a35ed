"""Every format of a table: complete, valid, and safe whatever names and sources hold."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pandas as pd
import pytest
from conftest import skip
from tables_fixture import RESULTS

from ddbench.leaderboard import collect, render, sections, summarise
from ddbench.leaderboard.escaping import latex, markdown
from ddbench.leaderboard.pivot import pivot
from ddbench.leaderboard.section import Section
from ddbench.leaderboard.signs import DAGGER, UNRANKED
from ddbench.leaderboard.view import human_bytes

DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


@pytest.fixture(scope="module")
def summary() -> pd.DataFrame:
    return summarise(collect([RESULTS]))


def test_csv_and_json_hold_every_column_at_full_precision(summary: pd.DataFrame) -> None:
    records = json.loads(render(summary, "json"))
    lines = list(csv.DictReader(io.StringIO(render(summary, "csv"))))
    assert len(records) == len(lines) == len(summary)
    for record, line, (_, row) in zip(records, lines, summary.iterrows(), strict=True):
        assert list(record) == list(line) == list(summary.columns)
        assert record["accuracy_percent"] == float(line["accuracy_percent"])
        assert record["accuracy_percent"] == row["accuracy_percent"]
        missing = {name for name, value in record.items() if value is None}
        assert missing == {name for name, value in line.items() if value == ""} - {
            name for name, value in record.items() if value == ""
        }


def test_bold_are_the_best_and_what_is_not_worse(summary: pd.DataFrame) -> None:
    text = render(summary, "github")
    bold = [line for line in text.splitlines() if line.count("**") == 2]
    best = summary[summary["best"]]
    assert len(bold) == len(best) > 2
    assert not any(DAGGER in line or UNRANKED in line for line in bold)
    assert render(summary, "latex").count(r"\textbf{") == len(best)
    assert render(summary, "html").count("<strong>") == len(best)


def test_what_was_chosen_on_the_test_set_is_never_bold(summary: pd.DataFrame) -> None:
    chosen = summary.assign(test_selected=True)
    assert chosen["best"].any() and "**" not in render(chosen, "github")
    assert not pivot(chosen, "ipc").bold and "Bold:" not in render(chosen, "html")


def latex_document(text: str, folder: Path) -> None:
    """Set a document with ``text``; fails on the first error."""
    if shutil.which("pdflatex") is None:
        skip("latex", "pdflatex is not installed")
    (folder / "t.tex").write_text(DOCUMENT % text, encoding="ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (folder / "t.pdf").stat().st_size > 1000


def test_latex_compiles(summary: pd.DataFrame, tmp_path: Path) -> None:
    hostile = "".join(map(chr, range(33, 127))) + " é ñ ü ß Å ř 数 \N{ZERO WIDTH SPACE} \\input{x}"
    rows = [["[" + hostile, "* -1.5"], ["-1.5", "a\nb"]]
    other = Section(
        hostile, [hostile, "b"], rows, [False, True], [hostile, "[1] x"], bold=frozenset({(0, 1)})
    )
    text = render(summary, "latex", costs=True) + sections([other], "latex")
    assert text.isascii()
    latex_document(text, tmp_path)


def test_latex_escapes() -> None:
    given = "% _ & # $ { } ~ ^ \\ -1"
    braces = r"\textasciitilde{} \textasciicircum{} \textbackslash{}"
    assert latex(given) == r"\% \_ \& \# \$ \{ \} " + braces + " -1"
    assert latex("-1.5") == "$-$1.5" and latex("Žižek 数") == r"\v{Z}i\v{z}ek ?"


def test_markdown_escapes() -> None:
    assert markdown("a|b\nc") == "a\\|b c"
    assert markdown("digits_dc_ipc1 [1] -0.10 ± 2 & co") == "digits_dc_ipc1 [1] -0.10 ± 2 & co"
    assert markdown("<b> *x* `y` _z_ [a](b) &lt; \\") == (
        r"&lt;b> \*x\* \`y\` \_z\_ [a\](b) &amp;lt; " + "\\\\"
    )


def test_html_is_one_accessible_table(summary: pd.DataFrame) -> None:
    figure = ET.fromstring(render(summary, "html"))
    (body,) = figure.iter("tbody")
    assert [figure.tag, figure[0].tag, figure[0][0].tag] == ["figure", "table", "caption"]
    heads = [head.get("scope") for head in figure.iter("th")]
    columns, rows = heads.count("col"), heads.count("row")
    assert rows == len(body) == len(summary) and columns == len(body[0])
    assert any("Soft <set> & co_1" in "".join(row.itertext()) for row in body)


def test_html_escapes() -> None:
    evil = "<script>alert(1)</script>\"'&"
    text = sections([Section(evil, [evil], [[evil]], [False], [evil])], "html")
    assert "<script" not in text and "".join(ET.fromstring(text).itertext()).count(evil) == 4


def test_several_sections() -> None:
    one = Section("One", ["a"], [["1.00"]], [True], ["first"], [{"a": 1.0, "b": None}])
    two = Section("Two", ["c"], [["x"]], [False])
    assert sections([one, two], "csv") == "section,a,b,c\nOne,1.0,,\nTwo,,,x\n"
    assert json.loads(sections([one, two], "json")) == [
        {"title": "One", "rows": [{"a": 1.0, "b": None}], "notes": ["first"]},
        {"title": "Two", "rows": [{"c": "x"}], "notes": []},
    ]
    assert sections([one, two], "github").startswith(
        "### One\n\n|    a |\n|-----:|\n| 1.00 |\n\n- f"
    )
    assert sections([one, two], "latex").count(r"\begin{tabular}") == 2
    assert sections([one, two], "html").count("<caption>") == 2


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells"):
        Section("x", ["a", "b"], [["1"]], [True, True])


@pytest.mark.parametrize(
    "count, text",
    [(0.5, "1 B"), (850, "850 B"), (25_100, "25.1 kB"), (999_960, "1.0 MB"), (2e9, "2.0 GB"),
     (3e12, "3.0 TB")],
)  # fmt: skip
def test_human_bytes(count: float, text: str) -> None:
    assert human_bytes(count) == text
