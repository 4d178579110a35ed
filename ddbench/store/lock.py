"""One writer per result: a lock file beside it that says who holds it."""

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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ddbench.store.atomic import remove_leftovers

_LOG = logging.getLogger(__name__)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


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
    """

    host: str
    pid: int
    started: str
    process_start: int | None
    namespace: str | None
    token: str

    @classmethod
    def current(cls) -> Holder:
        """This process."""
        started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        start = _process_start(os.getpid())
        host, token = socket.gethostname(), secrets.token_hex(8)
        return cls(host, os.getpid(), started, start, _namespace(), token)

    def is_gone(self) -> bool:
        """Whether the process is known to have ended; one elsewhere never is."""
        if self.host != socket.gethostname() or self.namespace != _namespace():
            return False
        if not _exists(self.pid):
            return True
        return self.process_start is not None and _process_start(self.pid) != self.process_start


@contextlib.contextmanager
def writer_lock(result: Path) -> Iterator[None]:
    """Hold ``<result>.lock`` for the block; leftovers of killed writers are removed first.

    A lock whose process on this host has ended is taken over, with a line in the log. A lock of
    another host is never broken.

    Raises:
        Locked: another process holds it.
        OSError: the file system refused.
    """
    path = result.with_name(f"{result.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    own = Holder.current()
    while not _claim(path, own):
        _remove_if_stale(path)
    try:
        remove_leftovers(result)
        yield
    finally:
        _release(path, own)


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
        return False
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


def _remove_if_stale(path: Path) -> None:
    """Remove a lock whose process has ended; raises ``Locked`` when it may be alive.

    Of several that find the same stale lock one removes it: it holds the system's lock on that
    very file, and the others then see that the name leads elsewhere.
    """
    try:
        file = path.open("r+", encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    except PermissionError:
        raise _locked(path, _read(path)) from None
    with file:
        holder = _parse(file.read())
        if holder is None or not holder.is_gone():
            raise _locked(path, holder)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            raise _locked(path, holder) from None
        if _is_at(path, file.fileno()):
            path.unlink(missing_ok=True)
            _LOG.warning(
                "taking over %s: process %d, which held it since %s, has ended",
                path,
                holder.pid,
                holder.started,
            )


def _release(path: Path, own: Holder) -> None:
    holder = _read(path) if own.pid == os.getpid() else None  # a forked child is not the holder
    if holder == own:
        path.unlink(missing_ok=True)


def _locked(path: Path, holder: Holder | None) -> Locked:
    remove = f"if it has ended, remove {path}"
    if holder is None:
        return Locked(f"another process holds {path} (who, it does not say); {remove}")
    where = f"process {holder.pid} on {holder.host} writes this result since {holder.started}"
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
    return holder if isinstance(holder.pid, int) and holder.pid > 0 else None


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
