"""DD-Ranking's folder: ``images.pt``, ``labels.pt``, ``lr.pt`` and a stub of its settings.

DD-Ranking makes hard labels up as class-major numbers and normalises nothing
(NUS-HPC-AI-Lab/DD-Ranking ddranking/metrics/soft_label.py:505-506): images have to be sorted by
class and in its test space, which is that of the trajectory family.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.errors import BadInput
from ddbench.spec import dump_yaml

if TYPE_CHECKING:
    from ddbench.datasets import DatasetFacts
    from ddbench.distilled import DistilledSet

SUMMARY = "images.pt, labels.pt, lr.pt and a settings stub for DD-Ranking"
SUFFIX = ""

_NAMES = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "tinyimagenet": "TinyImageNet",
    "imagenet1k": "ImageNet1K",
    "imagenette": "ImageNette",
    "imagewoof": "ImageWoof",
    "imagefruit": "ImageFruit",
    "imagemeow": "ImageMeow",
    "imagesquawk": "ImageSquawk",
    "imageyellow": "ImageYellow",
}


def write(data_set: DistilledSet, facts: DatasetFacts, path: Path) -> list[str]:
    """Write the folder; probabilities p become logits log(p), whose softmax they are.

    Raises:
        BadInput: classes of different sizes, KIP's space or its centred labels.
    """
    import torch

    from ddbench.exporters import _prepare

    if data_set.kind == "centred":
        raise BadInput("has centred labels, which DD-Ranking does not know")
    if isinstance(data_set.lr, tuple):
        raise BadInput("has several learned step sizes, DD-Ranking takes one")
    dropped = _prepare.without(data_set, "F")
    data_set = _prepare.detached(data_set.without_features())
    data_set, notes = _prepare.in_constants(data_set, facts, "mtt")
    data_set, ordered = _prepare.class_major(data_set, facts.num_classes)
    if data_set.kind == "probability":
        data_set = replace(data_set, y=_logarithm(data_set.y), kind="logit")
        notes.append("Probabilities are written as their logarithms: DD-Ranking applies softmax.")
    path.mkdir(parents=True)
    _prepare.save(data_set.x, path / "images.pt")
    _prepare.save(data_set.y, path / "labels.pt")
    if data_set.lr is None:
        notes.append("The set has no learned step size; DD-Ranking will search for one.")
    else:
        _prepare.save(torch.tensor(data_set.lr, dtype=torch.float64), path / "lr.pt")
    if facts.name not in _NAMES:
        notes.append(f"DD-Ranking does not know the dataset '{facts.name}'.")
    text = dump_yaml(_settings(data_set, facts))
    (path / "settings.yaml").write_text(text, encoding="utf-8")
    return notes + ordered + dropped


def _logarithm(y: Any) -> Any:
    """log(y), finite: softmax of it is y to the smallest float32."""
    import torch

    return y.clamp(min=torch.finfo(y.dtype).tiny).log()


def _settings(data_set: DistilledSet, facts: DatasetFacts) -> dict[str, Any]:
    """What the set determines of DD-Ranking's settings."""
    soft = data_set.kind != "index"
    return {
        "dataset": _NAMES.get(facts.name, facts.name),
        "ipc": len(data_set) // facts.num_classes,
        "im_size": list(data_set.x.shape[2:]),
        "use_zca": data_set.space.name == "zca",
        **({"soft_label_mode": "S", "soft_label_criterion": "sce"} if soft else {}),
    }
