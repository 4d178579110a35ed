"""RandAugment (Cubuk et al., NeurIPS 2020), as DC-BENCH uses it.

Axes: B images, K members of a stack, C channels, H, W.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ddbench.augment import Record, Shape, integers, spread
from ddbench.augment._pixels import OnPixels, check_colours, shared

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.augment._operations import Operation

OPERATIONS = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate"),
    *("brightness", "color", "contrast", "sharpness", "posterize", "solarize"),
    *("auto_contrast", "equalize"),
)


class RandAugment(OnPixels):
    """Each 8-bit image goes through ``num_ops`` operations of one magnitude.

    Operations are drawn with replacement; a strength is negated with probability 1/2 where it has a
    sign. DC-BENCH takes one operation and torchvision's magnitude, 9 of 31
    (justincui03/dc_benchmark ``evaluator/evaluator_utils.py:205``). The 8-bit round trip clips
    distilled pixels outside of [0, 1]; no gradient flows to x. It makes the host
    wait for the device.

    The record holds int64 [B, K, num_ops] ``operation``, the place in ``OPERATIONS``, and bool
    [B, K, num_ops] ``negative``.
    """

    name: Literal["randaug"] = "randaug"
    num_ops: int = Field(default=1, ge=1, le=16, description="operations per image")
    magnitude: int = Field(default=9, ge=0, description="level of every operation")
    bins: int = Field(default=31, ge=2, le=1000, description="number of levels")
    batchwise: bool = Field(
        default=False, description="one set of parameters for the whole batch, as the reference"
    )

    @model_validator(mode="after")
    def _in_range(self) -> RandAugment:
        if self.magnitude >= self.bins:
            raise ValueError(f"magnitude is {self.magnitude}; allowed: below bins ({self.bins})")
        return self

    def uniforms(self, shape: Shape) -> int:
        """Per operation one for the choice and one for the sign."""
        check_colours(self.name, shape)
        return 2 * self.num_ops

    def record(self, u: Tensor, shape: Shape) -> Record:
        choice, sign = shared(u, self.batchwise).chunk(2, dim=-1)
        return {"operation": integers(choice, len(OPERATIONS)), "negative": sign < 0.5}

    def apply(self, x: Tensor, record: Record) -> Tensor:
        from ddbench.augment._operations import apply_chosen

        x = spread(x, record["operation"])
        levels = self.levels(x)
        for step in range(self.num_ops):
            choice = 2 * record["operation"][..., step] + record["negative"][..., step]
            levels = apply_chosen(levels, choice, _signed(self.magnitude, self.bins))
        return self.values(levels, x)


@cache
def _signed(magnitude: int, bins: int) -> list[Operation]:
    """Every operation with its positive and then its negative strength."""
    from ddbench.augment._operations import Operation

    return [
        Operation(name, magnitude, bins, negative)
        for name in OPERATIONS
        for negative in (False, True)
    ]


AUGMENTATION = RandAugment
