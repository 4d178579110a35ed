"""A NumPy archive with ``images`` [N, C, H, W] and ``labels``, and ``F`` and ``lr`` if there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddbench.datasets import DatasetFacts
    from ddbench.distilled import DistilledSet

SUMMARY = "NumPy .npz with images, labels (and F, lr)"
SUFFIX = ".npz"


def write(data_set: DistilledSet, facts: DatasetFacts, path: Path) -> list[str]:
    """Write images, F and soft labels as they are, F per image and samples first."""
    import numpy as np

    from ddbench.exporters import _prepare

    data_set, notes = _prepare.per_image(_prepare.detached(data_set))
    arrays = {"images": data_set.x.numpy(), "labels": data_set.y.numpy()}
    if data_set.F is not None:
        arrays["F"] = data_set.F.numpy()
        notes.append("The settings of F (layer, pooling, weight) have no place in the file.")
    if data_set.lr is not None:
        arrays["lr"] = np.asarray(data_set.lr, np.float64)
    if data_set.kind != "index":
        notes.append(f"The kind of the labels is not in the file: '{data_set.kind}'.")
    with path.open("wb") as stream:  # given a path, numpy would change its ending
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    return [_prepare.space_note(data_set, facts), *notes]
