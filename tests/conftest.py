"""Shared fixtures: golden data, required kinds, a quiet environment.

Markers name what a test needs. Where that is missing the test is skipped with the reason, unless
``DDBENCH_REQUIRE=golden,slurm`` names the kind: then it fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
pytest_plugins = ["slurm_cluster", "container_fixtures"]
KINDS = ("golden", "slurm", "container", "browser", "latex", "gpu", "slow")

settings.register_profile("ddbench", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ddbench")


def required_kinds() -> set[str]:
    """The kinds that ``DDBENCH_REQUIRE`` names; a name that is no kind is an error."""
    named = {kind.strip() for kind in os.environ.get("DDBENCH_REQUIRE", "").split(",")} - {""}
    if unknown := named - set(KINDS):
        raise pytest.UsageError(f"DDBENCH_REQUIRE names {sorted(unknown)}; kinds are {KINDS}")
    return named


def skip(kind: str, reason: str) -> None:
    """Skip a test of ``kind``, or fail it where that kind is required."""
    if kind in required_kinds():
        pytest.fail(f"DDBENCH_REQUIRE={kind}, but {reason}")
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    required_kinds()
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            _skip_or_fail(item, "gpu", "no GPU is visible")
        if item.get_closest_marker("slow") and "slow" not in required_kinds():
            item.add_marker(pytest.mark.skip(reason="slow: run it with DDBENCH_REQUIRE=slow"))


def _skip_or_fail(item: pytest.Item, kind: str, reason: str) -> None:
    if kind not in required_kinds():
        item.add_marker(pytest.mark.skip(reason=f"{kind}: {reason}"))


def shared_folder() -> Path:
    """``DDBENCH_SHARED``, default ``../shared`` beside the project."""
    return Path(os.environ.get("DDBENCH_SHARED") or ROOT.parent / "shared")


@pytest.fixture(scope="session")
def golden() -> Callable[[str], np.lib.npyio.NpzFile]:
    """Open a golden file by its path below ``golden/``."""

    def open_file(name: str) -> np.lib.npyio.NpzFile:
        path = shared_folder() / "golden" / name
        if not path.is_file():
            skip("golden", f"golden data not found: {path} (set DDBENCH_SHARED)")
        return np.load(path, allow_pickle=False)

    return open_file


@pytest.fixture(autouse=True)
def _quiet_environment(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """No test reads or writes the user's caches, data or results."""
    root = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("DDBENCH_CACHE", str(root / "cache"))
    monkeypatch.setenv("DDBENCH_DATA", str(root / "data"))
    monkeypatch.setenv("DDBENCH_RESULTS", str(root / "results"))
    monkeypatch.setenv("NO_COLOR", "1")
    yield
