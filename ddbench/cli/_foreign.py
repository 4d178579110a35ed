"""FOREIGN OPTIONS: what settles the questions that a foreign file leaves open."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, get_args

from ddbench.importers import KindOption, SpaceOption

if TYPE_CHECKING:
    from ddbench.importers import Options

_FIELDS = (
    "format", "space", "constants", "labels_kind", "labels", "lr", "class_order", "replicate",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options, as a group of their own."""
    group = parser.add_argument_group(
        "foreign options", "answers to what a foreign file does not say; nothing is guessed"
    )
    group.add_argument("--format", default="auto", metavar="NAME",
                       help="importer; auto detects (ddbench list importers)")  # fmt: skip
    group.add_argument("--space", choices=get_args(SpaceOption), help="value space of the images")
    group.add_argument("--constants", metavar="FAMILY", help="whose mean and std: dc, mtt, ...")
    group.add_argument("--labels-kind", choices=get_args(KindOption), help="what labels hold")
    group.add_argument("--labels", metavar="FILE", help="a file with the labels")
    group.add_argument("--lr", metavar="VALUE|FILE", help="the student's step size")
    group.add_argument("--class-order", metavar="FILE",
                       help="line i: the dataset's class that the file calls i")  # fmt: skip
    group.add_argument("--replicate", type=int, metavar="J", help="only this set of several")


def options(args: argparse.Namespace) -> Options:
    """The answers given."""
    from ddbench.importers import Options

    return Options.parse({name: getattr(args, name) for name in _FIELDS}, field="--")
