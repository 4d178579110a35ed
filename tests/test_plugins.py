"""A method, a protocol, an importer or an exporter is one new file: nothing else is touched.

The files are those of CONTRIBUTING.md.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from ddbench import (
    data,
    datasets,
    exporters,
    importers,
    methods,
    networks,
    plugins,
    protocols,
    store,
    toy,
)
from ddbench.datasets import DatasetSpec
from ddbench.errors import BadInput
from ddbench.exporting import export
from ddbench.importers import Options
from ddbench.importers._detect import read
from ddbench.importers._settle import settle
from ddbench.protocols import EvaluationSpec
from ddbench.recipe import Recipe
from ddbench.runner import make, run

PAGE = Path(__file__).resolve().parent.parent / "CONTRIBUTING.md"
METHOD, PROTOCOL, IMPORTER, EXPORTER = re.findall(
    r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL
)
PACKAGES = (methods, protocols, importers, exporters)
CACHES = (plugins.names, plugins._foreign, protocols.load, importers.importer)


def _forget() -> None:
    for cache in CACHES:
        cache.cache_clear()
    for package in PACKAGES:
        for name in ("pull", "short", "csv_rows"):
            sys.modules.pop(f"{package.__name__}.{name}", None)


@pytest.fixture
def added(tmp_path: Path) -> Iterator[Path]:
    """More folders in which plug-ins are looked for."""
    for package in PACKAGES:
        folder = tmp_path / package.__name__.rpartition(".")[2]
        folder.mkdir()
        package.__path__.append(str(folder))
    _forget()
    yield tmp_path
    for package in PACKAGES:
        package.__path__.pop()
    _forget()


def test_a_method_and_a_protocol_are_found_by_location(added: Path) -> None:
    (added / "methods" / "pull.py").write_text(METHOD)
    (added / "protocols" / "short.py").write_text(PROTOCOL)
    data = {"name": "x", "dataset": "digits", "ipc": 2, "method": {"name": "pull", "lr_img": 0.2}}
    recipe = Recipe.parse(data | {"evaluation": {"protocol": "short"}})
    result = store.read(run(toy.shrink(recipe, added), 0, added / "r", device="cpu").path)
    assert list(result.log["loss"]) == sorted(result.log["loss"], reverse=True)
    assert [record.protocol for record in result.evaluations] == ["short", "short"]
    with pytest.raises(BadInput, match="did you mean 'lr_img'"):
        Recipe.parse(data | {"method": {"name": "pull", "lr_imgg": 1.0}})


def test_a_protocol_says_only_what_is_its_own(added: Path) -> None:
    (added / "protocols" / "short.py").write_text(PROTOCOL.replace("VERSION = 1", "VERSION = 2"))
    facts, network = datasets.facts("cifar10"), networks.resolve("ConvNetD3")
    plan = EvaluationSpec(protocol="short").plan(facts, network)
    assert (plan.protocol, plan.epochs_run, plan.rates().values) == ("short@2", 10, (0.01,) * 10)
    of_dc = EvaluationSpec(protocol="dc").plan(facts, network)
    named = {"protocol", "repeats", "epochs", "lr", "schedule"}
    assert plan.model_dump(exclude=named) == of_dc.model_dump(exclude=named)


def test_an_importer_and_an_exporter_are_found_by_location(added: Path) -> None:
    (added / "importers" / "csv_rows.py").write_text(IMPORTER)
    (added / "exporters" / "csv_rows.py").write_text(EXPORTER)
    recipe = Recipe.parse({"name": "x", "dataset": "digits", "ipc": 2, "method": "random"})
    result, path = added / "set.h5", added / "set.csv"
    make(recipe, 0, result, device="cpu")
    assert export(result, "csv_rows", path) == ["Pixels are rounded to 8 bits."]
    reading = read(path)
    assert (reading.format, reading.reasons) == ("csv_rows", ("the file ends in .csv",))
    assert list(reading.files) == ["set.csv"]
    own, space = store.read_set(result), data.load(DatasetSpec(name="digits"), "cpu").space
    facts = datasets.facts("digits")
    back = settle(reading.sets[0], Options(), facts, space, file=path).data_set
    assert torch.equal(back.y, own.y)
    assert torch.allclose(back.x, own.x, atol=0.5 / 255 / min(space.std) + 1e-6)
    for line, says in (
        ("1,2,3", "no table"),
        ("1,x", "no table"),
        ("", "no table"),
        ("1,256", "0 to 255"),
    ):
        path.write_text(line)
        with pytest.raises(BadInput, match=says):
            read(path)


def test_two_plugins_of_one_name_are_an_error(added: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = EntryPoint("dc", "elsewhere.dc", "ddbench.methods")
    monkeypatch.setattr(plugins, "entry_points", lambda **_: [foreign])
    with pytest.raises(RuntimeError, match="one name: dc"):
        plugins.names("ddbench.methods")


def test_an_unknown_network_names_the_nearest() -> None:
    with pytest.raises(BadInput, match="did you mean 'ConvNetD3'"):
        networks.resolve("ConvNetD33")


def test_a_method_that_steps_must_say_how_often(added: Path) -> None:
    lines = METHOD.replace("def iterations_of", "def something_else")
    (added / "methods" / "pull.py").write_text(lines)
    with pytest.raises(BadInput, match="must define iterations_of"):
        methods.resolve("pull")


def test_missing_plugins_are_key_errors() -> None:
    with pytest.raises(KeyError):
        plugins.load("ddbench.methods", "nothing")
