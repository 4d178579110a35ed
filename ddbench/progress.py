"""Progress of long work on stderr: a bar with rate and ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

log = logging.getLogger(__name__)
_EVERY = 10.0  # seconds between plain lines


class Progress:
    """Counts finished units of one piece of work; made by ``progress``."""

    def __init__(self, title: str, total: int, done: int) -> None:
        self._title, self._total, self._done, self._first = title, total, done, done
        self._started = self._told = time.monotonic()
        self._bar = (
            tqdm(total=total, initial=done, desc=title, leave=False, dynamic_ncols=True)
            if sys.stderr.isatty()
            else None
        )

    def advance(self, count: int = 1) -> None:
        """``count`` more units are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
            return
        now = time.monotonic()
        if now - self._told >= _EVERY and self._done < self._total:
            self._told = now
            rate = (self._done - self._first) / (now - self._started)
            left = (self._total - self._done) / rate if rate > 0 else float("inf")
            log.info("%s: %d of %d, %s left", self._title, self._done, self._total, clock(left))

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Progress]:
    """Show the progress of ``total`` units of which ``done`` were finished before."""
    shown = Progress(title, total, done)
    try:
        yield shown
    finally:
        shown.close()


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``; ``?`` where it is not known."""
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
