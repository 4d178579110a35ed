"""The pages are true: links lead, commands parse, Python runs, tables say what the code says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from ddbench import (
    augment,
    datasets,
    exporters,
    importers,
    methods,
    networks,
    plugins,
    protocols,
    recipe_files,
)
from ddbench.cli import build_parser, main
from ddbench.cluster.profile import Profile
from ddbench.datasets import DatasetSpec
from ddbench.distilled import Space
from ddbench.errors import BadInput
from ddbench.features.spec import (
    BudgetSpec,
    ContrastSpec,
    EvaluationFeatures,
    FeatureInit,
    FeatureSpec,
)
from ddbench.importers import Options
from ddbench.importers._detect import read
from ddbench.importers._settle import settle
from ddbench.methods.external import External
from ddbench.networks.convnet import ConvNet
from ddbench.protocols import EvaluationSpec, Mix, TeacherSpec
from ddbench.recipe import InitSpec, Published, Recipe
from ddbench.spec import Spec, load_yaml
from ddbench.store import schema

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("recipes", "results", "slurm", "containers")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")),
         *(ROOT / name / "README.md" for name in FOLDERS)]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_parse(page: Path) -> None:
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL))
    for line in re.split(r"[\n;]|&&", blocks):
        if not re.match(r"\s*(ddbench|make) ", line):
            continue
        words = shlex.split(line, comments=True)
        if words[:1] == ["ddbench"]:
            build_parser().parse_args(words[1:])
        if words[:1] == ["make"]:
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert words[1] in targets


def test_every_field_of_a_cluster_profile_is_explained() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text()
    cells = re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)
    explained = {word for cell in cells for word in re.findall(r"[a-z_]+", cell)}
    assert set(Profile.model_fields) <= explained


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


def test_the_table_of_the_readme_is_what_its_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = re.search(
        r"```sh\nddbench (table results/.*)\n```\n\n(\|.*?)\n\n",
        (ROOT / "README.md").read_text(), re.DOTALL,
    )  # fmt: skip
    assert found
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(found[1])) == 0
    assert capsys.readouterr().out.split("\n\n")[0] == found[2]


def test_the_example_of_a_comparison_is_what_its_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "compare.md").read_text()
    command = re.search(r"```sh\nddbench (compare .*)\n", page)
    example = re.search(r"```text\n(.*?)```", page, re.DOTALL)
    assert command and example
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(command[1])) == 0
    assert capsys.readouterr().out == example[1]


def test_every_method_has_a_summary() -> None:
    for name in methods.names():
        cls = methods.method_class(name)
        assert cls.title and cls.__doc__, name


# --- docs/recipes.md --------------------------------------------------------------------------

RECIPE_FIELDS: dict[str, type[Spec]] = {
    "Recipe": Recipe,
    "`dataset`": DatasetSpec,
    "`init`": InitSpec,
    "`features`": FeatureSpec,
    "`features.init`": FeatureInit,
    "`features.contrast`": ContrastSpec,
    "`features.budget`": BudgetSpec,
    "`evaluation`": EvaluationSpec,
    "`evaluation.mix`": Mix,
    "`evaluation.teacher`": TeacherSpec,
    "`evaluation.features`": EvaluationFeatures,
    "`published`": Published,
    **{f"`method: {name}`": methods.method_class(name) for name in methods.names()},
}
FAMILIES: dict[str, dict[str, type[Spec]]] = {
    "`network`": {
        name: plugins.load(networks.__name__, name).NETWORK
        for name in plugins.names(networks.__name__)
    },
    "`evaluation.augmentation`": {name: augment.load(name) for name in augment.names()},
}
Row = tuple[str, Any]


@cache
def documentation() -> dict[str, str]:
    text = (ROOT / "docs" / "recipes.md").read_text()
    return {part.split("\n")[0]: part for part in text.split("\n### ")[1:]}


def defaults(model: type[Spec]) -> list[Row]:
    """Fields and defaults, as the tables show them."""
    expected: list[Row] = []
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        shown: Any = "required" if field.is_required() else default
        shown = "-" if isinstance(shown, Spec) else shown
        shown = {k: list(v) for k, v in shown.items()} if name == "loops" else shown
        shown = list(shown) if isinstance(shown, tuple) else shown
        expected.append((field.alias or name, shown))
    return expected


def shown_default(text: str) -> Any:
    return text if text in ("required", "-") else load_yaml(text)


@pytest.mark.parametrize("heading", RECIPE_FIELDS)
def test_documented_fields_and_defaults(heading: str) -> None:
    fields, *_ = documentation()[heading].split("| protocol |")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.+?) \|$", fields, re.MULTILINE)
    assert [(name, shown_default(text)) for name, text in rows] == defaults(RECIPE_FIELDS[heading])


@pytest.mark.parametrize("heading", FAMILIES)
def test_documented_fields_of_families(heading: str) -> None:
    """One table for all; a family stands in the first of its rows."""
    _, table = documentation()[heading].split("| field |")
    found: dict[str, list[Row]] = {}
    owner = ""
    for family, name, text in re.findall(
        r"^\| (?:`(\w+)` )?\| `(\w+)` \|.*\| (.+?) \|$", table, re.MULTILINE
    ):
        owner = family or owner
        found.setdefault(owner, []).append((name, shown_default(text)))
    expected = {name: defaults(model)[1:] for name, model in FAMILIES[heading].items()}
    assert found == {name: rows for name, rows in expected.items() if rows}


def test_documented_names_of_networks() -> None:
    """Every family has its row, and every name in it is one of the family's."""
    table, _ = documentation()["`network`"].split("| field |")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|.*\|$", table, re.MULTILINE))
    assert set(rows) == set(FAMILIES["`network`"])
    for family, text in rows.items():
        for name in re.findall(r"`([\w:-]+)`", text.replace("NAME", "resnet18")):
            assert type(networks.resolve(name)) is FAMILIES["`network`"][family], name


def test_names_for_64_pixels_are_those_without_the_ending() -> None:
    for name in ("MLP", "LeNet", "AlexNet", "VGG11", "ResNet18", "ResNet18BN_AP"):
        same = networks.resolve(f"{name}_Tiny").identity()
        assert same == networks.resolve(name).identity()


def test_documented_protocols() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| (\d+) \| (\d+) \| ([\w.]+) \| (\d+) \| (\w+) \| (\w+) \|$",
        documentation()["`evaluation`"], re.MULTILINE,
    )  # fmt: skip
    facts, net = datasets.facts("cifar10"), ConvNet(name="ConvNetD3")
    expected = []
    for name in protocols.names():
        plan = EvaluationSpec(protocol=name).plan(facts, net, ipc=10)
        shown = (plan.repeats, plan.epochs, plan.lr, plan.batch_size, plan.schedule, plan.loss)
        expected.append((name, *map(str, shown)))
    assert rows == expected


@pytest.mark.parametrize(
    ("page", "recipe"),
    [("recipes.md", "cifar10_dc_ipc10"), ("foreign-sets.md", "mnist_external_dc_ipc1")],
)
def test_documented_example_is_the_shipped_file(page: str, recipe: str) -> None:
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    assert block is not None
    text = (recipe_files.shipped_folder() / f"{recipe}.yaml").read_text()
    assert yaml.safe_load(block[1]) == yaml.safe_load(text)


# --- docs/result-file.md ----------------------------------------------------------------------


def table(page: str, header: str) -> list[list[str]]:
    """Cells of the first table of a page that begins with a column of this name."""
    text = (ROOT / "docs" / page).read_text()
    lines = text.split(f"| {header} |", 1)[1].split("\n\n")[0].splitlines()[2:]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return [[cell.strip().replace("\\", "") for cell in row] for row in rows]


def code(cell: str) -> str:
    return cell.strip("`")


def test_attributes_of_the_result_file() -> None:
    names = [code(name) for name, _ in table("result-file.md", "attribute")]
    assert names == list(schema.ATTRIBUTES)


def test_datasets_of_the_result_file() -> None:
    rows = [(code(path), dtypes) for path, dtypes, *_ in table("result-file.md", "path")]
    assert rows == [(entry.path, ", ".join(entry.dtypes)) for entry in schema.ENTRIES]


def test_columns_of_the_evaluations() -> None:
    rows = [(code(name), kind) for name, kind, _ in table("result-file.md", "column")]
    kinds = {name: kind for name, (kind, _) in schema.COLUMNS.items()}
    assert rows == list({**kinds, "per_class": "float32 [K]"}.items())


# --- docs/foreign-sets.md ---------------------------------------------------------------------


def test_importers() -> None:
    found = {code(name): reads for name, reads, _ in table("foreign-sets.md", "importer")}
    assert found == {name: importers.importer(name).SUMMARY for name in importers.names()}


def test_exporters() -> None:
    found = {code(name): writes for name, writes in table("foreign-sets.md", "exporter")}
    assert found == {name: exporters.exporter(name).SUMMARY for name in exporters.names()}


def test_options_of_foreign_sets() -> None:
    rows = table("foreign-sets.md", "question")
    named = {re.match(r"`--([a-z-]+)", option)[1] for _, option, _ in rows}  # type: ignore[index]
    assert named == {name.replace("_", "-") for name in Options.model_fields}
    assert set(Options.model_fields) - {"replicate"} <= set(External.model_fields)


COUNT = 100  # of CIFAR-100, one image per class
X = torch.randn(COUNT, 3, 32, 32, generator=torch.Generator().manual_seed(0))
Y, SOFT = torch.arange(COUNT), torch.eye(COUNT) * 5
F = torch.zeros(1, COUNT, 4, 2, 2)
ANSWERS = {"--space": "meanstd", "--constants": "dc", "--labels-kind": "logit"}


def class_folders(folder: Path, name: Callable[[int], str]) -> None:
    for index in range(COUNT):
        place = folder / name(index)
        place.mkdir(parents=True)
        Image.new("RGB", (32, 32), (index, 0, 0)).save(place / f"class{index:05d}_id00000.png")


def torch_files(folder: Path, **values: Any) -> None:
    folder.mkdir()
    for name, value in values.items():
        torch.save(value, folder / f"{name}.pt")


def hdf5(path: Path, y: torch.Tensor) -> None:
    with h5py.File(path, "w") as file:
        file["images"], file["labels"] = X.numpy(), y.numpy()


def dcbench(folder: Path) -> None:
    stem = "cifar100_IPC1_normalize_"
    torch_files(folder, **{f"{stem}images": X, f"{stem}labels": Y})


def experiments(path: Path, *item: torch.Tensor) -> None:
    torch.save({"data": [[X, *item]], "accs_all_exps": {}}, path)


SETS: dict[str, list[tuple[str, Callable[[Path], None]]]] = {
    "class_folders": [
        ("numbered", lambda at: class_folders(at, lambda index: f"new{index:03d}")),
        ("named", lambda at: class_folders(at, lambda index: chr(97 + index % 26) * (1 + index))),
    ],
    "dcbench": [("set", dcbench)],
    "ddranking": [
        ("hard", lambda at: torch_files(at, images=X, labels=Y)),
        ("soft", lambda at: torch_files(at, images=X, labels=SOFT)),
        ("probabilities", lambda at: torch_files(at, images=X, labels=SOFT.softmax(1))),
    ],
    "hdf5_file": [
        ("hard.h5", lambda at: hdf5(at, Y)),
        ("soft.h5", lambda at: hdf5(at, SOFT)),
    ],
    "idc": [("cifar100_factor1", lambda at: torch_files(at, data=[X.sigmoid(), Y]))],
    "npz": [
        ("hard.npz", lambda at: np.savez(at, images=X.numpy(), labels=Y.numpy())),
        ("soft.npz", lambda at: np.savez(at, images=X.numpy(), labels=SOFT.numpy())),
    ],
    "res_dict": [
        ("hard.pt", lambda at: experiments(at, Y)),
        ("soft.pt", lambda at: experiments(at, SOFT)),
        ("features.pt", lambda at: experiments(at, Y, F)),
    ],
    "safetensors_file": [
        ("hard.safetensors", lambda at: save_file({"x": X, "y": Y}, at)),
        ("soft.safetensors", lambda at: save_file({"x": X, "y": SOFT}, at)),
    ],
    "trajectory": [
        ("hard", lambda at: torch_files(at, images_best=X, labels_best=Y)),
        ("soft", lambda at: torch_files(at, images_best=X, labels_best=SOFT)),
        ("rate", lambda at: torch_files(at, images_best=X, labels_best=SOFT, lr_best=0.01)),
    ],
}
"""Small sets per importer: with hard labels, soft ones, F, names of their own."""


def asked(path: Path, answers: dict[str, str]) -> set[str]:
    """The options without which a set is refused, each asked for by its name."""
    facts = datasets.facts("cifar100")
    space = Space("meanstd", facts.constants["dc"].mean, facts.constants["dc"].std)
    given: dict[str, str] = {}
    while True:
        options = Options.parse({name[2:].replace("-", "_"): v for name, v in given.items()})
        try:
            settle(read(path, options).sets[0], options, facts, space, file=path)
            return set(given)
        except BadInput as error:
            assert error.field in answers and error.field not in given, str(error)
            given[error.field] = answers[error.field]


@pytest.mark.parametrize("importer", importers.names())
def test_an_importer_asks_for_what_the_page_says(importer: str, tmp_path: Path) -> None:
    order = tmp_path / "order.txt"
    order.write_text("\n".join(map(str, range(COUNT))))
    found: set[str] = set()
    for name, write in SETS[importer]:
        write(tmp_path / name)
        found |= asked(tmp_path / name, {**ANSWERS, "--class-order": str(order)})
    needs = {code(name): text for name, _, text in table("foreign-sets.md", "importer")}
    assert found == set(re.findall(r"`(--[a-z-]+)`", needs[importer]))
