"""Reading what users write: YAML without its traps, and strict frozen models.

YAML 1.1 reads ``1e-3`` as text, ``10:30`` as 630, ``no`` as false, and keeps the last of two equal
keys. The loader here follows the YAML 1.2 core schema instead and refuses repeated keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema
from yaml.composer import Composer

from ddbench.errors import BadInput, nearest


def _accept_what_yaml_writes(schema: Any) -> None:
    """Let tuples be read from lists, and whole-number keys from text (``--set a.10=1``)."""
    if isinstance(schema, list):
        for item in schema:
            _accept_what_yaml_writes(item)
    elif isinstance(schema, dict):
        if schema.get("type") == "tuple":
            schema["strict"] = False
        keys = schema.get("keys_schema") if schema.get("type") == "dict" else None
        if isinstance(keys, dict) and keys.get("type") == "int":
            keys["strict"] = False
        for item in schema.values():
            _accept_what_yaml_writes(item)


class Spec(BaseModel):
    """Base of everything a recipe or profile is made of: frozen, strict, no unknown fields.

    Strict means that a number written as text, a float for an integer or a bare word for a
    boolean is an error, not a guess; an integer where a float is asked for is accepted, and so is
    a list for a tuple, as YAML knows no tuples.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False
    )

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        schema = handler(source)
        _accept_what_yaml_writes(schema)
        return schema

    @classmethod
    def parse(cls, data: object, *, field: str = "", file: object | None = None) -> Self:
        """Validate ``data``; raises ``BadInput`` naming file, field, value and what is allowed."""
        if not isinstance(data, Mapping):
            raise BadInput(
                f"expected a mapping of fields, found {_show(data)}", file=file, field=field or None
            )
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise _explain(cls, error).at(file=file, prefix=field) from None
        except BadInput as error:
            raise error.at(file=file, prefix=field) from None


def fingerprint(data: object) -> str:
    """The first 12 hex digits of SHA-256 over canonical JSON: the form of every key."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# --- YAML --------------------------------------------------------------------------------------


class _Rules:
    """What makes a loader of PyYAML one of the YAML 1.2 core schema, without repeated keys and
    aliases."""

    def compose_node(self: Any, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise BadInput(
                f"line {event.start_mark.line + 1}: aliases are not read; "
                f"write the value of *{event.anchor} out"
            )
        node: yaml.Node | None = Composer.compose_node(self, parent, index)
        return node

    def construct_mapping(self: Any, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = getattr(key_node, "value", None)
            if not isinstance(key_node, yaml.ScalarNode):
                raise BadInput(f"line {key_node.start_mark.line + 1}: keys must be plain words")
            if key in seen:
                line = key_node.start_mark.line + 1
                raise BadInput(f"key '{key}' is written twice (line {line}); keep one", field=key)
            seen.add(str(key))
        found: dict[Any, Any] = yaml.SafeLoader.construct_mapping(self, node, deep=deep)
        return found


class _Loader(_Rules, yaml.SafeLoader):
    """Parses in Python; says best what is wrong with a text."""


_LOADERS: list[Any] = [_Loader]
if yaml.__with_libyaml__:

    class _FastLoader(_Rules, Composer, yaml.CSafeLoader):
        """Parses with libyaml, which counts over thousands of result files."""

        def __init__(self, stream: str) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            Composer.__init__(self)

    _LOADERS.insert(0, _FastLoader)


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either YAML version would not read back as text; writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _loader in _LOADERS:
    _loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        "float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$"
        r"|^\.(?:nan|NaN|NAN)$",
        "-+0123456789.",
    ),
):
    for _end in (*_LOADERS, _Dumper):
        _end.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes some line breaks in a way that it does not read back
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(str(loader.construct_scalar(node)))  # "010" is ten, not eight


for _loader in _LOADERS:
    _loader.add_constructor("tag:yaml.org,2002:int", _decimal)


def load_yaml(text: str, *, file: object | None = None) -> Any:
    """Parse YAML text by the rules of this module; raises ``BadInput`` with the line."""
    try:
        for loader in _LOADERS[:-1]:
            with contextlib.suppress(yaml.YAMLError):  # the last one words it better
                return yaml.load(text, Loader=loader)  # noqa: S506 - a subclass of SafeLoader
        return yaml.load(text, Loader=_LOADERS[-1])  # noqa: S506
    except BadInput as error:
        raise error.at(file=file) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        said = (getattr(error, "context", None), getattr(error, "problem", None))
        problem = ", ".join(text for text in said if text) or "not valid YAML"
        raise BadInput(f"{line}{problem}", file=file) from None
    except (RecursionError, ValueError, KeyError, AttributeError) as error:  # of explicit !!tags
        raise BadInput(f"not valid YAML ({error})", file=file) from None


def read_yaml(path: Path) -> Any:
    """``load_yaml`` of a file; a file that cannot be read is a ``BadInput`` too."""
    try:
        return load_yaml(path.read_text(encoding="utf-8"), file=path)
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", file=path) from None
    except UnicodeDecodeError:
        raise BadInput("is not UTF-8 text", file=path) from None


def dump_yaml(data: object) -> str:
    """YAML text that ``load_yaml`` reads back to the same data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


# --- wording of validation errors --------------------------------------------------------------


def _show(value: object) -> str:
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep; an integer of thousands of digits
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _model_at(model: type[BaseModel], location: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model that owns the field at ``location`` (tags of unions are skipped)."""
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            continue
        nested = [
            item
            for item in (field.annotation, *get_args(field.annotation))
            if isinstance(item, type) and issubclass(item, BaseModel)
        ]
        if not nested:
            return None
        model = nested[0]
    return model


def _explain(model: type[BaseModel], error: ValidationError) -> BadInput:
    """The most telling of pydantic's errors, in one line."""
    errors = error.errors(include_url=False)
    first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
    location = _without_tags(first["loc"])
    field = ".".join(str(part) for part in location)
    kind, found, context = first["type"], first.get("input"), first.get("ctx", {})
    if kind == "extra_forbidden":
        owner = _model_at(model, location[:-1])
        fields = owner.model_fields if owner else {}
        names = [field.alias or name for name, field in fields.items()]
        guess = nearest(str(location[-1]), names)
        hint = f"; did you mean '{guess}'?" if guess else ""
        return BadInput(f"unknown field{hint}", field=field, allowed=names or None)
    if kind == "missing":
        return BadInput("is required and missing", field=field)
    if kind == "literal_error":
        expected = str(context.get("expected", ""))
        options = re.findall(r"'([^']*)'", expected)
        guess = nearest(str(found), options)
        hint = f"; did you mean '{guess}'?" if guess else ""
        return BadInput(f"found {_show(found)}{hint}", field=field, allowed=expected)
    if kind == "value_error":
        return BadInput(str(context.get("error", first["msg"])), field=field or None)
    same = [item for item in errors if _without_tags(item["loc"]) == location]
    allowed = " or ".join(dict.fromkeys(_allowed(dict(item)) for item in same))
    return BadInput(f"found {_show(found)}", field=field or None, allowed=allowed)


def _without_tags(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The location without pydantic's names for the members of a union."""
    tags = {"int", "float", "str", "bool", "[key]"}
    return tuple(
        part for part in location if part not in tags and not str(part).startswith("literal[")
    )


def _allowed(item: dict[str, Any]) -> str:
    """What one of pydantic's errors asks for, in a user's words."""
    words = {
        "model_type": "a mapping of fields", "dict_type": "a mapping", "bool_type": "true or false",
        "invalid_key": "text as keys", "int_type": "an integer", "float_type": "a number",
        "string_type": "text", "list_type": "a list", "tuple_type": "a list",
        "finite_number": "a finite number", "literal_error": item.get("ctx", {}).get("expected"),
    }  # fmt: skip
    return str(words.get(item["type"]) or str(item["msg"]).removeprefix("Input should be "))
