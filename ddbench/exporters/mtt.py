"""The files of the trajectory-matching family: images, labels, lr and DRUPI's features.

They are named ``*_last.pt``, as STM names its last iterate. ``*_best.pt`` would say that the set
was chosen by its test accuracy (GeorgeCazenavette/mtt-distillation distill.py:218-243).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ddbench.errors import BadInput

if TYPE_CHECKING:
    from ddbench.datasets import DatasetFacts
    from ddbench.distilled import DistilledSet

SUMMARY = "images_last.pt, labels_last.pt, lr_last.pt, features_last.pt (MTT, DATM, DRUPI)"
SUFFIX = ""


def write(data_set: DistilledSet, facts: DatasetFacts, path: Path) -> list[str]:
    """Write the folder; images in the family's constants (``mtt``) or, if whitened, as they are.

    F is written copies first, [M, N, ...], as DRUPI's files have it.

    Raises:
        BadInput: KIP's space or its centred labels, which the family does not know.
    """
    import torch

    from ddbench.exporters import _prepare

    if data_set.kind == "centred":
        raise BadInput("has centred labels, which this format's programs do not know")
    data_set, notes = _prepare.in_constants(_prepare.detached(data_set), facts, "mtt")
    data_set, repeated = _prepare.per_image(data_set)
    path.mkdir(parents=True)
    _prepare.save(data_set.x, path / "images_last.pt")
    _prepare.save(data_set.y, path / "labels_last.pt")
    if data_set.lr is not None:
        _prepare.save(torch.tensor(data_set.lr, dtype=torch.float64), path / "lr_last.pt")
    if data_set.F is not None:
        _prepare.save(data_set.F.transpose(0, 1).contiguous(), path / "features_last.pt")
        notes.append("The settings of F (layer, pooling, weight) have no place in the files.")
    if data_set.kind != "index":
        notes.append(
            f"The labels are of kind '{data_set.kind}', which the files do not say; DATM's program "
            "takes logits, TESLA's probabilities, MTT's casts both to integers."
        )
    return notes + repeated
