"""The report in a real browser: it sorts, filters, draws, is accessible, and asks for nothing."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import report_results as given
from conftest import skip
from report_screenshot import QUIET

from ddbench import report
from ddbench.report import feature_space

pytestmark = pytest.mark.browser

OPEN = """for (const kind of ['.apart', 'figure details', '.origin']) {
  document.querySelectorAll(kind).forEach((each, place) => { each.open = place < 2; });
}"""  # of many that are built alike
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


@dataclass
class Seen:
    """What happened while pages were open."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    given.several(folder / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_space, "REAL", 100)
        patch.setenv("DDBENCH_DATA", str(folder / "data"))  # whatever this machine has
        report.build([folder / "results"], folder / "page.html")
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        skip("browser", "no chromium on the path")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen()


@pytest.fixture(scope="module")
def page(browser: Any, html: Path, seen: Seen) -> Any:
    """The page, loaded once; every test leaves it as it was."""
    found = browser.new_page(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")
    found.set_default_timeout(10_000)
    found.on("request", lambda request: seen.requests.append(request.url))
    found.on("console", lambda message: seen.complaints.append(message.text))
    found.on("pageerror", lambda error: seen.complaints.append(str(error)))
    found.on("dialog", lambda dialog: (seen.complaints.append(dialog.message), dialog.dismiss()))
    found.goto(html.as_uri())
    return found


@pytest.fixture(scope="module")
def axe() -> Callable[[Any], list[str]]:
    """The serious and critical violations that axe-core finds in a page as it is now."""
    checker = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def run(page: Any) -> list[str]:
        found = checker.run(page, options={"resultTypes": ["violations"]}).response["violations"]
        return [
            f"{each['id']}: {each['nodes'][0]['html'][:200]}"
            for each in found
            if each["impact"] in ("serious", "critical")
        ]

    return run


def column(page: Any, header: str) -> list[str]:
    """The cells of a column of the leaderboard, of the rows that are shown."""
    found: list[str] = page.evaluate(
        """(header) => {
          const heads = [...document.querySelectorAll("#board thead th")];
          const place = heads.findIndex((cell) => cell.textContent === header);
          return [...document.querySelectorAll("#board tbody tr:not([hidden])")]
            .map((row) => row.cells[place].textContent);
        }""",
        header,
    )
    return found


def until(page: Any, expression: str) -> None:
    """Wait for a truth; playwright's own waiting needs ``eval``, which the page forbids."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {expression}")


def header(page: Any, name: str) -> Any:
    return page.locator("#board thead th", has=page.get_by_role("button", name=name, exact=True))


# --- leaderboard ---------------------------------------------------------------------------------


def test_keyboard_alone(page: Any) -> None:
    """First: the keyboard starts at the top of a page where nothing was clicked yet."""
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    before = column(page, "method")
    page.get_by_role("button", name="method", exact=True).focus()
    page.keyboard.press("Enter")
    names = column(page, "method")
    assert names != before and names[0].startswith("DC")
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    assert column(page, "method") == before
    page.locator(".scroll.tall").focus()
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('.scroll.tall').scrollLeft > 0")


def test_headers_sort_numbers_as_numbers(page: Any) -> None:
    before = column(page, "bytes")
    sizes = page.eval_on_selector_all("#board td[data-v]", "cells => cells.length")
    assert sizes > len(before)
    button = page.get_by_role("button", name="bytes", exact=True)
    units = {"B": 1, "kB": 1e3, "MB": 1e6}
    for state, sign in (("descending", -1), ("ascending", 1)):
        button.click()
        assert header(page, "bytes").get_attribute("aria-sort") == state
        texts = column(page, "bytes")
        values = [sign * float(text.split()[0]) * units[text.split()[1]] for text in texts]
        assert values == sorted(values) and texts != before
    button.click()
    assert column(page, "bytes") == before
    assert header(page, "bytes").get_attribute("aria-sort") == "none"


def test_what_has_no_number_is_last(page: Any) -> None:
    button = page.get_by_role("button", name="rank", exact=True)
    for _ in range(2):
        button.click()
        ranks = column(page, "rank")
        assert ranks[-1] == "\N{EN DASH}" and ranks[0] != "\N{EN DASH}"
    button.click()


def test_filters_leave_matching_rows_and_say_how_many(page: Any) -> None:
    rows = len(column(page, "network"))
    count = page.locator("#count")
    assert count.get_attribute("role") == "status"
    page.get_by_label("Network", exact=True).select_option("LeNet")
    shown = column(page, "network")
    assert set(shown) == {"LeNet"} and count.text_content() == f"{len(shown)} of {rows} rows shown"
    page.get_by_label("Text", exact=True).fill("k-means")
    assert len(column(page, "network")) == 1
    page.get_by_label("Text", exact=True).fill("no such row")
    assert count.text_content() == f"0 of {rows} rows shown"
    page.get_by_role("button", name="Show all").click()
    until(page, "document.querySelectorAll('#board tr[hidden]').length === 0")
    assert len(column(page, "network")) == rows


def test_every_filter_filters(page: Any) -> None:
    rows = len(column(page, "method"))
    for name in ("Dataset", "Method", "Network", "IPC", "Division"):
        choice = page.get_by_label(name, exact=True)
        choice.select_option(index=1)
        assert 0 < len(column(page, "method")) < rows
        choice.select_option("")
    assert len(column(page, "method")) == rows


def test_unranked_rows_are_grey_and_best_ones_bold(page: Any) -> None:
    grey, plain = (
        page.eval_on_selector(selector, "cell => getComputedStyle(cell).color")
        for selector in ("#board tr.unranked td", "#board tr:not(.unranked) td")
    )
    assert grey != plain
    assert page.locator("#board strong").count() > 3
    assert page.locator("#board .unranked strong").count() == 0


def test_a_method_leads_to_its_provenance(page: Any) -> None:
    page.locator("#board tbody th a").first.click()
    opened = page.locator("details.origin[open]")
    assert opened.count() == 1
    text = str(opened.text_content())
    assert "0123456789abcdef" in text and "method:" in text and "2026-01-02T03:04:05" in text
    page.evaluate("document.querySelector('details.origin[open]').open = false")


def test_downloads(page: Any) -> None:
    def saved(name: str) -> str:
        with page.expect_download() as waiting:
            page.locator(f"[data-download='{name}']").click()
        assert waiting.value.suggested_filename == name
        return Path(waiting.value.path()).read_text(encoding="utf-8")

    rows = list(csv.DictReader(io.StringIO(saved("leaderboard.csv"))))
    assert [row["name"] for row in rows] == [
        name.rstrip("\N{DAGGER}\N{SECTION SIGN} ") for name in column(page, "method")
    ]
    shown = [float(text.split()[0]) for text in column(page, "accuracy (%)")]
    assert [round(float(row["accuracy_percent"]), 2) for row in rows] == shown
    assert saved("leaderboard.tex").startswith(r"\begin{tabular}")
    assert "@" in saved("references.bib")


# --- access --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scheme, size",
    [("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE)],
    ids=["light", "dark", "phone"],
)
def test_accessible(page: Any, axe: Any, scheme: str, size: dict[str, int]) -> None:
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    page.evaluate(OPEN)
    try:
        assert axe(page) == []
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"]
    finally:
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = false; })")
        page.set_viewport_size(DESKTOP)
        page.emulate_media(color_scheme="light")


def test_print_is_on_paper_and_without_controls(page: Any) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("#filters").is_visible() and not page.locator("nav").is_visible()
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    page.emulate_media(media="screen", color_scheme="light")


def test_without_scripts_everything_is_shown(browser: Any, html: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(html.as_uri())
    assert not plain.locator("#filters").is_visible()
    assert plain.locator("table.heat").count() == 3
    assert all(table.is_visible() for table in plain.locator("table.heat").all())
    context.close()


# --- plots and pictures --------------------------------------------------------------------------


def test_every_plot_is_drawn_and_every_image_there(page: Any) -> None:
    choices = page.locator("[data-chooses]")
    for place in range(choices.count()):
        choice = choices.nth(place)
        for index in range(choice.locator("option").count()):
            choice.select_option(index=index)
            panel = page.locator(f"#{choice.get_attribute('data-chooses')} > :not([hidden])")
            assert panel.count() == 1
            for plot in panel.locator(".chart").all():
                plot.scroll_into_view_if_needed()
                plot.locator(".trace").first.wait_for(state="attached")
        choice.select_option(index=0)
    drawn = page.eval_on_selector_all(
        ".chart", "plots => plots.map((plot) => plot.querySelectorAll('path, text').length)"
    )
    assert len(drawn) > 10 and min(drawn) > 10
    titles = page.locator(".xtitle").all_text_contents()
    assert any(given.HOSTILE in title for title in titles)  # as it is: no markup, no mathematics
    sizes = page.eval_on_selector_all("img", "all => all.map((image) => image.naturalWidth)")
    assert len(sizes) == 9 and min(sizes) > 30


def test_plots_follow_the_theme(page: Any) -> None:
    plot = page.locator("#bytes-0-0")
    plot.scroll_into_view_if_needed()
    plot.locator(".xtitle").wait_for()
    colour = "document.querySelector('#bytes-0-0 .xtitle').style.fill"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    until(page, f"{colour} !== '{light}'")
    page.emulate_media(color_scheme="light")
    until(page, f"{colour} === '{light}'")


def test_no_request_and_no_complaint(seen: Seen, html: Path) -> None:
    """Last: over all that was done above."""
    outside = [url for url in seen.requests if not url.startswith(("data:", "blob:"))]
    assert outside == [html.as_uri()] and seen.complaints == []
