"""``ddbench report``: one HTML page of results, and figures for papers."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "one self-contained HTML page of all results; figures as PDF and SVG"
EXAMPLE = "ddbench report results/ -o report.html --figures figures/"

EMBEDDINGS = ("untrained", "trained", "none")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FILE.html")
    parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="also write the plots there, as PDF and SVG"
    )
    parser.add_argument(
        "--embedding",
        choices=EMBEDDINGS,
        default="untrained",
        help="whose features the t-SNE compares; none: no t-SNE (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from ddbench import report
    from ddbench.errors import BadInput

    if args.output.is_dir():
        raise BadInput(f"'{args.output}' is a folder", field="-o", allowed="the name of a file")
    report.build(args.paths, args.output, figures_in=args.figures, mode=args.embedding)
    return 0
