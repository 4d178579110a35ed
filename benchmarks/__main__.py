"""``python -m benchmarks [ROW...]``: measure rows of docs/performance.md on this machine.

``--reference DIR`` (a checkout of VICO-UoE/DatasetCondensation) and ``--drupi DIR`` (the ``DC``
folder of turturturturtur/DRUPI) time the references' own functions beside ours.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks import row_dc, row_dm, row_eval, row_process, row_table
from benchmarks.measure import Row, rate
from benchmarks.workloads import cifar_shape, digits, reference_utils

ROWS = ("eval", "eval-networks", "dc", "dm", "f", "start-up", "demo", "table")

_PROCESSES: dict[str, Callable[[], list[Row]]] = {
    "start-up": row_process.startup,
    "demo": row_process.demo,
    "table": partial(row_table.measure, 1000, 10_000),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--reference", type=Path, help="checkout of VICO-UoE/DatasetCondensation")
    parser.add_argument("--drupi", type=Path, help="DC folder of turturturturtur/DRUPI")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    args = parser.parse_args()
    if unknown := set(args.rows) - set(ROWS):
        parser.error(f"unknown rows {sorted(unknown)}; there are {', '.join(ROWS)}")
    rows: list[Row] = []
    for name in args.rows or ROWS:
        rows += _measured(name, args)
    print(_table(rows))
    if args.json:
        args.json.write_text(json.dumps([row.as_dict() for row in rows], indent=2) + "\n")


def _measured(name: str, args: argparse.Namespace) -> list[Row]:
    if name in _PROCESSES:
        return _PROCESSES[name]()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    speed, gpu = rate(device), device.type == "cuda"
    small, large = digits(device), cifar_shape(device)
    if name == "eval-networks":
        part = (20, (50, 50)) if gpu else (4, (11, 3))
        return row_eval.measure_families(
            cifar_shape(device, tests=64).data, networks=part[0], epochs=part[1]
        )
    folder = args.drupi if name == "f" else args.reference
    with contextlib.redirect_stdout(io.StringIO()):  # the references print
        reference = reference_utils(folder)
        if name == "eval":
            return [
                *row_eval.measure(small, reference, speed, networks=20, epochs=50),
                *row_eval.measure(large, reference, speed, networks=20 if gpu else 2,
                                  epochs=1000 if gpu else 4),
            ]  # fmt: skip
        if name == "dm":
            sizes = ((small, 10), (large, 10), (large, 50))
            return [
                row
                for work, ipc in sizes
                for row in row_dm.measure(work, reference, speed, ipc=ipc)
            ]
        features = name == "f"
        full = {"outer": 10, "inner": 50, "batch_real": 256}
        part = {"outer": 2, "inner": 1, "batch_real": 32}
        return [
            *row_dc.measure(small, reference, speed, outer=3, inner=10, features=features),
            *row_dc.measure(large, reference, speed, features=features, **(full if gpu else part)),
        ]


def _table(rows: list[Row]) -> str:
    lines = [
        "| row | workload | variant | seconds (min-max) | CPU s | ratio to ddbench | x floor |",
        "|---|---|---|---|---|---|---|",
    ]
    ours: dict[str, float] = {}
    for row in rows:
        ours.setdefault(row.row + row.workload, row.seconds)
        ratio = row.seconds / ours[row.row + row.workload]
        floor = f"{row.seconds / row.floor_seconds:.1f}" if row.floor_seconds else "-"
        lines.append(
            f"| {row.row} | {row.workload} | {row.variant} | {row.seconds:.3f} "
            f"({row.low:.3f}-{row.high:.3f}) | {row.cpu_seconds:.2f} | {ratio:.2f} | {floor} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
