"""The state of a running run on disk, so that it resumes where it was cut off.

A checkpoint is one file, ``<number>-<sha256>.pt``, that plain ``torch.load`` reads. Its name
carries its checksum, so that both appear in one step. The newest and the one before are kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from ddbench.store.atomic import sync, sync_directory

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"([0-9]{8})-([0-9a-f]{64})\.pt")
_KEPT = 2
_TEMPORARY = "writing.tmp"
_PLAIN = (
    *(str, bytes, int, float, complex, bool, type(None)),
    *(torch.Tensor, torch.nn.Parameter, torch.Size, torch.dtype, torch.device),
)


def save(directory: Path, state: dict[str, Any], settings: dict[str, Any]) -> None:
    """Add a checkpoint, then drop all but the one before it.

    Args:
        directory: created if need be; one writer at a time.
        state: tensors and plain values, nested in dicts, lists and tuples.
        settings: what has to be the same after resuming (threads, stack, micro-batch).

    Raises:
        TypeError: a value that could not be loaded without executing code, with its place.
        OSError: the file system refused; earlier checkpoints stay.
    """
    payload = {"state": state, "settings": settings}
    _check_plain(payload, "")
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / _TEMPORARY
    try:
        torch.save(payload, temporary)
        sync(temporary)
        number = max((_number(path) for path in _existing(directory)), default=0) + 1
        temporary.rename(directory / f"{number:08d}-{_sha256(temporary)}.pt")
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(directory)
    for path in _existing(directory)[_KEPT:]:
        path.unlink(missing_ok=True)


def load(directory: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """(state, settings) of the newest checkpoint that is whole, on the CPU; None without one.

    A damaged one is reported in the log and set aside as ``*.damaged``.
    """
    for path in _existing(directory):
        try:
            if _sha256(path) != path.stem.partition("-")[2]:
                raise ValueError("its checksum differs")
            payload = torch.load(path, map_location="cpu", weights_only=True)
            return payload["state"], payload["settings"]
        except Exception as error:
            # torch.load reports damage as many exception types; none may stop a resume.
            _LOG.warning("checkpoint %s is damaged (%s); using the one before it", path, error)
            with contextlib.suppress(OSError):
                path.rename(path.with_suffix(".damaged"))
    return None


def clear(directory: Path) -> None:
    """Remove the checkpoints and, when nothing else is in it, their directory."""
    if not directory.is_dir():
        return
    for path in list(directory.iterdir()):
        if _NAME.fullmatch(path.with_suffix(".pt").name) or path.name == _TEMPORARY:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()


def _existing(directory: Path) -> list[Path]:
    """Checkpoints, newest first."""
    if not directory.is_dir():
        return []
    return sorted(filter(lambda path: _NAME.fullmatch(path.name), directory.iterdir()))[::-1]


def _number(path: Path) -> int:
    return int(path.name.partition("-")[0])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_plain(value: object, place: str) -> None:
    """Exact types only: a numpy float is a ``float`` to isinstance, but not to the loader."""
    if type(value) in (dict, OrderedDict):
        assert isinstance(value, dict)
        for key, item in value.items():
            _check_plain(key, f"{place}/{key}")
            _check_plain(item, f"{place}/{key}")
    elif type(value) in (list, tuple, set):
        assert isinstance(value, list | tuple | set)
        for index, item in enumerate(value):
            _check_plain(item, f"{place}/{index}")
    elif type(value) not in _PLAIN:
        raise TypeError(f"checkpoint {place[1:]}: {type(value).__name__} cannot be stored safely")
