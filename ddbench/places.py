"""Folders of the user, by environment variable."""

from __future__ import annotations

import os
from pathlib import Path


def data_root() -> Path:
    """Where datasets lie: ``DDBENCH_DATA``, else ``~/.cache/ddbench/data``."""
    return _folder("DDBENCH_DATA", "~/.cache/ddbench/data")


def cache_root() -> Path:
    """Where trained networks are kept: ``DDBENCH_CACHE``, else ``~/.cache/ddbench``."""
    return _folder("DDBENCH_CACHE", "~/.cache/ddbench")


def results_root() -> Path:
    """Where results go: ``DDBENCH_RESULTS``, else ``results``."""
    return _folder("DDBENCH_RESULTS", "results")


def _folder(variable: str, otherwise: str) -> Path:
    return Path(os.environ.get(variable) or otherwise).expanduser()
