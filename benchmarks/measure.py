"""Timing a piece of work against its baselines in the same process."""

from __future__ import annotations

import ctypes
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from ddbench.engine import keep_heap


@dataclass(frozen=True)
class Row:
    """One line of the table. Seconds are medians; ``cpu`` is user + system time of the process."""

    row: str
    workload: str
    variant: str
    seconds: float
    cpu_seconds: float
    low: float
    high: float
    runs: int
    floor_seconds: float | None = None

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def compare(
    row: str,
    workload: str,
    variants: dict[str, Callable[[], object]],
    *,
    runs: int = 5,
    floor: float | None = None,
) -> list[Row]:
    """Time all variants in turn, A B A B ..., after one warm-up each.

    Ours (named ``ddbench ...``) run with the heap as a run sets it, the others as glibc has it.
    """
    for name, work in variants.items():
        _set_heap(name)
        work()
    wall: dict[str, list[float]] = {name: [] for name in variants}
    cpu: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(runs):
        for name, work in variants.items():
            _set_heap(name)
            before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            wall[name].append(time.perf_counter() - started)
            after = resource.getrusage(resource.RUSAGE_SELF)
            cpu[name].append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return [
        Row(row, workload, name, statistics.median(times), statistics.median(cpu[name]),
            min(times), max(times), runs, floor)
        for name, times in wall.items()
    ]  # fmt: skip


def _set_heap(name: str) -> None:
    """Undo or redo ``engine.keep_heap``; the defaults are those of mallopt(3)."""
    if name.startswith("ddbench"):
        keep_heap()
    elif sys.platform.startswith("linux"):
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_threshold, mmap_max = -1, -3, -4
        libc.mallopt(trim_threshold, 128 * 1024)
        libc.mallopt(mmap_threshold, 128 * 1024)
        libc.mallopt(mmap_max, 65536)
        libc.malloc_trim(0)


def rate(device: torch.device, size: int = 2048) -> float:
    """Multiply-adds per second of a float32 matrix product on this machine."""
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    times = []
    for _ in range(6):
        started = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return size**3 / min(times[1:])
