"""Imports run one way: a module imports only what stands before it in this list.

The list is the architecture. Imports for type checking alone may look ahead.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "ddbench"

ORDER = """
errors places content spec statistics plugins randomness distilled progress stopping scheduled store
file_kinds views_replay networks augment datasets zca data importers exporters
features.spec features.budget features.transform features.metrics features.contrast features
protocols methods published recipe_checks recipe recipe_files arms experts standing estimates schema
stack label_losses mixing expansion objective training engine trained features.source
synthetic task matching
methods.*
scalars tracking provenance job importing distilling lessons rate_search evaluation baselines
scoring runner
toy verification ranking scores leaderboard show probing inspection exporting report
reevaluation
cluster api cli __main__
""".split()

ONLY_IN = {
    "h5py": {"store"},
    "pandas": {"leaderboard", "report"},
    "jinja2": {"leaderboard", "report"},
    "plotly": {"report"},
    "matplotlib": {"report"},
    "statsmodels": {"statistics"},
    "tensorboard": {"tracking"},
    "wandb": {"tracking"},
    "tabulate": {"leaderboard"},
    "yaml": {"spec"},
    "argparse": {"cli"},
    "tqdm": {"progress"},
    "kornia": {"zca"},
    "safetensors": {"trained", "importers", "exporters"},
    "submitit": {"cluster"},
}
TORCH_FREE = (
    "errors places content spec published plugins stopping scheduled networks augment datasets "
    "importers exporters features.spec features.budget protocols methods recipe_checks recipe "
    "recipe_files arms experts standing estimates schema provenance cluster cli"
).split()


def modules() -> dict[str, Path]:
    """Dotted name below ddbench to file; packages by their own name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            found[name] = path
    return found


def place(name: str) -> int:
    """The rank of a module: its own, else that of the package it is in."""
    if name.startswith("methods.") and name != "methods":
        return ORDER.index("methods.*")
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in ORDER:
            return ORDER.index(prefix)
    raise AssertionError(f"ddbench.{name} has no place in the architecture; add it to ORDER")


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(tree: ast.AST, *, top_only: bool = False) -> set[str]:
    """Every module imported, those under TYPE_CHECKING left out."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt) and is_type_checking(node):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif not (top_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            found |= imports(node, top_only=top_only)
    return found


@pytest.mark.parametrize("name", modules())
def test_imports_run_one_way(name: str) -> None:
    known = modules()
    tree = ast.parse(known[name].read_text())
    for target in imports(tree):
        inner = target.removeprefix("ddbench.")
        if target == inner or inner not in known:
            continue
        same_package = inner.split(".")[0] == name.split(".", maxsplit=1)[0] and place(
            inner
        ) == place(name)
        assert same_package or place(inner) < place(name), f"{name} must not import {inner}"


@pytest.mark.parametrize("name", modules())
def test_a_library_is_used_in_one_place(name: str) -> None:
    tree = ast.parse(modules()[name].read_text())
    used = {target.split(".")[0] for target in imports(tree)}
    for library, homes in ONLY_IN.items():
        if library in used:
            assert name.split(".", maxsplit=1)[0] in homes, (
                f"{library} belongs to {homes}, not to {name}"
            )


@pytest.mark.parametrize("name", modules())
def test_checking_needs_no_torch(name: str) -> None:
    if not any(name == free or name.startswith(f"{free}.") for free in TORCH_FREE):
        return
    if name.rsplit(".", maxsplit=1)[-1].startswith("_") and not name.startswith("cli."):
        return  # imported where numbers are made
    used = imports(ast.parse(modules()[name].read_text()), top_only=True)
    assert not {target.split(".")[0] for target in used} & {"torch", "numpy", "sklearn", "h5py"}


def test_no_method_knows_of_features() -> None:
    for path in sorted((PACKAGE / "methods").glob("[a-z]*.py")):
        text = path.read_text()
        assert "FeatureSpec" not in text and ".F\b" not in text, path.name
        names = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
        assert not {"F", "features", "targets"} & names, path.name


def test_no_file_is_named_after_nothing() -> None:
    vague = {"utils", "util", "common", "misc", "helpers", "helper", "base"}
    assert not vague & {path.stem for path in PACKAGE.rglob("*.py")}
