"""safetensors with everything that a set holds: x, y, F, lr, whitening, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddbench.datasets import DatasetFacts
    from ddbench.distilled import DistilledSet

SUMMARY = "safetensors with everything: x, y, F, lr, value space, whitening, settings of F"
SUFFIX = ".safetensors"


def write(data_set: DistilledSet, facts: DatasetFacts, path: Path) -> list[str]:
    """Write the set as it is; nothing is left out."""
    import torch
    from safetensors.torch import save_file

    from ddbench.exporters import _prepare
    from ddbench.importers import _interchange

    data_set = _prepare.detached(data_set)
    tensors = {"x": data_set.x, "y": data_set.y}
    if data_set.F is not None:
        tensors["F"] = data_set.F
    if data_set.lr is not None:
        tensors["lr"] = torch.tensor(data_set.lr, dtype=torch.float64)
    if data_set.space.whitening is not None:
        for part in _interchange.WHITENING:
            whitening = getattr(data_set.space.whitening, part)
            tensors[f"whitening.{part}"] = whitening.detach().cpu().contiguous()
    described = _interchange.describe(data_set, facts)
    save_file(tensors, path, metadata={_interchange.KEY: described})
    return []
