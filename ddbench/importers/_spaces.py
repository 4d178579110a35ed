"""Value spaces of foreign images: what their statistics suggest, and conversion between them.

Axes: N images, C channels, H, W.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ddbench.data import normalise, unnormalise
from ddbench.distilled import Space
from ddbench.errors import BadInput

_ROWS = 1024  # images in float64 at once
_NARROW = 0.6
"""Standard deviation between whitened CIFAR images (0.20 to 0.30 in samples of ten) and normalised
ones (0.97 to 1.45)."""


def propose_space(x: Tensor) -> tuple[str, str]:
    """A value space that images x [N, C, H, W] may be in, and why; a proposal, never a decision.

    ``unit``, ``meanstd``, ``zca``, or ``uint8`` (0 to 255) and ``unknown``, which are none. The
    deviation alone cannot tell pixels from whitened images; the least value and the mean can.
    """
    if x.dtype == torch.uint8:
        return "unit", "8-bit pixels"
    low, high = float(x.min()), float(x.max())
    mean = sum(float(part.double().sum()) for part in x.split(_ROWS)) / x.numel()
    square = sum(float((part.double() - mean).square().sum()) for part in x.split(_ROWS))
    std = (square / x.numel()) ** 0.5
    said = f"values in [{low:.3g}, {high:.3g}], mean {mean:.3g}, deviation {std:.3g}"
    if high > 8 and low >= 0 and high <= 255:
        return "uint8", said
    if low >= -0.05 and high <= 1.05 and 0.15 < mean < 0.85:
        return "unit", said
    if abs(mean) < 0.1 and std < _NARROW and low < -0.1:
        return "zca", said
    return ("meanstd" if std >= _NARROW else "unknown"), said


def contradiction(name: str, x: Tensor) -> str | None:
    """Why x can hardly be in the space ``name``; None if it can.

    Pixels are told from normalised images. Whitened ones are told from neither for sure: learned
    images leave every range, and averages of normalised ones are as narrow.
    """
    proposed, said = propose_space(x)
    surely = {"unit": ("meanstd", "zca", "uint8")}.get(name, ("unit", "uint8"))
    if name == "kip_zca" or proposed not in surely:
        return None
    return f"the format says '{name}', its images look like '{proposed}' ({said})"


def converted(x: Tensor, source: Space, target: Space, dataset: str) -> Tensor:
    """x, float32 or uint8 [N, C, H, W] in ``source``, as float32 in ``target``; never clamped.

    Equal spaces keep every bit. Otherwise the arithmetic is float64 (the matrix of a whitening is
    float32), so that going there and back moves no value by more than 1e-6.

    Raises:
        BadInput: to or from a whitening that is not the dataset's.
    """
    same = (source.name, source.mean, source.std) == (target.name, target.mean, target.std)
    if same and x.dtype == torch.float32:
        return x
    if not same and source.name in ("zca", "kip_zca"):
        raise BadInput(
            f"has images in the whitened space '{source.name}', {dataset} is loaded in "
            f"'{target.name}'", field="dataset.zca",
            allowed="true" if source.name == "zca" else "kip",
        )  # fmt: skip
    found = torch.empty_like(x, dtype=torch.float32)
    for into, part in zip(found.split(_ROWS), x.split(_ROWS), strict=True):
        values = part.double().div_(255) if x.dtype == torch.uint8 else part.double()
        pixels = unnormalise(values, source, clamp=False)
        whitened = target.name in ("zca", "kip_zca")
        into.copy_(normalise(pixels.float() if whitened else pixels, target))
    return found
