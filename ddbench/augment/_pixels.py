"""Augmentations that know what a pixel is: they pad with black or work on 8-bit images.

Axes: B images, K members of a stack, C channels, H, W.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, PrivateAttr

from ddbench.augment import Augmentation, Convert, Record, Shape, integers, mirror, shift
from ddbench.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor


class OnPixels(Augmentation):
    """Bound to the value space of the images before it is applied (``Augmentation.bind``)."""

    needs_pixels: ClassVar[bool] = True

    _to_pixels: Convert | None = PrivateAttr(None)
    _from_pixels: Convert | None = PrivateAttr(None)

    def bind(self, to_pixels: Convert, from_pixels: Convert) -> Self:
        bound = self.model_copy()
        bound._to_pixels, bound._from_pixels = to_pixels, from_pixels
        return bound

    def levels(self, x: Tensor) -> Tensor:
        """The 8-bit levels of x, uint8 of its shape: pixels clamped to [0, 1], 255 p truncated.

        Truncation, as justincui03/dc_benchmark ``evaluator/evaluator_utils.py:199-214`` has it:
        float error can take a stored level down by one.
        """
        import torch

        pixels = _known(self._to_pixels, self.name)(x.flatten(0, 1)).clamp(0, 1)
        return (pixels * 255).to(torch.uint8).reshape(x.shape)

    def values(self, levels: Tensor, like: Tensor) -> Tensor:
        """Levels as images of the value space, in the dtype of ``like``."""
        pixels = levels.flatten(0, 1).to(like.dtype) / 255
        return _known(self._from_pixels, self.name)(pixels).reshape(levels.shape)

    def black(self, x: Tensor) -> Tensor:
        """A black image in the space of x, [1, 1, C, H, W]."""
        return _known(self._from_pixels, self.name)(x.new_zeros(1, *x.shape[2:]))[None]


def _known(convert: Convert | None, name: str) -> Convert:
    if convert is None:
        raise ValueError(f"{name} works on pixels: bind it to the value space of the images first")
    return convert


class CropFlip(OnPixels):
    """The crop and flip of the CIFAR recipes, shared by the augmentations that begin with them.

    Pad by ``pad`` black pixels, cut out at an offset in 0..2 pad, mirror with ``prob_flip``. The
    record holds int64 [B, K, 2] ``crop_offset`` (row, column) and bool [B, K] ``flip``.
    """

    pad: int = Field(default=4, ge=0, le=64, description="padding before the crop, in pixels")
    prob_flip: float = Field(
        default=0.5, ge=0, le=1, description="probability of a horizontal flip"
    )

    def uniforms(self, shape: Shape) -> int:
        """Two for the offset, one for the flip."""
        return 3

    def record(self, u: Tensor, shape: Shape) -> Record:
        offset = integers(u[..., :2], 2 * self.pad + 1)
        return {"crop_offset": offset, "flip": u[..., 2] < self.prob_flip}

    def moved(self, x: Tensor, record: Record, fill: Tensor | float) -> Tensor:
        """x [B, K, C, H, W] cropped and mirrored, ``fill`` where the padding shows."""
        rows, columns = (record["crop_offset"] - self.pad).unbind(-1)
        return mirror(shift(x, rows, columns, fill), record["flip"])


def shared(u: Tensor, batchwise: bool) -> Tensor:
    """The numbers of the first image for a whole batch, [1, K, n], if ``batchwise``."""
    return u[:1] if batchwise else u


def check_colours(name: str, shape: Shape) -> None:
    """Refuse images that are neither grey nor colour; raises ``BadInput``."""
    if shape[0] not in (1, 3):
        raise BadInput(
            f"'{name}' cannot change images of {shape[0]} channels", field="augmentation",
            allowed="1 or 3 channels",
        )  # fmt: skip
