"""A real container runtime and the image of the code under test, for tests marked ``container``.

A test module uses them by ``pytest_plugins = ["container_fixtures"]``, and may import from here too
(PYTEST_DONT_REWRITE: no test stands here).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import conftest
import pytest

from ddbench.content import code_digest

CONTAINERS = Path(__file__).resolve().parent.parent / "containers"
RUNTIMES = ("apptainer", "singularity")


def labels(runtime: Path, image: Path) -> dict[str, str]:
    """The labels of an image; none of a file that is no image."""
    done = subprocess.run(
        [runtime, "inspect", "--json", "--labels", image],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {}
    found: dict[str, str] = json.loads(done.stdout)["data"]["attributes"]["labels"]
    return found


def cache_folder() -> Path:
    """Where ``containers/build.sh ci`` keeps what it makes."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("DDBENCH_CI_CACHE") or base / "ddbench-ci")


@pytest.fixture(scope="session")
def runtime() -> Iterator[Path]:
    """Path of apptainer or singularity; capabilities that root lacks here are not asked for."""
    found = next(filter(None, map(shutil.which, RUNTIMES)), None)
    if found is None:
        conftest.skip(
            "container",
            'no apptainer or singularity on PATH: eval "$(containers/get-apptainer.sh)"',
        )
    assert found is not None
    path = Path(found)
    dropped = subprocess.check_output([CONTAINERS / "drop-caps.sh"], text=True).strip()
    with pytest.MonkeyPatch.context() as patch:
        variable = f"{path.name.upper()}_DROP_CAPS"
        if dropped and variable not in os.environ:
            patch.setenv(variable, dropped)
        yield path


@pytest.fixture(scope="session")
def image(runtime: Path) -> Path:
    """``DDBENCH_TEST_IMAGE``, else the newest image in the CI cache that holds this code."""
    if named := os.environ.get("DDBENCH_TEST_IMAGE"):
        path = Path(named).resolve()
        if not path.is_file():
            conftest.skip("container", f"DDBENCH_TEST_IMAGE names no file: {path}")
        return path
    images = sorted(cache_folder().glob("*.sif"), key=lambda path: path.stat().st_mtime)
    for path in reversed(images):
        if labels(runtime, path).get("org.ddbench.code") == code_digest():
            return path
    conftest.skip("container", f"no image of this code in {cache_folder()}: containers/build.sh ci")
    raise AssertionError("skipped")
