"""``ddbench table``: the paper's table from result files."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "table of all results in folders or files"
EXAMPLE = "ddbench table results/ --format latex -o table.tex"

FORMATS = ("github", "latex", "csv", "html", "json")
AXES = ("networks", "ipc", "datasets")
DIVISIONS = ("hard", "soft", "teacher", "features")
VIEWS = ("default", "ddranking", "dcbench", "ranks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--format", choices=FORMATS, default="github")
    parser.add_argument("--pivot", choices=AXES, help="one column for each of these")
    parser.add_argument(
        "--by-bytes", action="store_true", help="sort and compare by stored bytes, not by IPC"
    )
    parser.add_argument(
        "--division", choices=DIVISIONS, help="only rows that learn from such labels, or with F"
    )
    parser.add_argument(
        "--view", choices=VIEWS, default="default",
        help="the scores of DD-Ranking, the tables of DC-BENCH, or average ranks",
    )  # fmt: skip
    parser.add_argument(
        "--published", action="store_true", help="with the numbers that papers report"
    )
    parser.add_argument("--costs", action="store_true", help="with seconds, peak memory and device")
    parser.add_argument(
        "--bibtex", action="store_true", help="print what to cite, in place of the table"
    )
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="write there")


def run(args: argparse.Namespace) -> int:
    """Print or write the table."""
    from ddbench import leaderboard
    from ddbench.errors import BadInput

    if args.output is not None and args.output.is_dir():
        raise BadInput(f"'{args.output}' is a folder", field="-o", allowed="the name of a file")
    text = leaderboard.table(
        args.paths, fmt=args.format, pivot_by=args.pivot, by_bytes=args.by_bytes,
        division=args.division, view=args.view, published=args.published, costs=args.costs,
        bibtex=args.bibtex,
    )  # fmt: skip
    if args.output is None:
        print(text, end="")
    else:
        from ddbench.store.atomic import publish

        with publish(args.output) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return 0
