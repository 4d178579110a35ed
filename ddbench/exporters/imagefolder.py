"""One folder of PNG images per class, as RDED names them: ``00000/class00000_id00000.png``.

Padded numbers keep their order under torchvision's ``ImageFolder``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ddbench.errors import BadInput

if TYPE_CHECKING:
    from ddbench.datasets import DatasetFacts
    from ddbench.distilled import DistilledSet

SUMMARY = "PNG images in one folder per class; 8-bit pixels, hard labels"
SUFFIX = ""


def write(data_set: DistilledSet, facts: DatasetFacts, path: Path) -> list[str]:
    """Write the folder; pixels are clamped to [0, 1] and rounded to the nearest of 256 levels.

    The references truncate instead (VILA-Lab/SRe2L recover/data_synthesis.py:103-118): up to twice
    the error, and darker on average.

    Raises:
        BadInput: images without pixels (KIP's space, a lost whitening), or of 2 or more than 3
            channels.
    """
    import torch
    from PIL import Image

    from ddbench.exporters import _prepare

    x = _prepare.pixels(data_set).detach().cpu()
    if x.shape[1] not in (1, 3):
        raise BadInput(f"has images of {x.shape[1]} channels, PNG holds 1 or 3")
    notes = ["Pixels are rounded to 8 bits."]
    outside = float(((x < 0) | (x > 1)).double().mean())
    if outside:
        notes.append(f"Values outside [0, 1] are clamped: {100 * outside:.2g} % of them.")
    notes += _prepare.without(data_set, "F", "lr")
    if data_set.kind != "index":
        notes.append("The soft labels are left out: an image is in the folder of its largest one.")
    label = _prepare.classes(data_set).tolist()
    if label != sorted(label):
        notes.append("The images come back sorted by class.")
    levels = x.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
    path.mkdir(parents=True)
    written: dict[int, int] = {}
    for image, c in zip(levels.numpy(), label, strict=True):
        number = written.setdefault(c, 0)
        folder = path / f"{c:05d}"
        folder.mkdir(exist_ok=True)
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        picture.save(folder / f"class{c:05d}_id{number:05d}.png", format="PNG")
        written[c] += 1
    return notes
