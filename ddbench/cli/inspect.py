"""``ddbench inspect``: what is in a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ddbench.cli import _foreign, _options

HELP = "format, shapes, ranges, labels, bytes and provenance of a set"
EXAMPLE = "ddbench inspect results/digits/digits_dc_ipc2/KEY-s0.h5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "--probe", action="store_true",
        help="train a small network for a minute to tell dataset and value space",
    )  # fmt: skip
    _options.add_json(parser)
    _foreign.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the findings."""
    from ddbench.inspection import as_text, describe

    options = _foreign.options(args)
    found = describe(args.file, options)
    if args.probe:
        from ddbench.probing import probe

        found["probe"] = {str(one): one.outcome for one in probe(args.file, options)}
    print(json.dumps(found, indent=2) if args.json else as_text(found))
    return 0
