"""Rows ``start-up`` and ``demo``: whole processes, as a user starts them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Row

ROOT = Path(__file__).resolve().parent.parent


def startup(runs: int = 5) -> list[Row]:
    """``ddbench --help`` and ``ddbench check``."""
    return [
        _timed("start-up", f"ddbench {' '.join(words)}", words, runs)
        for words in (["--help"], ["check", "recipes/cifar10_dc_ipc10.yaml"], ["list", "recipes"])
    ]


def demo() -> list[Row]:
    """The README's first command after installation, then again with everything done."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["make", "--no-print-directory", "demo", f"DEMO={folder}/demo"]
        return [_once("demo", title, command) for title in ("make demo", "make demo, again")]


def _timed(row: str, workload: str, words: list[str], runs: int) -> Row:
    command = [sys.executable, "-m", "ddbench", *words]
    times = [_seconds(command) for _ in range(runs + 1)][1:]
    middle = statistics.median(t for t, _ in times)
    cpu = statistics.median(c for _, c in times)
    walls = [t for t, _ in times]
    return Row(row, workload, "ddbench", middle, cpu, min(walls), max(walls), runs)


def _once(row: str, workload: str, command: list[str]) -> Row:
    wall, cpu = _seconds(command)
    return Row(row, workload, "ddbench", wall, cpu, wall, wall, 1)


def _seconds(command: list[str]) -> tuple[float, float]:
    before, started = os.times(), time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, os.times()
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system
