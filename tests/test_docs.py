"""The pages are true: links lead somewhere, commands parse, Python blocks run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ddbench import methods
from ddbench.cli import build_parser

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")),
         ROOT / "recipes" / "README.md", ROOT / "results" / "README.md"]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_parse(page: Path) -> None:
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL))
    for line in re.split(r"[\n;]|&&", blocks):
        words = shlex.split(line, comments=True)
        if words[:1] == ["ddbench"]:
            build_parser().parse_args(words[1:])
        if words[:1] == ["make"]:
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert words[1] in targets


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages_have_no_place_holders(page: Path) -> None:
    assert not re.findall(r"TODO|FIXME|XXX|DEMO_[A-Z]+", page.read_text())


def test_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    short = block.replace(
        "seed=0)",
        "seed=0, overrides=['method.iterations=2', 'evaluation.epochs=2', 'evaluation.repeats=2'])",
    ).replace("repeats=3)", "repeats=3, epochs=2)")
    names: dict[str, object] = {}
    exec(short, names)
    assert len(names["records"]) == 3  # type: ignore[arg-type]


def test_every_method_has_a_summary() -> None:
    for name in methods.names():
        cls = methods.method_class(name)
        assert cls.title and cls.__doc__, name
