"""Recipe files: finding them, ``extends``, ``--set``, and reading resolved ones back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddbench.errors import BadInput, nearest, unknown
from ddbench.recipe import Recipe
from ddbench.spec import load_yaml, read_yaml


def shipped_folder() -> Path:
    """``recipes/`` of this checkout."""
    return Path(__file__).resolve().parent.parent / "recipes"


def shipped() -> list[Path]:
    """All shipped recipes, sorted by name."""
    return sorted(shipped_folder().glob("*.yaml"))


def locate(name: str) -> Path:
    """The file of a recipe given by path or by the name of a shipped one.

    Raises:
        BadInput: no such file; names the nearest shipped recipe.
    """
    path = Path(name)
    if _is_file(path):
        return path
    known = {file.stem: file for file in shipped()}
    if name in known:
        return known[name]
    if path.suffix in (".yaml", ".yml") or "/" in name:
        guess = nearest(path.stem, known)
        hint = f"; did you mean '{guess}'?" if guess else ""
        raise BadInput(f"no such recipe file{hint}", file=name)
    raise unknown("recipe", name, list(known))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def read(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, extend, override and validate a recipe file.

    Args:
        name: path of a YAML file, or the name of a shipped recipe.
        overrides: ``a.b=value`` with the value in YAML, as ``--set`` gives them.

    Raises:
        BadInput: with the file and the field.
    """
    path = locate(str(name))
    data = _extended(path, ())
    for override in overrides:
        data = overridden(data, override)
    recipe = Recipe.parse(data, file=path)
    if recipe.name != path.stem:
        raise BadInput(f"found '{recipe.name}'", file=path, field="name",
                       allowed=f"{path.stem} (the file's name)")  # fmt: skip
    return recipe


def from_yaml(text: str, *, file: object = "recipe") -> Recipe:
    """A recipe from resolved YAML text, as a result file holds it."""
    return Recipe.parse(load_yaml(text, file=file), file=file)


def _extended(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The mapping of a file merged over those it extends."""
    real = path.resolve()
    if real in seen:
        chain = " -> ".join(file.name for file in (*seen, real))
        raise BadInput(f"extends itself: {chain}", file=path, field="extends")
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise BadInput(f"expected a mapping of fields, found {type(data).__name__}", file=path)
    base = data.pop("extends", None)
    if base is None:
        return data
    return _merged(_extended(_base_file(base, path), (*seen, real)), data)


def _base_file(base: object, path: Path) -> Path:
    where = "a relative path without '..', beside the recipe or among the shipped recipes"
    if not isinstance(base, str) or Path(base).is_absolute() or ".." in Path(base).parts:
        raise BadInput(f"found {base!r}", file=path, field="extends", allowed=where)
    for folder in (path.parent, shipped_folder()):
        if _is_file(folder / base):
            return folder / base
    raise BadInput(f"no file '{base}'", file=path, field="extends", allowed=where)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Deep merge: mappings field by field, everything else replaced."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        result[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def overridden(data: dict[str, Any], override: str) -> dict[str, Any]:
    """``data`` with one ``a.b=value`` in place; raises ``BadInput`` for another form."""
    path, equals, text = override.partition("=")
    parts = path.split(".")
    if not equals or not all(parts):
        raise BadInput(f"found '{override}'", field="--set", allowed="field.subfield=value")
    value: Any = load_yaml(text, file=f"--set {path}")
    for part in reversed(parts[1:]):
        value = {part: value}
    if isinstance(data.get(parts[0]), str) and isinstance(value, dict):
        data = {**data, parts[0]: {"name": data[parts[0]]}}  # method: dc, --set method.lr_img=1
    return _merged(data, {parts[0]: value})
