"""The YAML rules, strict models, keys and the wording helpers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from ddbench import spec
from ddbench.errors import BadInput, nearest, unknown
from ddbench.spec import Spec, dump_yaml, fingerprint, load_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("+1", 1),
        ("-7", -7),
        ("010", 10),
        ("0x10", "0x10"),
        ("0o7", "0o7"),
        ("1_000", "1_000"),
        ("10:30", "10:30"),
        ("2020-01-01", "2020-01-01"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("-.inf", float("-inf")),
        ("[1, a, 2.5]", [1, "a", 2.5]),
        ("{1: [2, 3]}", {1: [2, 3]}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("=: 1", {"=": 1}),
    ],
)
def test_core_schema(text: str, value: object) -> None:
    found = load_yaml(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("loader", spec._LOADERS)
def test_with_libyaml_and_without(loader: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "_LOADERS", [loader])
    for test in (test_core_schema, test_refused_yaml):
        (mark,) = test.pytestmark  # type: ignore[attr-defined]
        for text, expected in mark.args[1]:
            if test is test_core_schema or "line" not in expected:  # libyaml counts otherwise
                test(text, expected)


def test_nan_is_a_number() -> None:
    assert load_yaml(".nan") != load_yaml(".nan")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2", "line 2"),
        ("a: 1\n'a': 2", "written twice"),
        ("a: {b: 1, b: 2}", "'b' is written twice"),
        ("\ta: 1", "line 1"),
        ("a: 1\n b: 2", "line 2"),
        ("{a: 1", "line 1"),
        ("? [a]\n: b", "plain words"),
        ("a: &x [1]\nb: *x", "line 2: aliases"),
        ("a: &a [*a]", "aliases"),
        ("a: *x", "aliases"),
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("a: !mine 1", "tag"),
        ("a: !!bool maybe", "not valid YAML"),
        ("a: !!timestamp x", "not valid YAML"),
        ("a: !!int x", "not valid YAML"),
        ("a: 1\n---\nb: 2", "single document"),
        ("a: \0", "not valid YAML"),
        ("[" * 3000, "not valid YAML"),
        ("9" * 5000, "not valid YAML"),
    ],
)
def test_refused_yaml(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as error:
        load_yaml(text, file="x.yaml")
    assert str(error.value).startswith("x.yaml: ")
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: \u00e9".encode("latin-1"))
    for path, says in ((tmp_path / "no.yaml", "No such file"), (tmp_path, "cannot be read"),
                       (tmp_path / "latin.yaml", "UTF-8")):  # fmt: skip
        with pytest.raises(BadInput, match=says):
            read_yaml(path)


_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["1e-3", "08", "0x1", "yes", "null", "~", "1:30", ".5", "=", "<<", "- a"])
)  # fmt: skip
_DATA = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(_DATA)
def test_what_is_dumped_is_read_back(data: object) -> None:
    assert load_yaml(dump_yaml(data)) == data
    assert load_yaml(dump_yaml([data, data])) == [data, data]  # without aliases


@given(_DATA, st.randoms(use_true_random=False))
def test_fingerprint_ignores_the_order_of_keys(data: object, source: random.Random) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffled(item) for item in value]
        if isinstance(value, dict):
            items = [(key, shuffled(item)) for key, item in value.items()]
            source.shuffle(items)
            return dict(items)
        return value

    if "inf" in repr(data):
        return
    key = fingerprint(data)
    assert key == fingerprint(shuffled(data))
    assert len(key) == 12 and int(key, 16) >= 0


def test_fingerprint_tells_data_apart() -> None:
    different: list[object] = [{}, [], None, 0, "", "0", {"a": None}, {"a": {}}, [0, 1], [1, 0]]
    assert len({fingerprint(item) for item in different}) == len(different)
    assert fingerprint({"a": 1}) == "015abd7f5cc5"  # the form of every key is fixed
    with pytest.raises(ValueError, match="Out of range"):
        fingerprint(float("nan"))


class Inner(Spec):
    flag: bool = False
    mode: int | str = 0


class Outer(Spec):
    size: int
    rate: float = 0.5
    pair: tuple[int, float] = (1, 2.0)
    table: dict[int, tuple[int, int]] = Field(default_factory=dict)
    inner: Inner = Inner()


def test_lists_for_tuples_and_integers_for_floats() -> None:
    text = "{size: 1, rate: 2, pair: [1, 2], table: {'3': [4, 5]}, inner: {flag: true}}"
    found = Outer.parse(load_yaml(text))
    assert found.pair == (1, 2.0) and found.table == {3: (4, 5)} and found.rate == 2.0
    assert found.inner.flag is True


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]", "f: x: expected a mapping of fields, found [1]"),
        ("{}", "f: x.size: is required and missing"),
        ("{size: 1.0}", "f: x.size: found 1.0; allowed: an integer"),
        ("{size: true}", "f: x.size: found True; allowed: an integer"),
        ("{size: '1'}", "f: x.size: found '1'; allowed: an integer"),
        ("{size: 1, rate: '1e-3'}", "f: x.rate: found '1e-3'; allowed: a number"),
        ("{size: 1, rate: .nan}", "f: x.rate: found nan; allowed: a finite number"),
        ("{size: 1, inner: {flag: yes}}", "f: x.inner.flag: found 'yes'; allowed: true or false"),
        ("{size: 1, inner: {mode: []}}", "f: x.inner.mode: found []; allowed: an integer or text"),
        ("{size: 1, inner: 3}", "f: x.inner: found 3; allowed: a mapping of fields"),
        ("{size: 1, pair: [1, '2']}", "f: x.pair.1: found '2'; allowed: a number"),
        ("{size: 1, table: {a: [1, 2]}}", "f: x.table.a: found 'a'; allowed: "),
        ("{size: 1, inner: {flg: true}}",
         "f: x.inner.flg: unknown field; did you mean 'flag'?; allowed: flag, mode"),
        ("{1: 2, size: 1}", "f: x.1: found 1; allowed: text as keys"),
    ],
)  # fmt: skip
def test_wording(text: str, says: str) -> None:
    with pytest.raises(BadInput) as error:
        Outer.parse(load_yaml(text), file="f", field="x")
    assert str(error.value).startswith(says)


def test_values_that_have_no_text() -> None:
    deep: object = 1
    for _ in range(5000):
        deep = [deep]
    for value, kind in ((deep, "list"), (10**6000, "int")):
        with pytest.raises(BadInput, match=f"a value of type {kind}"):
            Inner.parse({"flag": value})


def test_specs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Inner().flag = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "found"),
    [("dn", "dm"), ("DC", "dc"), ("cifra10", "cifar10"), ("hearding", "herding"), ("zzz", None),
     ("", None)],
)  # fmt: skip
def test_nearest(name: str, found: str | None) -> None:
    assert nearest(name, ["dm", "dc", "cifar10", "cifar100", "herding"]) == found


def test_nearest_does_not_depend_on_order() -> None:
    assert nearest("da", ["dc", "dm"]) == nearest("da", ["dm", "dc"])


def test_errors_are_one_line() -> None:
    error = unknown("method", "a\nb\x1b[0m", ["dc"], field="method.name")
    text = str(error.at(file="r.yaml", prefix=None))
    assert text == r"r.yaml: method.name: unknown method 'a\nb\x1b[0m'; allowed: dc"
