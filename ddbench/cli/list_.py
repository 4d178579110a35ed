"""``ddbench list``: what there is, one line each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from ddbench.cli import _options

HELP = "list recipes, datasets, methods, networks, protocols or importers"
EXAMPLE = "ddbench list recipes cifar10"

Lines = dict[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("what", choices=sorted(_KINDS), metavar="WHAT", help=", ".join(_KINDS))
    parser.add_argument("filter", nargs="?", default="", help="only names that contain this")
    _options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print name and summary of every match."""
    lines = {name: text for name, text in _KINDS[args.what]().items() if args.filter in name}
    if args.json:
        print(json.dumps(lines, indent=2))
        return 0
    if not lines:
        print(f"ddbench: no {args.what} with '{args.filter}' in the name", file=sys.stderr)
    width = max(map(len, lines), default=0)
    for name, text in lines.items():
        print(f"{name:<{width}}  {text}".rstrip())
    return 0


def _recipes() -> Lines:
    from ddbench import datasets, recipe_files

    found = [recipe_files.read(path) for path in recipe_files.shipped()]
    return {
        r.name: f"{datasets.label(r.dataset)}, {r.method.title}{' + F' if r.features else ''}, "
        f"IPC {r.ipc}, {r.net.label}" + "".join(f", published {p.accuracy}" for p in r.published)
        for r in found
    }


def _datasets() -> Lines:
    from ddbench import datasets

    lines = {}
    for name in datasets.names():
        if name in datasets.generic_names():
            lines[name] = "your own files (dataset.path)"
            continue
        facts = datasets.facts(name)
        c, h, w = facts.shape
        lines[name] = f"{facts.title}: {facts.num_classes} classes, {c}x{h}x{w}"
    return lines


def _methods() -> Lines:
    from ddbench import methods

    found = {name: methods.method_class(name) for name in methods.names()}
    return {name: (cls.__doc__ or "").strip().splitlines()[0] for name, cls in found.items()}


def _networks() -> Lines:
    from ddbench import networks

    found = {name: networks.resolve(name) for name in networks.names()}
    return {
        name: f"{network.label}; "
        + (f"one by one: {network.sequential}" if network.sequential else "trained in stacks")
        for name, network in found.items()
    }


def _protocols() -> Lines:
    from ddbench import protocols

    return {name: protocols.load(name).SUMMARY for name in protocols.names()}


def _importers() -> Lines:
    from ddbench import importers

    return {name: importers.importer(name).SUMMARY for name in importers.names()}


_KINDS: dict[str, Callable[[], Lines]] = {
    "importers": _importers,
    "recipes": _recipes,
    "datasets": _datasets,
    "methods": _methods,
    "networks": _networks,
    "protocols": _protocols,
}
