"""One writer per result: a lock file beside it that says who holds it.

A lock is taken over only from a holder that is known to have ended: a process of this host that is
gone, or an earlier start of the scheduler's job that this process is itself a start of, wherever
that ran. ``release_ended`` does it for jobs of which the scheduler says so.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ddbench import scheduled
from ddbench.store.atomic import remove_leftovers

_LOG = logging.getLogger(__name__)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_FIRST_POLL, _LONGEST_POLL = 0.02, 1.0  # seconds


class Locked(Exception):
    """Another process writes this result; the message says who and what to do."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        started: when the lock was taken, ISO 8601, local time with offset.
        process_start: start of the process in clock ticks since boot; tells a process from a later
            one with the same number. None where the system does not say.
        namespace: the numbering that ``pid`` belongs to (containers have their own).
        token: unlike that of any other lock.
        job: the scheduler's job that the process works for (``cluster:12_3``), or None.
        restarts: which start of that job, counted from 0.
    """

    host: str
    pid: int
    started: str
    process_start: int | None
    namespace: str | None
    token: str
    job: str | None = None
    restarts: int = 0

    @property
    def title(self) -> str:
        """How messages call it."""
        job = f" of job {self.job}" if self.job else ""
        return f"process {self.pid}{job}"

    @classmethod
    def current(cls) -> Holder:
        """This process."""
        started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        start = _process_start(os.getpid())
        host, token = socket.gethostname(), secrets.token_hex(8)
        job = scheduled.current()
        of_job = (job.name, job.restarts) if job else (None, 0)
        return cls(host, os.getpid(), started, start, _namespace(), token, *of_job)

    def is_gone(self) -> bool:
        """Whether the process is known to have ended.

        One that cannot be seen from here has ended if it belongs to an earlier start of this
        process's job: a scheduler runs one start at a time. Others of the same start may be alive.
        """
        if self.host != socket.gethostname() or self.namespace != _namespace():
            job = scheduled.current()
            return job is not None and job.name == self.job and self.restarts < job.restarts
        if not _exists(self.pid):
            return True
        return self.process_start is not None and _process_start(self.pid) != self.process_start


@contextlib.contextmanager
def writer_lock(
    result: Path, wait: float = 0.0, between: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold ``<result>.lock`` for the block; leftovers of killed writers are removed first.

    A lock whose holder is known to have ended is taken over, with a line in the log. A lock of
    another host is never broken, but for an earlier start of this process's own job.

    Args:
        wait: seconds to wait for another holder.
        between: called while waiting; what it raises ends the wait.

    Raises:
        Locked: another process holds it, and did so for all of ``wait``.
        OSError: the file system refused.
    """
    path = _lock_of(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = Holder.current()
    deadline, pause = time.monotonic() + wait, _FIRST_POLL
    while not _claim(path, own):
        try:
            _remove_if(path, Holder.is_gone)
        except Locked:
            if time.monotonic() >= deadline:
                raise
            between()
            time.sleep(secrets.SystemRandom().uniform(pause / 2, pause))
            pause = min(2 * pause, _LONGEST_POLL)
    try:
        remove_leftovers(result)
        yield
    finally:
        _release(path, own)


def release_ended(result: Path, ended: Callable[[str], bool]) -> bool:
    """Remove the lock on ``result`` if it is of a scheduler's job that has ended.

    Args:
        ended: told a job (``cluster:12_3``, or ``12_3`` where the cluster's name is not known),
            says whether it has surely ended.

    Returns:
        Whether there was such a lock. One without a job stays, whoever held it.
    """
    path = _lock_of(result)
    holder = _read(path)
    if holder is None or not holder.job or not ended(holder.job):
        return False
    try:
        return _remove_if(path, lambda found: found == holder)
    except Locked:  # another one by now
        return False


def _lock_of(result: Path) -> Path:
    return result.with_name(f"{result.name}.lock")


def _claim(path: Path, own: Holder) -> bool:
    """Create the lock with its content in one step; False when there is one already.

    A link appears complete or not at all, so that nobody reads an empty lock.
    """
    claim = path.with_name(f".{path.name}.{own.token}.claim")
    text = json.dumps(asdict(own))
    try:
        claim.write_text(text, encoding="utf-8")
        os.link(claim, path)
    except FileExistsError:
        return _read(path) == own  # a file server that was asked twice refuses the second time
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _create(path, text)
    finally:
        claim.unlink(missing_ok=True)
    return True


def _create(path: Path, text: str) -> bool:
    """As ``_claim`` on file systems without links."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return True


def _remove_if(path: Path, is_stale: Callable[[Holder], bool]) -> bool:
    """Remove a stale lock, if there is one; raises ``Locked`` when its holder may be alive.

    Of several that find the same stale lock one removes it: it holds the system's lock on that
    very file, and the others then see that the name leads elsewhere.
    """
    try:
        file = path.open("r+", encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return False
    except PermissionError:
        raise _locked(path, _read(path)) from None
    with file:
        holder = _parse(file.read())
        if holder is None or not is_stale(holder):
            raise _locked(path, holder)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            raise _locked(path, holder) from None
        if not _is_at(path, file.fileno()):
            return False
        path.unlink(missing_ok=True)
        _LOG.warning("taking over %s: %s, which held it since %s, has ended",
                     path, holder.title, holder.started)  # fmt: skip
        return True


def _release(path: Path, own: Holder) -> None:
    holder = _read(path) if own.pid == os.getpid() else None  # a forked child is not the holder
    if holder == own:
        path.unlink(missing_ok=True)


def _locked(path: Path, holder: Holder | None) -> Locked:
    remove = f"if it has ended, remove {path}"
    if holder is None:
        return Locked(f"another process holds {path} (who, it does not say); {remove}")
    where = f"{holder.title} on {holder.host} writes this result since {holder.started}"
    if holder.host != socket.gethostname():
        remove = f"whether it still runs cannot be seen from {socket.gethostname()}; {remove}"
    return Locked(f"{where} (lock file {path}); {remove}")


def _read(path: Path) -> Holder | None:
    try:
        return _parse(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def _parse(text: str) -> Holder | None:
    try:
        holder = Holder(**json.loads(text))
    except (ValueError, TypeError):
        return None
    numbers = isinstance(holder.pid, int) and isinstance(holder.restarts, int)
    return holder if numbers and holder.pid > 0 else None


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    state = _process_stat(pid)
    return state is None or state[0] not in "ZX"  # a zombie has ended, its parent has not looked


def _process_start(pid: int) -> int | None:
    stat = _process_stat(pid)
    return int(stat[19]) if stat else None


def _process_stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on, or None."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets


def _namespace() -> str | None:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None
