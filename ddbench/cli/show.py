"""``ddbench show``: the synthetic images as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "picture of a set: one row per class, F maps beside the images"
EXAMPLE = "ddbench show results/digits/digits_dc_ipc2/KEY-s0.h5 -o set.png --features"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("set", type=Path, metavar="SET")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FILE.png")
    parser.add_argument("--features", action="store_true", help="show F beside the images")


def run(args: argparse.Namespace) -> int:
    """Write the picture."""
    from ddbench.show import save

    save(args.set, args.output, features=args.features)
    return 0
