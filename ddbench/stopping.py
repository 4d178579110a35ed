"""Being asked to stop: schedulers and users send a signal first and kill later."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect SIGTERM, SIGUSR1 and SIGUSR2 in the list that is yielded, not dying of them.

    Outside the main thread the list stays empty: signals belong to the caller there.
    """
    received: list[int] = []
    try:
        before = {
            number: signal.signal(number, lambda caught, _: received.append(caught))
            for number in _SIGNALS
        }
    except ValueError:
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
