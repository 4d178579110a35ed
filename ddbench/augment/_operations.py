"""The operations of AutoAugment and RandAugment, each on the images that drew it.

Levels are discrete, so images fall into groups with one operation and one strength, and a group is
one call of torchvision. Finding the groups makes the host wait for the device, so that these
augmentations cannot be captured in a CUDA graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional  # type: ignore[import-untyped]

_TRANSLATIONS = {"translate_x": -1, "translate_y": -2}
_ENDS: dict[str, tuple[float, float]] = {
    "shear_x": (0.0, 0.3), "shear_y": (0.0, 0.3), "rotate": (0.0, 30.0),
    "translate_x": (0.0, 150 / 331), "translate_y": (0.0, 150 / 331),
    "brightness": (0.0, 0.9), "color": (0.0, 0.9), "contrast": (0.0, 0.9), "sharpness": (0.0, 0.9),
    "posterize": (8.0, 4.0), "solarize": (1.0, 0.0),
}  # fmt: skip
"""Strengths at the lowest and the highest level, of a side for translations."""
_UNSIGNED = ("posterize", "solarize")


def _affine(
    x: Tensor,
    translate: tuple[int, int] = (0, 0),
    shear: tuple[float, float] = (0.0, 0.0),
    centre: list[float] | None = None,
) -> Tensor:
    return functional.affine(
        x, angle=0.0, translate=list(translate), scale=1.0, shear=list(shear), center=centre
    )


def _degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))


_CHANGES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "shear_x": lambda x, s: _affine(x, shear=(_degrees(s), 0.0), centre=[0.0, 0.0]),
    "shear_y": lambda x, s: _affine(x, shear=(0.0, _degrees(s)), centre=[0.0, 0.0]),
    "translate_x": lambda x, s: _affine(x, translate=(int(s), 0)),
    "translate_y": lambda x, s: _affine(x, translate=(0, int(s))),
    "rotate": lambda x, s: functional.rotate(x, angle=s),
    "brightness": lambda x, s: functional.adjust_brightness(x, 1 + s),
    "color": lambda x, s: functional.adjust_saturation(x, 1 + s),
    "contrast": lambda x, s: functional.adjust_contrast(x, 1 + s),
    "sharpness": lambda x, s: functional.adjust_sharpness(x, 1 + s),
    "posterize": lambda x, s: functional.posterize(x, bits=round(s)),
    "solarize": lambda x, s: functional.solarize(x, threshold=255 * s),
    "auto_contrast": lambda x, _: functional.autocontrast(x),
    "equalize": lambda x, _: functional.equalize(x),
    "invert": lambda x, _: functional.invert(x),
    "identity": lambda x, _: x,
}


@dataclass(frozen=True)
class Operation:
    """One operation at one level of 0 .. bins - 1 (None where it has no strength).

    Strengths grow linearly with the level, as in torchvision >= 0.13 (before it, shears turned
    about the centre): shears to 0.3, translations to 150/331 of a side, rotations to 30 degrees,
    the four enhancements to 1 +- 0.9, posterize from 8 to 4 bits, solarize from 255 to 0.

    Attributes:
        negative: turns the strength's sign around, where the operation has one.
    """

    name: str
    level: int | None
    bins: int
    negative: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """Images uint8 [n, C, H, W] under the operation; what comes from outside is black."""
        return _CHANGES[self.name](x, self._strength(x))

    def _strength(self, x: Tensor) -> float:
        """Rounded to float32 as torchvision's: a threshold or a shift may stand on the border."""
        if self.name not in _ENDS or self.level is None:
            return 0.0
        side = x.shape[_TRANSLATIONS[self.name]] if self.name in _TRANSLATIONS else 1
        low, high = _ENDS[self.name]
        strength = float(torch.linspace(low * side, high * side, self.bins)[self.level])
        return -strength if self.negative and self.name not in _UNSIGNED else strength


def apply_chosen(x: Tensor, choice: Tensor, operations: Sequence[Operation]) -> Tensor:
    """Each image under its own operation.

    Args:
        x: uint8 [B, K, C, H, W].
        choice: int64 [B or 1, K], a place in ``operations``, or -1 for none.
    """
    choice = choice.expand(x.shape[:2])
    out = x.clone()
    for place in choice.unique().tolist():
        if place >= 0:
            chosen = choice == place
            out[chosen] = operations[place](x[chosen])
    return out
