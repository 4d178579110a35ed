"""The dict of DC, DSA, DM and DRUPI: ``data``, a list of [images, labels] or [..., features].

Such files are called ``res_METHOD_DATASET_MODEL_Nipc.pt`` (VICO-UoE/DatasetCondensation
main.py:222-225); the name is the user's, as their programs read it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ddbench.errors import BadInput

if TYPE_CHECKING:
    from ddbench.datasets import DatasetFacts
    from ddbench.distilled import DistilledSet

SUMMARY = "one dict as DC, DSA and DM write it; with F as DRUPI does"
SUFFIX = ".pt"


def write(data_set: DistilledSet, facts: DatasetFacts, path: Path) -> list[str]:
    """Write one experiment without recorded accuracies; images in the constants of ``dc``.

    F is written copies first, [M, N, ...], as DRUPI's files have it.

    Raises:
        BadInput: labels that are not class indices, or KIP's space.
    """
    from ddbench.exporters import _prepare

    if data_set.kind != "index":
        raise BadInput(f"has labels of kind '{data_set.kind}', this format class indices only")
    dropped = _prepare.without(data_set, "lr")
    data_set, notes = _prepare.in_constants(_prepare.detached(data_set), facts, "dc")
    data_set, repeated = _prepare.per_image(data_set)
    item = [data_set.x, data_set.y]
    if data_set.F is not None:
        item.append(data_set.F.transpose(0, 1).contiguous())
        notes.append("The settings of F (layer, pooling, weight) have no place in the file.")
    _prepare.save({"data": [item], "accs_all_exps": {}}, path)
    return notes + repeated + dropped
