"""A method, a network family or a protocol is one new file: nothing else is touched."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ddbench import methods, networks, plugins, protocols, store, toy
from ddbench.errors import BadInput
from ddbench.recipe import Recipe
from ddbench.runner import run

PAGE = Path(__file__).resolve().parent.parent / "CONTRIBUTING.md"
METHOD = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
PROTOCOL = '''
"""Two epochs."""
SUMMARY = "two epochs"


def preset(facts, network):
    return {"repeats": 2, "epochs": 2, "lr": 0.1, "schedule": "constant"}
'''


@pytest.fixture
def added(tmp_path: Path) -> Iterator[Path]:
    """Two more folders in which plug-ins are looked for."""
    places = {methods: tmp_path / "methods", protocols: tmp_path / "protocols"}
    for package, folder in places.items():
        folder.mkdir()
        package.__path__.append(str(folder))
    plugins.names.cache_clear()
    yield tmp_path
    for package, folder in places.items():
        package.__path__.remove(str(folder))
    for name in ("ddbench.methods.pull", "ddbench.protocols.short"):
        sys.modules.pop(name, None)
    plugins.names.cache_clear()


def test_a_method_and_a_protocol_are_found_by_location(added: Path) -> None:
    (added / "methods" / "pull.py").write_text(METHOD)
    (added / "protocols" / "short.py").write_text(PROTOCOL)
    data = {"name": "x", "dataset": "digits", "ipc": 2, "method": {"name": "pull", "lr_img": 0.2}}
    recipe = Recipe.parse(data | {"evaluation": {"protocol": "short"}})
    result = store.read(run(toy.shrink(recipe, added), 0, added / "r", device="cpu").path)
    assert list(result.log["loss"]) == sorted(result.log["loss"], reverse=True)
    assert len(result.evaluations) == 2
    with pytest.raises(BadInput, match="did you mean 'lr_img'"):
        Recipe.parse(data | {"method": {"name": "pull", "lr_imgg": 1.0}})


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
