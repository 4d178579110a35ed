"""Random crop with padding and horizontal flip: the usual augmentation of CIFAR students.

SRe2L trains CIFAR students so, before Mixup (VILA-Lab/SRe2L ``*small_dataset/relabel_cifar.py``),
and so does DD-Ranking for its sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ddbench.augment import Record, spread
from ddbench.augment._pixels import CropFlip

if TYPE_CHECKING:
    from torch import Tensor


class PlainCropFlip(CropFlip):
    """Pad, crop and mirror; each image has its own offset. The padding is black.

    Images stay in their value space, where black is not 0; gradients flow to x.
    """

    name: Literal["crop_flip"] = "crop_flip"

    def apply(self, x: Tensor, record: Record) -> Tensor:
        x = spread(x, record["flip"])
        return self.moved(x, record, self.black(x))


AUGMENTATION = PlainCropFlip
