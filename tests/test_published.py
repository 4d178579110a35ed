"""Published numbers: every one is whole, known by its names and in range; nothing got lost."""

from __future__ import annotations

import csv
import itertools
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from conftest import ROOT, skip

from ddbench import datasets, methods, networks, protocols, published, recipe_files
from ddbench.errors import BadInput
from ddbench.leaderboard.bibtex import entries
from ddbench.published import PublishedNumber, find, load, methods_at, read, reference, title_of

FILE = ROOT / "ddbench" / "published" / "numbers.csv"
PAGE = (ROOT / "docs" / "published.md").read_text()
HEADER, FIRST, *_ = FILE.read_text().splitlines()

LOGS = " (repository logs; not the paper tables)"
TRANSCRIBED = {
    "matching": {
        "Cazenavette et al. 2022 CVPR (MTT)": 19,
        "Cazenavette et al. 2022 CVPR (MTT) Table 3": 4,
        "Cui et al. 2023 ICML (TESLA)": 10,
        "Cui et al. 2023 ICML (TESLA) (as quoted elsewhere; std differs)": 3,
        "Du et al. 2023 CVPR (FTD)": 29,
        "Du et al. 2023 CVPR (FTD) Table 3": 8,
        "Du et al. 2023 CVPR (FTD) re-run of MTT": 6,
        "Guo et al. 2024 ICLR (DATM)": 24,
        "Guo et al. 2024 ICLR (DATM) re-run of DC": 2,
        "Guo et al. 2024 ICLR (DATM) re-run of DM": 2,
        "Guo et al. 2024 ICLR (DATM) re-run of DSA": 2,
        "Guo et al. 2024 ICLR (DATM) re-run of FTD": 9,
        "Guo et al. 2024 ICLR (DATM) set; quoted in PAD": 24,
        "Guo et al. 2024 ICLR (DATM) table": 1,
        "Kim et al. 2022 ICML (IDC)": 36,
        "PAD cross-architecture table": 8,
        "PAD table": 1,
        "quoted in PAD": 24,
        "third-party reproduction": 7,
        "Zhao & Bilen 2021 ICML (DSA)": 15,
        "Zhao & Bilen 2023 WACV (DM)": 14,
        "Zhao et al. 2021 ICLR (DC)": 14,
    },
    "att_stm": {
        "Liu et al. 2024 ECCV (ATT), arXiv:2407.14245": 124,
        f"Guan et al. 2023 (STM), arXiv:2311.17967{LOGS}": 41,
    },
    "edf": {"Wang et al. 2025 CVPR (EDF), arXiv:2410.17193": 154},
    "gvbsm": {
        "Shao et al. 2024 CVPR (G-VBSM), arXiv:2311.17950": 85,
        "Sun et al. 2024 CVPR (RDED), arXiv:2312.03526": 67,
        "Xiao & He 2024 NeurIPS (LPLD), arXiv:2410.15919": 9,
        "Yin & Shen 2024 TMLR (CDA), arXiv:2311.18838": 21,
        "Yin et al. 2023 NeurIPS (SRe2L), arXiv:2306.13092": 79,
    },
    "read besides": {
        "DD-Ranking v0.2.0 (code)": 2,
        "Du et al. 2023 CVPR (FTD)": 2,
        f"Wang et al. 2024 (DRUPI), arXiv:2410.01611{LOGS}": 24,
        f"Yin et al. 2023 NeurIPS (SRe2L), arXiv:2306.13092{LOGS}": 4,
        "Zhao et al. 2021 ICLR (DC) (released file; not the paper tables)": 6,
        "issue in the method's repository": 8,
    },
}
"""Numbers that every work contributes, by the transcription that they came from."""


def text_rows() -> list[dict[str, str]]:
    with FILE.open(newline="") as file:
        return list(csv.DictReader(file))


# --- the file ------------------------------------------------------------------------------------


def test_no_number_got_lost() -> None:
    sizes = {name: sum(papers.values()) for name, papers in TRANSCRIBED.items()}
    assert sizes == {"matching": 262, "att_stm": 165, "edf": 154, "gvbsm": 261, "read besides": 46}
    wanted: Counter[str] = Counter()
    for papers in TRANSCRIBED.values():
        wanted.update(papers)
    assert Counter(number.paper for number in load()) == wanted


def test_the_page_says_how_many_there_are() -> None:
    assert f"{len(load())} numbers, each with its source" in PAGE
    columns = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE, re.M)
    assert [name for cell in columns for name in re.findall(r"`(\w+)`", cell)][:17] == (
        HEADER.split(",")
    )


def test_datasets_are_known() -> None:
    extra = published.references().datasets
    named = {number.dataset for number in load()}
    assert named <= {*datasets.names(), *extra}
    assert set(extra) <= named - set(datasets.names())
    assert {entry.at_size for entry in extra.values()} - {None} <= set(datasets.names())
    assert all(f"`{slug}`" in PAGE for slug in extra)


def test_methods_are_known() -> None:
    elsewhere = published.references().methods
    named = {number.method for number in load()}
    assert named <= {*elsewhere, *methods.names()}
    assert set(elsewhere) <= named
    assert all(slug == slug.lower() for slug in named)
    assert all(f"`{slug}`" in PAGE for slug in elsewhere)


def test_a_method_that_ddbench_has_speaks_for_itself() -> None:
    for slug in methods.names():
        own = methods.method_class(slug)
        assert (title_of(slug), reference(slug)) == (own.title, own.bibtex.strip() or None)
        entry = published.references().methods.get(slug)  # until it is removed there
        assert entry is None or re.findall(r"@.*\{(.*),", entry.bibtex) == list(parsed_of(slug))


def test_networks_are_known_by_one_name_each() -> None:
    extra = published.references().networks
    named = {part for n in load() for part in (n.network_train or "").split("+") if part}
    named |= {number.network for number in load() if number.network}
    assert set(extra) <= named
    labels = [networks.resolve(name).label for name in named - set(extra)]
    assert len(set(labels)) == len(labels)
    for name in extra:
        with pytest.raises(BadInput, match="unknown network"):
            networks.resolve(name)
        assert f"`{name}`" in PAGE


def test_rows_are_sorted_and_different() -> None:
    rows = text_rows()
    keys = [
        (row["dataset"], row["method"], int(row["ipc"] or 10**9), row["network"],
         published.KINDS.index(row["kind"]), row["paper"], row["source"],
         Decimal(row["accuracy"]))
        for row in rows
    ]  # fmt: skip
    assert keys == sorted(keys)
    assert len({tuple(row.values()) for row in rows}) == len(rows)


def test_only_training_on_everything_has_no_ipc() -> None:
    assert all((number.ipc is None) == (number.method == "full") for number in load())


def test_nothing_is_known_with_f() -> None:
    """Nobody's number with F could be read so far; the page says so."""
    assert not any(number.features for number in load())
    assert "no number with F yet" in PAGE


def agree(one: str, other: str) -> bool:
    """Whether two printed numbers can be one, rounded to the digits of the shorter."""
    if not one or not other:
        return True
    digits = min(len(text.partition(".")[2]) for text in (one, other))
    return abs(Decimal(one) - Decimal(other)) <= Decimal(5).scaleb(-digits - 1)


def test_conflicts_are_the_groups_that_disagree() -> None:
    cells = defaultdict(list)
    for row, number in zip(text_rows(), load(), strict=True):
        if number.kind in ("original", "reprinted") and number.network:
            label = networks.resolve(number.network).label if known(number.network) else None
            place = (number.dataset, number.method, number.features, number.ipc)
            cells[(*place, label or number.network)].append(row)
        else:
            assert number.conflict is None
    found = {}
    for rows in cells.values():
        same = all(
            agree(a[column], b[column])
            for a, b in itertools.combinations(rows, 2)
            for column in ("accuracy", "std")
        )
        ids = {row["conflict"] for row in rows}
        assert len(ids) == 1 and (ids == {""}) == same, rows
        if not same:
            assert not ids & set(found)
            found[ids.pop()] = rows
    assert set(re.findall(r"^\| `(\S+-(?:ipc\d+|all)-\S+)` \|", PAGE, re.M)) == set(found)


def known(name: str) -> bool:
    return name not in published.references().networks


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("51.8", "51.82", True), ("39.7", "39.68", True), ("46.8", "46.79", True), ("0.5", "", True),
     ("46.2", "46.3", False), ("51.8", "51.86", False), ("1", "1.0", True), ("1", "0.4", False)],
)  # fmt: skip
def test_numbers_agree_where_rounding_explains_them(one: str, other: str, same: bool) -> None:
    assert agree(one, other) is same


def test_every_published_number_of_a_recipe_is_in_the_file() -> None:
    checked = 0
    for path in recipe_files.shipped():
        recipe = recipe_files.read(path)
        cell = (recipe.dataset.name, recipe.ipc if recipe.method.has_set else None)
        for cited in recipe.published:
            found = [
                number for number in load()
                if (number.dataset, number.ipc, number.accuracy, number.std)
                == (*cell, cited.accuracy, cited.std)
                and (number.method == recipe.method.name or recipe.method.given)
            ]  # fmt: skip
            assert found, f"{path.name}: {cited.accuracy} +- {cited.std} is not in numbers.csv"
            checked += 1
    assert checked > 20


# --- reading -------------------------------------------------------------------------------------


def changed(**cells: str) -> str:
    row = {**dict(zip(HEADER.split(","), next(csv.reader([FIRST])), strict=True)), **cells}
    return f"{HEADER}\n" + ",".join(f'"{cell}"' for cell in row.values()) + "\n"


def refusal(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "numbers.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(BadInput) as caught:
        read(path)
    assert caught.value.file == path and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_row_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    path.write_text(
        f'{HEADER}\ncifar10,dc,true,,,,84.8,,,,,A,"B, C",log,,,\n'
        "mnist,dc,false,10,MLP+LeNet,MLP,100,0,no,none,teacher,A,B,original,true,x,y\n"
    )
    assert read(path) == (
        PublishedNumber("cifar10", "dc", True, None, None, None, 84.8, None, None, None, None,
                        "A", "B, C", "log", None, None, None),
        PublishedNumber("mnist", "dc", False, 10, "MLP+LeNet", "MLP", 100.0, 0.0, False, "none",
                        "teacher", "A", "B", "original", True, "x", "y"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("column", "cell", "allowed"),
    [
        ("dataset", "", "text on one line"),
        ("method", " dc", "text on one line"),
        ("features", "yes", "true, false"),
        ("features", "", "true, false"),
        ("ipc", "0", "a positive integer"),
        ("ipc", "1.5", "a positive integer"),
        ("ipc", "full", "a positive integer"),
        ("accuracy", "", "0 to 100"),
        ("accuracy", "nan", "0 to 100"),
        ("accuracy", "100.1", "0 to 100"),
        ("accuracy", "-1", "0 to 100"),
        ("accuracy", "1_0", "0 to 100"),
        ("std", "30", "0 to below 30"),
        ("std", "inf", "0 to below 30"),
        ("std", "-0.1", "0 to below 30"),
        ("zca", "true", "yes, no"),
        ("labels", "learned", "hard, soft, teacher"),
        ("paper", "", "text on one line"),
        ("source", "  ", "text on one line"),
        ("kind", "rumour", "original, reprinted, rerun, reproduction, log"),
        ("test_selected", "no", "true, false"),
        ("note", "a\tb", "text on one line"),
    ],
)
def test_a_malformed_cell_is_refused_by_line_and_name(
    tmp_path: Path, column: str, cell: str, allowed: str
) -> None:
    said = refusal(tmp_path, changed(**{column: cell}))
    assert f"line 2, {column}: " in said and f"allowed: {allowed}" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: has other columns"),
        (f"{HEADER},more\n", "line 1: has other columns"),
        (f"{HEADER}\n{FIRST}\n{FIRST},more\n", "line 3: found 18 cells; allowed: 17 cells"),
        (f"{HEADER}\n{FIRST}\n\n", "line 3: found 0 cells"),
        (f'{HEADER}\n{FIRST}\n"open', "cannot be read as CSV"),
        (HEADER.encode("utf-16"), "cannot be read as CSV"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert said in refusal(tmp_path, text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read as CSV"):
        read(tmp_path / "none.csv")


# --- finding -------------------------------------------------------------------------------------


def test_the_methods_own_number_is_found_first() -> None:
    found = find("cifar10", "mtt", 10, "ConvNetD3")
    assert [(n.accuracy, n.zca) for n in found[:2]] == [(65.3, True), (64.3, False)]
    kinds = [published.KINDS.index(number.kind) for number in found]
    assert kinds == sorted(kinds) and len(set(kinds)) == 4


def test_the_order_is_one_for_every_cell() -> None:
    """By kind, selection, spread, space and accuracy, whatever the order of the file."""
    for number in {replace(n, ipc=n.ipc) for n in load()}:
        found = find(number.dataset, number.method, number.ipc, number.network, number.features)
        assert number in found
        keys = [
            (published.KINDS.index(n.kind), n.test_selected is True, n.std is None,
             {True: 0, False: 1, None: 2}[n.zca], -n.accuracy)
            for n in found
        ]  # fmt: skip
        assert keys == sorted(keys)


@pytest.mark.parametrize("spelt", ["ConvNet", "ConvNetD3", "ConvNetW128"])
def test_a_network_is_found_by_any_spelling(spelt: str) -> None:
    assert find("cifar10", "dc", 10, spelt) == find("cifar10", "dc", 10, "ConvNetD3") != []


def test_a_network_is_found_by_its_label_in_tables() -> None:
    label = networks.resolve("ConvNetD3BN").label
    assert label != "ConvNetD3BN"
    assert find("cifar10", "rded", 10, label)[0].accuracy == 50.2


def test_imagenet1k_is_found_at_every_size() -> None:
    assert [n.accuracy for n in find("imagenet1k", "tesla", 10, "ConvNetD4")] == [17.8]
    assert find("imagenet1k_64", "tesla", 10, "ConvNetD4")[0].dataset == "imagenet1k_64"
    assert find("imagenet1k_64", "sre2l", 10, "torchvision:resnet18") == []


def test_what_nobody_published_is_not_found() -> None:
    assert find("digits", "dc", 1, "ConvNetD2-W32") == []
    assert find("cifar10", "dc", 10, "ConvNetD3", features=True) == []
    assert find("cifar10", "dc", 10, "ConvNetD2") == []
    assert find("cifar10", "dc", 10, None) == []
    assert methods_at("digits", 1, "ConvNetD2-W32") == ()


def test_the_whole_dataset_is_found_without_an_ipc() -> None:
    found = find("cifar10", "full", None, "ConvNetD3")
    assert {n.accuracy for n in found if n.kind == "reprinted"} == {84.8}


def test_methods_of_a_cell_are_those_that_are_found() -> None:
    slugs = methods_at("mnist", 1, "ConvNetD3")
    assert slugs == ("dc", "dsa", "idc", "idc_i")
    assert all(find("mnist", slug, 1, "ConvNetD3") for slug in slugs)


def test_a_found_list_is_the_callers_own() -> None:
    find("mnist", "dc", 1, "ConvNetD3").clear()
    assert find("mnist", "dc", 1, "ConvNetD3")


def test_where_names_paper_and_source_once() -> None:
    number = find("mnist", "dc", 1, "ConvNetD3")[0]
    assert number.where == f"{number.paper}: {number.source}"
    assert replace(number, paper="A", source="A, Table 1").where == "A, Table 1"


# --- what to cite --------------------------------------------------------------------------------

ENTRY = re.compile(r"@(?P<kind>[a-z]+)\{(?P<key>[a-z0-9]+),\n(?P<fields>.*?)\n\}", re.S)
FIELD = re.compile(r"  (?P<name>[a-zA-Z]+) = \{(?P<value>[^\n]+)\}")
NEEDED = {"article": "journal", "inproceedings": "booktitle"}
FIELD_NAMES = set(
    "article inproceedings title author booktitle journal volume number pages year eprint "
    "archivePrefix".split()
)


def cited() -> list[str]:
    """Slugs of everything that has a paper."""
    named = published.references()
    slugs = {*methods.names(), *named.methods, *named.works}
    return sorted(slug for slug in slugs if reference(slug))


def parsed(text: str) -> dict[str, dict[str, str]]:
    """Entries by key; fails where a character belongs to none, or a field is not one line."""
    found = {}
    for part in text.strip().split("\n\n"):
        match = ENTRY.fullmatch(part)
        assert match, part
        lines = match["fields"].split("\n")
        assert all(line.endswith(",") for line in lines[:-1]) and not lines[-1].endswith(",")
        fields = [FIELD.fullmatch(line.rstrip(",")) for line in lines]
        assert all(fields), part
        values = {field["name"]: field["value"] for field in fields if field}
        assert len(values) == len(lines) and match["key"] not in found
        found[match["key"]] = {"kind": match["kind"], **values}
    return found


def parsed_of(slug: str) -> dict[str, dict[str, str]]:
    works = slug in published.references().works
    return parsed(entries([] if works else [slug], features=slug == "drupi", protocols=[slug]))


@pytest.mark.parametrize("slug", cited())
def test_bibtex_is_whole_and_plain(slug: str) -> None:
    own = parsed_of(slug)
    for entry in own.values():
        assert {"title", "author", "year", NEEDED[entry["kind"]]} <= set(entry)
        assert re.fullmatch(r"(19|20)\d\d", entry["year"])
        assert re.fullmatch(r"\d{4}\.\d{5}", entry.get("eprint", "1234.56789"))
        assert ("eprint" in entry) == (entry.get("archivePrefix") == "arXiv")
        for name, value in entry.items():
            assert value.isascii() and value.count("{") == value.count("}"), name
            assert not re.search(r"(?<!\\)[&%#_$~^\\]", value), f"{name}: {value} is not escaped"
        people = entry["author"].split(" and ")
        assert all(person == "others" or re.fullmatch(r"[^,]+, [^,]+", person) for person in people)
    # laid out anew, nothing of it is lost
    values = {value for entry in own.values() for value in entry.values()}
    written = {word for value in values for word in re.findall(r"\w+", value)}
    text = reference(slug) or ""
    assert set(re.findall(r"\w+", text)) <= written | FIELD_NAMES | set(own)


def test_a_key_means_one_paper() -> None:
    papers: dict[str, dict[str, str]] = {}
    for slug in cited():
        for key, entry in parsed_of(slug).items():
            assert papers.setdefault(key, entry) == entry
    assert len({entry["title"] for entry in papers.values()}) == len(papers)


@pytest.mark.parametrize(
    "text",
    ["zhao2021dc", "@article{a, title = {A}", "@article{a, title = {A{}}",
     '@article{a, title = "A"}', "@article{a, title = {A}} and", "@article{a title = {A}}"],
)  # fmt: skip
def test_bibtex_that_cannot_be_read_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods.method_class("dc"), "bibtex", text)
    with pytest.raises(BadInput, match="BibTeX of 'dc' cannot be read"):
        entries(["dc"], features=False)


def test_any_layout_of_bibtex_comes_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        methods.method_class("dc"), "bibtex", "@misc {a2 ,title={A {B}\n   c} ,year = {2021}, }"
    )
    assert (
        entries(["dc"], features=False) == "@misc{a2,\n  title = {A {B} c},\n  year = {2021}\n}\n"
    )


def test_every_method_that_is_published_has_a_paper() -> None:
    assert {n.method for n in load()} - set(cited()) == {"average", "full", "random"}


def test_titles_and_references_of_variants_and_strangers() -> None:
    assert (title_of("datm"), title_of("dc"), title_of("ddranking")) == ("DATM", "DC", "DD-Ranking")
    assert reference("ftd_noema") == reference("ftd") != reference("mtt")
    assert (title_of("nobody"), reference("nobody")) == ("nobody", None)


def test_a_table_cites_each_paper_once() -> None:
    text = entries(
        ["ftd_noema", "random", "dc", "ftd", "full", "dc"], features=True,
        protocols=["ddranking-hard", "ddranking-ars", "dcbench-2022", "mtt", "fair-v1"],
    )  # fmt: skip
    comment, _, rest = text.partition("\n\n")
    assert comment == "% Without a paper: Full data, Random"
    assert list(parsed(rest)) == [
        "cazenavette2022mtt", "cui2022dcbench", "du2023ftd", "li2025ddranking", "wang2024drupi",
        "zhao2021dc",
    ]  # fmt: skip
    assert text.endswith("}\n")


def test_f_is_cited_only_where_it_is_used() -> None:
    assert list(parsed(entries(["dc"], features=False))) == ["zhao2021dc"]
    assert entries(["random"], features=False) == "% Without a paper: Random\n"
    assert entries([], features=False) == ""


def test_a_comment_stays_a_comment() -> None:
    assert entries(["a\n@b{c"], features=False).count("\n") == 1


def test_protocols_cite_whom_they_are_called_after() -> None:
    cited = {name for name in protocols.names() if entries([], features=False, protocols=[name])}
    assert set(protocols.names()) - cited == {"fair-v1", "full"}


def test_bibtex_and_latex_accept_everything(tmp_path: Path) -> None:
    if not shutil.which("bibtex") or not shutil.which("pdflatex"):
        skip("latex", "bibtex and pdflatex are not installed")
    text = entries(cited(), features=True, protocols=[*protocols.names(), "dcbench"])
    (tmp_path / "all.bib").write_text(text)
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\\begin{document}\\nocite{*}\\bibliographystyle{plain}"
        "\\bibliography{all}\\end{document}"
    )
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all"]
    for command in (latex, ["bibtex", "all"], latex):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        assert "Warning--" not in done.stdout, done.stdout
    assert (tmp_path / "all.bbl").read_text().count("\\bibitem") == len(parsed(text))
