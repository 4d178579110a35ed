"""DD-Ranking: ``images.pt``, ``labels.pt`` and perhaps ``lr.pt`` in one folder.

The tensors are in the space that the evaluator tests in: mean and std (CIFAR-10's for both CIFARs,
as in MTT), or ZCA (NUS-HPC-AI-Lab/DD-Ranking ddranking/utils/data.py:58-210).
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ddbench.importers import Found

if TYPE_CHECKING:
    from ddbench.importers._source import Source

SUMMARY = "DD-Ranking: images.pt, labels.pt, lr.pt"


def matches(source: Source) -> str | None:
    """One ``images.pt`` with images in it."""
    from ddbench.importers._parts import is_images

    name = _file(source)
    if name is None or not is_images(source.skeleton(name)):
        return None
    return f"{name} holds images [N, C, H, W]; labels.pt and lr.pt beside it"


def read(source: Source) -> list[Found]:
    """One set; soft labels are logits, as both of its soft criteria apply a softmax to them."""
    from ddbench.importers import _labels, _parts

    name = _file(source)
    if name is None:
        raise source.bad("holds no single images.pt")
    x = _parts.images(source.load_torch(name), source, name)
    beside = {part: str(PurePosixPath(name).with_name(f"{part}.pt")) for part in ("labels", "lr")}
    y = lr = None
    if source.has(beside["labels"]):
        y = _parts.labels(source.load_torch(beside["labels"]), source, beside["labels"], len(x))
    if source.has(beside["lr"]):
        lr = _parts.step_size(source.load_torch(beside["lr"]), source, beside["lr"])
    return [Found(x, y, lr=lr, constants="mtt", kind=_labels.kind_if_plain(y, "logit"))]


def _file(source: Source) -> str | None:
    found = [name for name in source.names if PurePosixPath(name).name == "images.pt"]
    return found[0] if len(found) == 1 else None
