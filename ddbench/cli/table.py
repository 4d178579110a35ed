"""``ddbench table``: the paper's table from result files."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "table of all results in folders or files"
EXAMPLE = "ddbench table results/ --format latex -o table.tex"

FORMATS = ("github", "latex", "csv", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--format", choices=FORMATS, default="github")
    parser.add_argument("--by-bytes", action="store_true", help="sort by stored bytes, not by IPC")
    parser.add_argument("--published", action="store_true", help="always show published numbers")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="write there")


def run(args: argparse.Namespace) -> int:
    """Print or write the table."""
    from ddbench import leaderboard

    text = leaderboard.table(
        args.paths, fmt=args.format, by_bytes=args.by_bytes, published=args.published
    )
    if args.output is None:
        print(text)
    else:
        from ddbench.store.atomic import publish

        with publish(args.output) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    return 0
