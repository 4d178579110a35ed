"""The texts of a table: golden files from hand-made results, and the command's options."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import tables_fixture
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
from ddbench.leaderboard.pivot import AXES, pivot

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
