"""``ddbench export``: a set of ours in another program's format."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ddbench import exporters

HELP = "a set of ours in another program's format"
EXAMPLE = "ddbench export results/digits/digits_dc_ipc2/KEY-s0.h5 --format mtt -o digits_mtt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("set", type=Path, metavar="SET", help="a result file of ddbench")
    parser.add_argument("--format", required=True, choices=exporters.names())
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="PATH",
                        help="file or folder to write; must not exist")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the set; say what the format cannot hold."""
    from ddbench.exporting import export

    for note in export(args.set, args.format, args.output):
        print(f"ddbench: {note}", file=sys.stderr)
    print(args.output)
    return 0
