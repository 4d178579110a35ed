"""DC-BENCH's ``cifar_aug``: crop, flip and Cutout (Cui et al., NeurIPS 2022; DeVries and Taylor).

Axes: B images, K members of a stack, C channels, H, W.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ddbench.augment import Record, Shape, integers, spread
from ddbench.augment._pixels import CropFlip, shared

if TYPE_CHECKING:
    from torch import Tensor


class CifarAug(CropFlip):
    """8-bit images are padded, cropped and mirrored; then a box is set to 0 in the value space.

    The box has sides ``cutout`` (rows o - cutout//2 to o + cutout//2 - 1) around a centre o in
    0..H-1. As in the reference it comes after the images went back to their space, so it shows the
    data's mean, not black (justincui03/dc_benchmark ``evaluator/evaluator_utils.py:19-36``). The
    8-bit round trip clips distilled pixels outside of [0, 1]; no gradient flows to x.

    The record holds that of the crop and int64 [B, K, 2] ``cutout_centre`` (row, column).
    """

    name: Literal["cifar_aug"] = "cifar_aug"
    cutout: int = Field(
        default=16, ge=0, le=1024, multiple_of=2, description="side of the box, in pixels"
    )
    batchwise: bool = Field(
        default=False, description="one set of parameters for the whole batch, as the reference"
    )

    def uniforms(self, shape: Shape) -> int:
        """Those of the crop, and two for the box."""
        return super().uniforms(shape) + 2

    def record(self, u: Tensor, shape: Shape) -> Record:
        import torch

        u = shared(u, self.batchwise)
        centre = [integers(u[..., 3 + axis], shape[1 + axis]) for axis in (0, 1)]
        return {**super().record(u, shape), "cutout_centre": torch.stack(centre, dim=-1)}

    def apply(self, x: Tensor, record: Record) -> Tensor:
        x = spread(x, record["flip"])
        moved = self.values(self.moved(self.levels(x), record, 0), x)
        centre = record["cutout_centre"]
        rows = self._within(centre[..., 0], x.shape[-2])[:, :, None, :, None]
        columns = self._within(centre[..., 1], x.shape[-1])[:, :, None, None, :]
        return moved.masked_fill(rows & columns, 0.0)

    def _within(self, centre: Tensor, side: int) -> Tensor:
        """Which pixels of one axis the box covers: bool [B or 1, K, side]."""
        import torch

        offset = torch.arange(side, device=centre.device) - centre[..., None]
        return (offset >= -(self.cutout // 2)) & (offset < self.cutout // 2)


AUGMENTATION = CifarAug
