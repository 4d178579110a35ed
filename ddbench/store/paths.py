"""Where the result of a run lies."""

from __future__ import annotations

import re
from pathlib import Path

from ddbench.errors import BadInput

_ALLOWED = "letters, digits, '.', '_' and '-'"


def result_path(root: Path, dataset_label: str, name: str, key: str, seed: int) -> Path:
    """``root/<dataset>/<name>/<key>-s<seed>.h5``.

    Raises:
        BadInput: a part that is no plain file name, or a symbolic link that leads out of ``root``.
    """
    for field, part in (("dataset", dataset_label), ("name", name), ("key", key)):
        if not re.fullmatch(r"[A-Za-z0-9._-]+", part) or part in (".", ".."):
            raise BadInput(f"'{part}' cannot be part of a path", field=field, allowed=_ALLOWED)
    if seed < 0:
        raise BadInput(f"seed {seed} is negative", field="seed", allowed="0 or more")
    path = root / dataset_label / name / f"{key}-s{seed}.h5"
    if not path.resolve().is_relative_to(root.resolve()):
        raise BadInput("leads out of the results directory through a link", file=path)
    return path


def checkpoint_directory(result: Path) -> Path:
    """``<key>-s<seed>.ckpt`` beside the result."""
    return result.with_suffix(".ckpt")
