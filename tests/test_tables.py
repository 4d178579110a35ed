"""The texts of a table: golden files from hand-made results, formats, the command's options."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import tables_fixture
from conftest import skip
from scored_files import recipe_of, record_of, write
from tables_fixture import GOLDEN, RESULTS

from ddbench.cli import main
from ddbench.errors import BadInput
from ddbench.leaderboard import (
    FORMATS,
    VIEWS,
    collect,
    paper,
    render,
    sections,
    summarise,
    table,
)
from ddbench.leaderboard.escaping import latex, markdown
from ddbench.leaderboard.pivot import AXES, pivot
from ddbench.leaderboard.section import Section
from ddbench.leaderboard.signs import DAGGER, UNRANKED
from ddbench.leaderboard.view import human_bytes

OPTIONS = {
    "table.md": {},
    "table.tex": {"fmt": "latex"},
    "table.csv": {"fmt": "csv"},
    "table.json": {"fmt": "json"},
    "table.html": {"fmt": "html"},
    "costs.md": {"costs": True, "division": "features"},
    "pivot.md": {"pivot_by": "networks"},
    "pivot.csv": {"pivot_by": "ipc", "fmt": "csv"},
    "bytes.md": {"by_bytes": True},
    "published.md": {"published": True},
}
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


@pytest.fixture(scope="module", autouse=True)
def _rewritten() -> None:
    if os.environ.get("DDBENCH_REWRITE"):
        tables_fixture.write(RESULTS)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return collect([RESULTS])


@pytest.fixture(scope="module")
def summary(frame: pd.DataFrame) -> pd.DataFrame:
    return summarise(frame)


# --- golden files --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_golden(name: str) -> None:
    """Rewrite results and texts: DDBENCH_REWRITE=1; then read the difference."""
    text = table([RESULTS], **OPTIONS[name])  # type: ignore[arg-type]
    if os.environ.get("DDBENCH_REWRITE"):
        (GOLDEN / name).write_text(text, encoding="utf-8")
    golden = (GOLDEN / name).read_text(encoding="utf-8")
    if name.endswith(("csv", "json")):  # full precision, the last digits of which may differ
        assert numbers(text) == pytest.approx(numbers(golden), rel=1e-9)
        text, golden = (_NUMBER.sub("#", each) for each in (text, golden))
    assert text == golden


_NUMBER = re.compile(r"(?<![\w.])-?[0-9]+\.[0-9]+(?:e-?[0-9]+)?(?![\w.])")


def numbers(text: str) -> list[float]:
    """The decimal numbers of a text, in order."""
    return [float(number) for number in _NUMBER.findall(text)]


def test_the_fixture_is_what_its_module_writes(tmp_path: Path) -> None:
    tables_fixture.write(tmp_path)
    for part in ("csv", "latex"):
        assert table([tmp_path], fmt=part) == table([RESULTS], fmt=part)


def test_what_the_fixture_covers(frame: pd.DataFrame, summary: pd.DataFrame) -> None:
    assert set(summary["division"]) == {"hard", "soft", "teacher", "features"}
    assert summary["protocol"].nunique() > 1 and summary["network"].nunique() > 1
    assert [status for _, status in frame.attrs["unfinished"]] == ["failed"]
    assert summary["test_selected"].any() and (summary["n_sets"] == 1).any()
    cells = summary[summary["ranked"]].groupby("cell")["best"].agg(["sum", "count"])
    assert ((cells["sum"] > 1) & (cells["sum"] < cells["count"])).any(), "a tie and a difference"


# --- formats -------------------------------------------------------------------------------------


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


# --- the command ---------------------------------------------------------------------------------


def test_division(summary: pd.DataFrame) -> None:
    text = table([RESULTS], division="soft")
    assert text.count("| mnist ") == 1 and "Only one division: stored soft labels." in text
    records = json.loads(table([RESULTS], division="features", fmt="json"))
    assert {record["name"] for record in records} == {"DC + F", "Random + F"}


def test_a_division_keeps_what_its_rows_are_compared_with(tmp_path: Path) -> None:
    taught = record_of(0.5, teacher="ConvNetD3", teacher_bytes=1.0)
    write(tmp_path, recipe_of("digits_dc_ipc2"), 0, taught, record_of(0.4, role="random"))
    write(tmp_path, recipe_of("digits_dc_ipc1", ipc=1), 0, record_of(0.3))
    part = paper._part(collect([tmp_path], baselines=True), "teacher")
    assert sorted(part["accuracy"]) == [0.4, 0.5]
    assert len(json.loads(table([tmp_path], division="teacher", fmt="json"))) == 1


def test_bibtex() -> None:
    text = table([RESULTS], bibtex=True)
    assert text.count("@") == text.count("\n@") and "zhao2021dc" in text and "drupi" in text
    assert "| digits" not in text
    more = table([RESULTS], bibtex=True, published=True)
    assert set(text.splitlines()) - set(more.splitlines()) <= {text.splitlines()[0]}
    assert len(more) > len(text)


@pytest.mark.parametrize("name", [name for name in VIEWS if name != "default"])
def test_every_view_has_every_format(name: str) -> None:
    module = importlib.import_module(f"ddbench.leaderboard.{VIEWS[name]}")
    parts = module.view(collect([RESULTS], baselines=True))
    assert table([RESULTS], view=name) == sections(parts, "github")
    for fmt in FORMATS:
        text = sections(parts, fmt)
        assert text.endswith("\n") and not text.startswith("\n")
        assert len(parts) == text.count('"title"') if fmt == "json" else True


@pytest.mark.parametrize(
    "options, says",
    [
        (["--view", "ranks", "--pivot", "ipc"], "--pivot: does not go with --view ranks"),
        (["--view", "ddranking", "--published"], "--published: does not go with --view ddranking"),
        (["--pivot", "ipc", "--costs"], "--costs: does not go with --pivot"),
    ],
)
def test_options_that_exclude_each_other(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table", str(RESULTS), *options]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: table([RESULTS], fmt="latx"), "did you mean 'latex'"),
        (lambda: table([RESULTS], division="sofd"), "did you mean 'soft'"),
        (lambda: table([RESULTS], view="rank"), "did you mean 'ranks'"),
        (lambda: table([RESULTS], pivot_by="network"), "did you mean 'networks'"),
        (lambda: render(pd.DataFrame(), "latx"), "did you mean 'latex'"),
        (lambda: pivot(pd.DataFrame(), "ip"), "did you mean 'ipc'"),
    ],
)
def test_unknown_names(make: Callable[[], object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        make()


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = (GOLDEN / "bytes.md").read_text(encoding="utf-8")
    assert main(["table", str(RESULTS), "--by-bytes"]) == 0
    assert capsys.readouterr().out == golden
    assert main(["table", str(RESULTS), "--by-bytes", "-o", str(tmp_path / "t.md")]) == 0
    assert (tmp_path / "t.md").read_text(encoding="utf-8") == golden
    assert [path.name for path in tmp_path.iterdir()] == ["t.md"]
    assert capsys.readouterr().out == ""


def test_the_command_s_choices_are_the_library_s() -> None:
    from ddbench.cli import table as command
    from ddbench.leaderboard import DIVISIONS

    assert set(command.FORMATS) == set(FORMATS) and set(command.AXES) == set(AXES)
    assert set(command.VIEWS) == set(VIEWS) and set(command.DIVISIONS) == set(DIVISIONS)


def test_from_python() -> None:
    from ddbench import api

    assert api.table([str(RESULTS)], by_bytes=True) == table([RESULTS], by_bytes=True)
