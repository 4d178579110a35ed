"""The report's content: structure, laws, escaping, determinism, what is missing, figures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_results as given
from hypothesis import given as drawn
from hypothesis import strategies as st

from ddbench import methods, report, trained
from ddbench.cli import build_parser, main
from ddbench.datasets import DatasetSpec
from ddbench.errors import BadInput
from ddbench.leaderboard import collect, render, summarise
from ddbench.leaderboard.signs import NOTHING
from ddbench.report import across, costs, curves, embedding, feature_space, figures, pictures
from ddbench.report.board import board
from ddbench.report.charts import chart, describe, table
from ddbench.report.colours import DARK, LIGHT, SYMBOLS, contrast, heat, parse
from ddbench.report.feature_space import MODES, stratified
from ddbench.report.grouping import spread
from ddbench.report.origins import origins
from ddbench.report.pareto import front
from ddbench.report.plots import Axis, Panel, Plot, Series
from ddbench.report.ticks import log_ticks
from ddbench.store.tree import TreeFile


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "results"
    given.several(folder)
    return folder


@pytest.fixture(autouse=True, scope="module")
def _few_real_images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of digits, which come with scikit-learn; of nothing else, whatever this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_space, "REAL", 150)
        patch.setenv("DDBENCH_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="module")
def html(results: Path) -> str:
    out = results.parent / "page.html"
    report.build([results], out)
    return out.read_text(encoding="utf-8")


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self._script: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._script = (dict(attrs).get("id") or "") if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = data

    def handle_endtag(self, tag: str) -> None:
        self._script = None

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]


@pytest.fixture(scope="module")
def elements(html: str) -> Elements:
    return Elements(html)


# --- the page ------------------------------------------------------------------------------------


def test_every_part_is_there(elements: Elements) -> None:
    ids = {attrs.get("id") for _, attrs in elements.found}
    assert {"leaderboard", "architectures", "bytes", "seconds", "curves", "embedding",
            "pictures", "provenance", "view-1"} <= ids  # fmt: skip
    named = [attrs["id"] for _, attrs in elements.found if attrs.get("id")]
    assert len(named) == len(set(named))
    links = [str(attrs["href"]) for attrs in elements.of("a")]
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    described = [str(attrs["aria-labelledby"]) for _, attrs in elements.found
                 if "aria-labelledby" in attrs]  # fmt: skip
    assert set(described) <= ids


def test_headings_are_in_order(elements: Elements) -> None:
    levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_nothing_leads_out_of_the_file(elements: Elements) -> None:
    policy = next(a["content"] for a in elements.of("meta") if "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'")
    assert not elements.of("link") and not elements.of("iframe")
    assert all("src" not in attrs for attrs in elements.of("script"))
    assert all(
        str(attrs["src"]).startswith("data:image/png;base64,") for attrs in elements.of("img")
    )


def test_hostile_text_stays_text(html: str, elements: Elements) -> None:
    assert given.HOSTILE not in html and "<script>alert" not in html
    assert not any(attrs.get("onerror") for _, attrs in elements.found)
    assert len(elements.of("script")) == 4  # downloads, charts, plotly, the page's own
    csv = json.loads(elements.scripts["downloads"])["leaderboard.csv"]
    assert given.HOSTILE.replace('"', '""') in csv  # what a reader saves is the text itself
    layouts = json.loads(elements.scripts["charts"])
    titles = [part["layout"]["xaxis"].get("title", {}).get("text", "") for part in layouts.values()]
    assert any("&lt;img src=x" in title for title in titles)  # plotly reads some HTML
    assert not any("$" in title for title in titles)  # and some LaTeX
    assert not any("<" in title for title in titles)


def test_nothing_changes_the_direction_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = "\N{RIGHT-TO-LEFT OVERRIDE}\N{LEFT-TO-RIGHT ISOLATE}\N{RIGHT-TO-LEFT MARK}GPU"
    given.write(tmp_path / "results", given.recipe_of("digits_dc_ipc2"), 0,
                given.scores(0.5, 0), device=turned, log=given.log_of(9, 0))  # fmt: skip
    report.build([tmp_path / "results"], tmp_path / "page.html", mode="none")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    plotly = text.index("plotly.js v")
    assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", text[:plotly])
    layouts = json.loads(Elements(text).scripts["charts"])
    assert layouts["seconds-0-0"]["layout"]["xaxis"]["title"]["text"].endswith("(GPU)")
    line = Series(turned, [1.0, 2.0], [1.0, 2.0])
    plot = Plot("lines", turned, Axis(turned), Axis(turned), [line] * 2, levels=[(turned, 1.0)])
    figures.save(tmp_path / "figures", {"curves": [Panel("", [plot])]}, [])
    drawn_text = (tmp_path / "figures" / "curves-gpu.svg").read_text(encoding="utf-8")
    assert ">GPU<" in drawn_text and "\N{RIGHT-TO-LEFT OVERRIDE}" not in drawn_text


def test_downloads_are_the_tables(results: Path, elements: Elements) -> None:
    files = json.loads(elements.scripts["downloads"])
    assert set(files) == {"leaderboard.csv", "leaderboard.tex", "references.bib"}
    rows = sum(attrs.get("data-dataset") is not None for attrs in elements.of("tr"))
    assert len(files["leaderboard.csv"].strip().splitlines()) == rows + 1
    assert "Zhao" in files["references.bib"] and r"\toprule" in files["leaderboard.tex"]
    own = render(summarise(collect([results])), "csv").splitlines()[0]
    assert files["leaderboard.csv"].splitlines()[0] == own


def test_numbers_have_what_they_sort_by(html: str) -> None:
    body = html[html.index('<table id="board">') : html.index("</table>")]
    headers = re.findall(r'<th scope="col" aria-sort="none"( class="num")?>', body)
    for row in re.findall(r"<tr[^>]*data-dataset.*?</tr>", body, re.S):
        cells = re.findall(r"<(?:td|th)( [^>]*)?>(.*?)</(?:td|th)>", row, re.S)
        assert len(cells) == len(headers)
        for (attributes, text), number in zip(cells, headers, strict=True):
            assert not number or "data-v=" in attributes or text in (NOTHING, "all"), text


def test_what_is_left_apart_is_said(html: str) -> None:
    assert "Left apart, in no table and no plot: 1 unfinished run, 1 unreadable file" in html
    assert "(distilled)</li>" in html and "damaged.h5: is damaged or cut short" in html
    assert "No t-SNE of cifar10: its real images were not at hand." in html


def test_equal_results_give_equal_bytes(results: Path, html: str, tmp_path: Path) -> None:
    report.build([results], tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == html


def test_nothing_finished_is_a_page_that_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "results").mkdir()
    report.build([tmp_path / "results"], tmp_path / "page.html", figures_in=tmp_path / "figures")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "0 of 0 rows shown" in text and "plotly.js v" not in text
    assert not (tmp_path / "figures").exists()
    assert [record.message.split(":")[0] for record in caplog.records] == ["nothing to show"]


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given.write(tmp_path / "results", given.recipe_of("digits_dc_ipc2"), 0, given.scores(0.8, 0))
    out = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "results"), "-o", str(out), "--embedding", "none"]) == 0
    assert "Left out, as asked for (--embedding none)." in out.read_text(encoding="utf-8")
    assert main(["report", str(tmp_path / "nothing"), "-o", str(out)]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "results"), "-o", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ddbench: -o: ") and "is a folder" in line
    with pytest.raises(BadInput, match="untrained"):
        report.build([tmp_path], out, mode="PCA")  # type: ignore[arg-type]
    parser: Any = build_parser()
    report_parser = parser._subparsers._group_actions[0].choices["report"]
    (choices,) = (a.choices for a in report_parser._actions if a.dest == "embedding")
    assert tuple(choices) == MODES


# --- plots ---------------------------------------------------------------------------------------

POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25)


@drawn(POINTS)
def test_pareto_front(points: list[tuple[int, int]]) -> None:
    costs_, values = [c for c, _ in points], [v for _, v in points]
    kept = front(costs_, values)

    def beaten(i: int) -> bool:
        return any(c <= costs_[i] and v >= values[i] and (c, v) != points[i] for c, v in points)

    assert sorted(kept) == [i for i in range(len(points)) if not beaten(i)]
    along = [points[i] for i in kept]
    assert along == sorted(along)


def test_front_leaves_out_what_was_selected_on_the_test_set(results: Path) -> None:
    summary = summarise(collect([results]))
    panel = costs.panels(summary, "bytes")[0]
    (plot,) = panel.plots
    assert plot.title == "digits, ConvNetD2-W32, protocol dc"
    best = {name: max(series.y) for series in plot.series for name in [series.name]}
    assert best["DC †"] > best["DC"] == pytest.approx(plot.front[-1][1])
    assert any("selected" in note for note in panel.notes)
    assert [name for name, _ in plot.levels] == ["Full data"]


def test_seconds_of_devices_are_apart(results: Path) -> None:
    titles = [panel.title for panel in costs.panels(summarise(collect([results])), "seconds")]
    assert "cifar10, ConvNetD3, protocol dc, NVIDIA X" in titles
    assert "cifar10, ConvNetD3, protocol dc, cpu" in titles
    assert costs.seconds_unit("cpu") == "CPU-seconds"
    assert costs.seconds_unit("NVIDIA X") == "GPU-seconds"
    assert costs.seconds_unit("NVIDIA X, cpu") == "Seconds on several devices"


def test_changed_settings_of_a_protocol_are_said(tmp_path: Path) -> None:
    for name, key in (("digits_dc_ipc2", "a"), ("digits_dc_more_ipc2", "b")):
        recipe = given.recipe_of(name, method={"name": "dc", "lr_img": 0.1 + (key == "b")})
        records = given.scores(0.5, 0, ("MLP",), 2, evaluation_key=key, comparable_key=key)
        given.write(tmp_path, recipe, 0, records)
    summary = summarise(collect([tmp_path]))
    said = "Not all networks were trained alike"
    (panel,) = costs.panels(summary, "bytes")
    assert any(note.startswith(said) for note in panel.notes)
    (panel,) = costs.panels(summary[:1], "bytes")
    assert not any(note.startswith(said) for note in panel.notes)


def test_earlier_snapshots_have_no_known_cost(tmp_path: Path) -> None:
    records = [
        record
        for iteration, base in ((10, 0.9), (20, 0.7))
        for record in given.scores(base, 0, ("MLP",), 2, iteration=iteration)
    ]
    given.write(tmp_path, given.recipe_of("digits_dc_ipc2"), 0, records)
    summary = summarise(collect([tmp_path]))
    final = summary[summary["iterations"] == "20"]
    for cost in costs.COSTS:
        (panel,) = costs.panels(summary, cost)
        (series,) = panel.plots[0].series
        assert list(series.y) == list(final["accuracy_percent"])
        assert any(note.startswith("Not drawn: 1 row of an earlier") for note in panel.notes)
        assert not panel.plots[0].front and not any("Pareto" in note for note in panel.notes)


def test_heat_maps_hold_the_rows_of_the_table(results: Path) -> None:
    summary = summarise(collect([results]))
    maps = {heat_map.title: heat_map for heat_map in across.heat_maps(summary)}
    two_title = "digits, IPC 2, protocol dc"  # herding has another protocol there
    assert set(maps) == {"cifar10, IPC 10", "digits, IPC 1", two_title}
    two = maps[two_title]
    assert two.columns == sorted(given.NETWORKS)
    mine = summary[(summary["recipe"] == "digits_kmeans_ipc2") & (summary["network"] == "MLP")]
    row = next(place for place, name in enumerate(two.rows) if name.startswith("K-means"))
    cell = two.cells[row][two.columns.index("MLP")]
    assert cell == pytest.approx(mine["accuracy_percent"].iloc[0])
    assert any(name.startswith("Full data") for name in two.rows)
    assert not any(name.startswith("Herding") for name in two.rows)


def test_protocols_are_never_mixed(tmp_path: Path) -> None:
    given.two_protocols(tmp_path)
    frame = collect([tmp_path])
    summary = summarise(frame)
    maps = {heat_map.title: heat_map for heat_map in across.heat_maps(summary)}
    assert set(maps) == {"digits, IPC 2, protocol dc", "digits, IPC 2, protocol dm"}
    for title, heat_map in maps.items():
        part = summary[summary["protocol"] == title.split()[-1]]
        assert len(heat_map.rows) == 2 and set(heat_map.columns) == set(part["network"])
        cells = [value for row in heat_map.cells for value in row]
        assert sorted(cells) == sorted(part["accuracy_percent"])
    shown = board(summary, origins(frame))
    place = list(shown.columns).index("protocol")
    assert shown.columns[place - 1] == "network" and shown.choices["protocol"] == ["dc", "dm"]
    for row, protocol in zip(shown.rows, summary["protocol"], strict=True):
        assert row.cells[place].text == row.filters["protocol"] == protocol
        bold = [column for column, cell in enumerate(row.cells) if cell.bold]
        assert all(shown.columns[column] == "accuracy (%)" for column in bold)
    for row in shown.rows:
        assert row.cells[0].text in ("1 of 2", "2 of 2")
        assert row.cells[0].text.startswith(f"{row.cells[0].value:.0f} ")
    assert any(cell.bold for row in shown.rows for cell in row.cells)


def test_curves_are_means_over_seeds(tmp_path: Path) -> None:
    recipe = given.recipe_of("digits_dc_ipc2")
    for seed, shift in enumerate((0.0, 2.0)):
        log = {"iteration": np.arange(4) + seed, "loss": np.arange(4.0) + seed + shift}
        given.write(tmp_path, recipe, seed, given.scores(0.5, seed, count=1), log=log)
    panels, notes = curves.panels(collect([tmp_path]))
    (line,) = panels[0].plots[0].series
    assert list(line.x) == [1, 2, 3] and list(line.y) == [2, 3, 4]  # what both seeds logged
    assert line.high[0] == pytest.approx(2 + math.sqrt(2)) and not notes  # 1 and 3, ddof 1
    assert "mean over 2 seeds" in panels[0].notes[0]


@pytest.mark.filterwarnings("error")
def test_losses_that_diverged_are_gaps(tmp_path: Path) -> None:
    for seed in range(2):
        loss = np.array([1.0, 2.0, np.inf, -np.inf if seed else np.inf])
        log = {"iteration": np.arange(4), "loss": loss}
        given.write(tmp_path, given.recipe_of("digits_dc_ipc2"), seed,
                    given.scores(0.5, seed, count=1), log=log)  # fmt: skip
    panels, _ = curves.panels(collect([tmp_path]))
    (line,) = panels[0].plots[0].series
    assert line.y[:2] == [1, 2]
    assert all(math.isnan(v) for values in (line.y, line.low, line.high) for v in values[2:])
    figures.save(tmp_path / "figures", {"curves": panels}, [])


def test_stages_are_in_one_plot_and_long_logs_in_blocks(results: Path) -> None:
    panels, _ = curves.panels(collect([results]))
    by_recipe = {panel.title: panel for panel in panels}
    staged = by_recipe["digits, DC, IPC 1 (digits_dc_f_ipc1)"]
    names = [[series.name for series in plot.series] for plot in staged.plots]
    assert names == [["grad_norm"], ["loss"], ["stage 0", "stage 1", "stage 2"]]
    long = by_recipe["digits, DC, IPC 2 (digits_dc_ipc2)"]
    assert "Each point is the mean over 3 logged iterations." in long.notes
    (loss,) = long.plots[1].series
    expected = np.mean([given.log_of(700, seed)["loss"][:3] for seed in range(3)])
    assert len(loss.x) == 234 and loss.y[0] == pytest.approx(expected)


def test_accuracy_of_snapshots(tmp_path: Path) -> None:
    records = [
        record
        for iteration, base in ((10, 0.5), (20, 0.7))
        for record in given.scores(base, 0, ("MLP",), 2, iteration=iteration)
    ]
    path = given.write(tmp_path, given.recipe_of("digits_dc_ipc2"), 0, records)
    panels, _ = curves.panels(collect([path]))
    (line,) = panels[0].plots[0].series
    means = [100 * np.mean([r.accuracy for r in records if r.iteration == i]) for i in (10, 20)]
    assert list(line.x) == [10, 20] and list(line.y) == pytest.approx(means)


def test_only_logs_that_are_drawn_are_read(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = collect([results])
    read: list[str] = []
    leaf = TreeFile.leaf
    monkeypatch.setattr(TreeFile, "leaf", lambda self, path: read.append(path) or leaf(self, path))
    monkeypatch.setattr(curves, "MAX_PANELS", 2)
    panels, notes = curves.panels(frame)
    assert [panel.title.split(",")[0] for panel in panels] == ["cifar10", "digits"]
    assert "Curves of 2 of 5 sets are shown." in notes
    assert len(read) == (3 + 1) * 3 and all(name.startswith("log/") for name in read)


def test_plotly_accepts_the_charts(elements: Elements) -> None:
    import plotly.graph_objects as go

    for part in json.loads(elements.scripts["charts"]).values():
        text = re.sub(r"var\(--[a-z0-9]+\)", "#123456", json.dumps(part))
        assert go.Figure(json.loads(text)).data


def test_a_chart_has_a_description_and_a_table() -> None:
    line = Series("loss", range(100), [math.nan, *range(99)], slot=9)
    plot = Plot("lines", "a plot", Axis("Iteration"), Axis("loss"), [line])
    assert describe(plot) == "a plot. loss against Iteration; 1 series: loss."
    headers, rows = table(plot)
    assert headers == ["series", "Iteration", "loss"] and len(rows) == 24
    assert rows[0] == ["loss", "0", NOTHING] and rows[-1] == ["loss", "99", "98"]
    (trace,) = chart(plot)["data"]
    assert trace["y"][0] is None and trace["line"]["color"] == f"var(--c{9 % len(LIGHT)})"


@pytest.mark.parametrize(
    "values, texts",
    [
        ([2560, 5120], ["2k", "3k", "4k", "5k", "6k"]),
        ([0.1, 12.5], ["0.1", "1", "10"]),
        ([1e5, 4e6], ["100k", "200k", "500k", "1M", "2M", "5M"]),
        ([], []),
    ],
)
def test_log_ticks(values: list[float], texts: list[str]) -> None:
    assert log_ticks(values)[1] == texts


# --- colours, choices ----------------------------------------------------------------------------


def test_colours_can_be_seen() -> None:
    for colours, paper in ((LIGHT, "#ffffff"), (DARK, "#14171b")):
        assert all(contrast(parse(colour), parse(paper)) >= 3 for colour in colours)
    assert math.gcd(len(LIGHT), len(SYMBOLS)) == 1 and len(LIGHT) == len(DARK)
    for share in np.linspace(-0.1, 1.1, 500):
        back, ink = heat(float(share))
        assert contrast(parse(back), parse(ink)) >= 4.5


def test_choosing_some_gives_every_group_its_turn() -> None:
    assert spread("abcdefg", "xxxxyyz", 4) == ["a", "b", "e", "g"]
    assert spread("abc", "xyz", 9) == ["a", "b", "c"]


def test_stratified_samples() -> None:
    labels = np.repeat([0, 1, 2], [50, 3, 20])
    rows = stratified(labels, 15)
    assert np.bincount(labels[rows]).tolist() == [5, 3, 5]
    assert rows[:5].tolist() == [0, 10, 20, 30, 40] and (np.diff(rows) > 0).all()
    assert len(stratified(np.arange(700), 500)) == 500


# --- pictures, t-SNE -----------------------------------------------------------------------------


def test_pictures_say_what_they_show(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, notes = pictures.pictures(collect([results]))
    assert not notes and len(found) == 9
    (with_f,) = (picture for picture in found if "+ F" in picture.title)
    assert with_f.alt == (
        "Synthetic images of DC + F, IPC 1 (digits_dc_f_ipc1) on digits, seed 0: 10 classes as "
        "rows, 1 images per class; after each image its privileged features F as heat maps."
    )
    monkeypatch.setattr(pictures, "MAX_PICTURES", 3)
    found, notes = pictures.pictures(collect([results]))
    assert len(found) == 3 and notes[0].startswith("Pictures of 3 of 9 sets are shown")
    assert {picture.dataset for picture in found} == {"digits", "cifar10"}


def test_a_set_that_cannot_be_shown_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BadInput("its images cannot be shown: no transform")

    given.write(tmp_path, given.recipe_of("digits_dc_ipc2"), 0, given.scores(0.5, 0, count=1))
    monkeypatch.setattr(pictures, "image_grid", refused)
    _, notes = pictures.pictures(collect([tmp_path]))
    assert notes == [
        "No picture of DC, IPC 2 (digits_dc_ipc2) on digits: its images cannot be shown: no "
        "transform."
    ]


def test_tsne_keeps_images_of_a_class_together(results: Path) -> None:
    frame = collect([results])
    panels, _ = embedding.panels(frame[frame["recipe"] == "digits_dc_ipc2"], "untrained")
    real, synthetic = panels[0].plots[0].series
    assert len(real.x) == 150 and real.faint and len(synthetic.x) == 20
    places = np.column_stack([real.x, real.y])
    labels = np.array([text.rsplit(" ", 1)[1] for text in real.text])
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(1)] == labels).mean() > 0.7


def test_trained_features_come_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path))
    short = methods.resolve({"name": "herding", "epochs": 1})
    monkeypatch.setattr(methods, "resolve", lambda _: short)
    first = feature_space.feature_space(DatasetSpec(name="digits", zca=True), "trained")
    monkeypatch.setattr(trained, "_train", None)  # a second training would fail
    again = feature_space.feature_space(DatasetSpec(name="digits"), "trained")
    assert np.array_equal(first.features(first.pixels), again.features(again.pixels))


# --- figures -------------------------------------------------------------------------------------


def test_figures(results: Path, tmp_path: Path) -> None:
    summary = summarise(collect([results]))
    panels = {"bytes": costs.panels(summary, "bytes")[:1]}
    line = Series("a_1$b$", [1, 2], [3.0, 900.0], [2.0, 800.0], [4.0, 999.0])
    cloud = Series("real", [0.0, 1.0], [0.0, 1.0], glyphs=["1", "2"], faint=True)
    panels["more"] = [
        Panel(
            "",
            [Plot("lines", "$x_1$ & <b>", Axis("Iteration"), Axis("loss", log=True), [line])] * 2,
        ),
        Panel("", [Plot("map", "t-SNE", Axis(""), Axis(""), [cloud])]),
    ]
    for folder in (tmp_path / "a", tmp_path / "b"):
        figures.save(folder, panels, across.heat_maps(summary)[:1])
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert [name for name in names if name.endswith(".svg")] == [
        "architectures-cifar10-ipc-10.svg",
        "bytes-digits-convnetd2-w32-protocol-dc.svg",
        "more-t-sne.svg",
        "more-x-1-b-2.svg",
        "more-x-1-b.svg",
    ]
    for name in names:
        content = (tmp_path / "a" / name).read_bytes()
        assert content == (tmp_path / "b" / name).read_bytes() and len(content) > 2000
        assert content.startswith(b"%PDF" if name.endswith("pdf") else b"<?xml")
    text = (tmp_path / "a" / "more-x-1-b.svg").read_text()
    assert "$x_1$ &amp; &lt;b&gt;" in text  # no mathematics, text that stays text
    assert b"/FontFile2" in (tmp_path / "a" / "more-x-1-b.pdf").read_bytes()
