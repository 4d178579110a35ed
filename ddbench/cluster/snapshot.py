"""A copy of the package: jobs run the code that was submitted, whatever is edited meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path

import ddbench
from ddbench.content import COMMIT_FILE

FOLDER = "code"


def take(folder: Path, commit: str) -> None:
    """Copy the package below ``folder/code``, with the commit that it is from."""
    package = Path(ddbench.__file__).resolve().parent
    target = folder / FOLDER / package.name
    shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__"))
    (target / COMMIT_FILE).write_text(f"{commit}\n", encoding="utf-8")
