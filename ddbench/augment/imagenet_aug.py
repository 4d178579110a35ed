"""DC-BENCH's ``imagenet_aug``: crop, flip and colour jitter (Cui et al., NeurIPS 2022).

Axes: B images, K members of a stack, C channels, H, W.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ddbench.augment import Record, Shape, per_image, spread
from ddbench.augment._pixels import CropFlip, check_colours, shared

if TYPE_CHECKING:
    from torch import Tensor

JITTERS = ("brightness", "contrast", "saturation", "hue")


class ImagenetAug(CropFlip):
    """8-bit images are padded, cropped, mirrored and jittered in colour, in a random order.

    Factors of brightness, contrast and saturation are uniform in [max(0, 1 - field), 1 + field],
    the turn of the hue in [-hue, hue], as in torchvision's ``ColorJitter``
    (justincui03/dc_benchmark ``evaluator/evaluator_utils.py:207``). The 8-bit round trip clips
    distilled pixels outside of [0, 1]; no gradient flows to x. Grey images have no saturation and
    no hue.

    The record holds that of the crop, float [B, K, 4] ``factors`` and int64 [B, K, 4] ``order``,
    the place of ``JITTERS`` in the sequence.
    """

    name: Literal["imagenet_aug"] = "imagenet_aug"
    brightness: float = Field(default=0.4, ge=0, le=10, description="largest change of the factor")
    contrast: float = Field(default=0.4, ge=0, le=10, description="largest change of the factor")
    saturation: float = Field(default=0.4, ge=0, le=10, description="largest change of the factor")
    hue: float = Field(default=0.2, ge=0, le=0.5, description="largest turn of the hue, in turns")
    batchwise: bool = Field(
        default=False, description="one set of parameters for the whole batch, as the reference"
    )

    def uniforms(self, shape: Shape) -> int:
        """Those of the crop, four for the factors and four for their order."""
        check_colours(self.name, shape)
        return super().uniforms(shape) + 2 * len(JITTERS)

    def record(self, u: Tensor, shape: Shape) -> Record:
        import torch

        u = shared(u, self.batchwise)
        reach = (self.brightness, self.contrast, self.saturation)
        ends = [(max(0.0, 1 - r), 1 + r) for r in reach] + [(-self.hue, self.hue)]
        factors = [low + (high - low) * u[..., 3 + i] for i, (low, high) in enumerate(ends)]
        return {
            **super().record(u, shape),
            "factors": torch.stack(factors, dim=-1),
            "order": u[..., 7:11].argsort(dim=-1, stable=True),
        }

    def apply(self, x: Tensor, record: Record) -> Tensor:
        import torch

        from ddbench.augment import _jitter

        x = spread(x, record["flip"])
        levels = self.moved(self.levels(x), record, 0).to(torch.float32)
        factors, order = record["factors"], record["order"]
        for step in range(len(JITTERS)):
            out = levels
            for index, name in enumerate(JITTERS):
                changed = getattr(_jitter, name)(levels, factors[..., index])
                out = torch.where(per_image(order[..., step] == index), changed, out)
            levels = out
        return self.values(levels, x)


AUGMENTATION = ImagenetAug
