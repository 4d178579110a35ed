"""The augmented views that teachers labelled, made again from what was stored of them.

The order is the references': crop and resize as PIL does it on 8-bit pixels, flip, normalise, mix
(VILA-Lab/SRe2L and shaoshitong/G_VBSM_Dataset_Condensation relabel/utils_fkd.py).

Axes: B views of one batch, C channels, H, W, S side of a view.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def view(image: Tensor, box: Tensor, *, flip: bool, size: int) -> Tensor:
    """The crop of an image, resized (bilinear, antialiased), mirrored if ``flip``.

    Args:
        image: uint8 [C, H, W], C = 1 or 3.
        box: float [4], top, left, height, width as fractions of H, W, H, W. Fractions are rounded
            to whole pixels, which gives back the integers they were made of.
        size: S.

    Returns:
        uint8 [C, S, S].
    """
    height, width = image.shape[1:]
    scale = box.new_tensor([height, width, height, width])
    top, left, rows, columns = (box * scale).round().int().tolist()
    cut = image[:, top : top + rows, left : left + columns].permute(1, 2, 0).numpy()
    picture = Image.fromarray(np.ascontiguousarray(cut.squeeze(2) if cut.shape[2] == 1 else cut))
    pixels = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))
    result = torch.from_numpy(pixels.reshape(size, size, -1).copy()).permute(2, 0, 1)
    return result.flip(2) if flip else result


def views(
    images: Tensor,
    crop: Tensor,
    flip: Tensor,
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """Normalised views float32 [B, C, S, S] of uint8 images [B, C, H, W], not yet mixed.

    Args:
        crop: float [B, 4] and flip: bool [B], see ``view``.
        mean: per channel, of pixels in [0, 1]; so is ``std``.
    """
    pixels = torch.stack(
        [
            view(image, box, flip=mirrored, size=size)
            for image, box, mirrored in zip(images, crop, flip.tolist(), strict=True)
        ]
    )
    shape = (1, -1, 1, 1)
    unit = pixels.float() / 255
    return (unit - unit.new_tensor(mean).view(shape)) / unit.new_tensor(std).view(shape)


def mix(
    x: Tensor, partner: Tensor | None, *, lam: float | None, box: Sequence[int] | None
) -> Tensor:
    """A batch mixed with itself: CutMix where there is a box, else MixUp, else x.

    CutMix pastes the partner's box and does not use ``lam``; MixUp is lam x + (1 - lam) x[partner].

    Args:
        x: [B, C, H, W]; unchanged.
        partner: int64 [B], rows of x; None: not mixed.
        box: [x1, y1, x2, y2]; x runs along H and y along W, as the references store it.

    Raises:
        ValueError: a partner without a box and without ``lam``.
    """
    if partner is None:
        return x
    if box is not None:
        x1, y1, x2, y2 = box
        inside = x.new_zeros(x.shape[2:], dtype=torch.bool)
        inside[x1:x2, y1:y2] = True
        return torch.where(inside, x[partner], x)
    if lam is None:
        raise ValueError("a mixed batch needs a box or lam")
    return lam * x + (1 - lam) * x[partner]
