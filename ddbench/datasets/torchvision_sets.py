"""Small public datasets in the files and folders that torchvision uses."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ddbench.errors import BadInput, RunFailed

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.datasets import DatasetFacts, DatasetSpec
    from ddbench.datasets._arrays import Arrays, Images, Labels


def load(facts: DatasetFacts, spec: DatasetSpec, root: Path, *, download: bool = False) -> Arrays:
    """Images uint8 [n, H, W, C] through ``torchvision.datasets.<facts.torchvision>``.

    Raises:
        BadInput: files are missing, or are there and cannot be read.
        RunFailed: the download failed.
    """
    from ddbench.datasets._arrays import Arrays

    missing = [name for name in facts.files if not (root / name).is_file()]
    if missing and not download:
        raise _missing(facts, root, missing)
    if missing:
        _download(facts, root)
    try:
        x_train, y_train = _part(facts, root, train=True)
        x_test, y_test = _part(facts, root, train=False)
    # What torchvision raises on a damaged file depends on where the damage is.
    except (RuntimeError, OSError, ValueError, AssertionError, EOFError, KeyError) as error:
        raise BadInput(
            f"the files of '{facts.name}' in {root} cannot be read ({error}); "
            "they may be cut off or altered: get them again",
            field="dataset.name",
        ) from error
    return Arrays(x_train, y_train, x_test, y_test)


def _missing(facts: DatasetFacts, root: Path, missing: list[str]) -> BadInput:
    packed = [name for name in missing if (root / f"{name}.gz").is_file()]
    if packed:
        remedy = f"uncompress what is there: gunzip -k {(root / packed[0]).parent}/*.gz"
    else:
        remedy = f"put there: {facts.where}"
    return BadInput(
        f"'{facts.name}' is not in {root} (DDBENCH_DATA): missing {', '.join(missing)}; {remedy}",
        field="dataset.name",
    )


def _dataset(facts: DatasetFacts, root: Path, train: bool, download: bool) -> Any:
    from torchvision import datasets  # type: ignore[import-untyped]

    if facts.torchvision is None:
        raise BadInput("family torchvision_sets needs the field 'torchvision'", file=facts.name)
    kind = getattr(datasets, facts.torchvision)
    if "train" in inspect.signature(kind).parameters:
        return kind(str(root), train=train, download=download)
    return kind(str(root), split="train" if train else "test", download=download)


def _download(facts: DatasetFacts, root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    try:
        for train in (True, False):
            _dataset(facts, root, train, download=True)
    except (OSError, RuntimeError) as error:
        raise RunFailed(
            f"'{facts.name}' could not be downloaded ({error}); put into {root}: {facts.where}"
        ) from error


def _part(facts: DatasetFacts, root: Path, *, train: bool) -> tuple[Images, Labels]:
    import numpy as np

    stored = _dataset(facts, root, train, download=False)
    x = np.asarray(stored.data, dtype=np.uint8)
    y = np.asarray(stored.targets if hasattr(stored, "targets") else stored.labels, dtype=np.int64)
    channels = facts.shape[0]
    if x.ndim == 3:
        x = x[..., None]
    elif x.shape[-1] != channels:  # SVHN keeps channels first
        x = x.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(x), y
