"""AutoAugment's learned policies (Cubuk et al., CVPR 2019), as DC-BENCH uses them.

Axes: B images, K members of a stack, C channels, H, W.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ddbench.augment import Record, Shape, integers, spread
from ddbench.augment._pixels import OnPixels, check_colours, shared

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.augment._operations import Operation

BINS = 10
_CIFAR10 = """
invert 0.1 -, contrast 0.2 6
rotate 0.7 2, translate_x 0.3 9
sharpness 0.8 1, sharpness 0.9 3
shear_y 0.5 8, translate_y 0.7 9
auto_contrast 0.5 -, equalize 0.9 -
shear_y 0.2 7, posterize 0.3 7
color 0.4 3, brightness 0.6 7
sharpness 0.3 9, brightness 0.7 9
equalize 0.6 -, equalize 0.5 -
contrast 0.6 7, sharpness 0.6 5
color 0.7 7, translate_x 0.5 8
equalize 0.3 -, auto_contrast 0.4 -
translate_y 0.4 3, sharpness 0.2 6
brightness 0.9 6, color 0.2 8
solarize 0.5 2, invert 0.0 -
equalize 0.2 -, auto_contrast 0.6 -
equalize 0.2 -, equalize 0.6 -
color 0.9 9, equalize 0.6 -
auto_contrast 0.8 -, solarize 0.2 8
brightness 0.1 3, color 0.7 0
solarize 0.4 5, auto_contrast 0.9 -
translate_y 0.9 9, translate_y 0.7 9
auto_contrast 0.9 -, solarize 0.8 3
equalize 0.8 -, invert 0.1 -
translate_y 0.7 9, auto_contrast 0.9 -
"""
_IMAGENET = """
posterize 0.4 8, rotate 0.6 9
solarize 0.6 5, auto_contrast 0.6 -
equalize 0.8 -, equalize 0.6 -
posterize 0.6 7, posterize 0.6 6
equalize 0.4 -, solarize 0.2 4
equalize 0.4 -, rotate 0.8 8
solarize 0.6 3, equalize 0.6 -
posterize 0.8 5, equalize 1.0 -
rotate 0.2 3, solarize 0.6 8
equalize 0.6 -, posterize 0.4 6
rotate 0.8 8, color 0.4 0
rotate 0.4 9, equalize 0.6 -
equalize 0.0 -, equalize 0.8 -
invert 0.6 -, equalize 1.0 -
color 0.6 4, contrast 1.0 8
rotate 0.8 8, color 1.0 2
color 0.8 8, solarize 0.8 7
sharpness 0.4 7, invert 0.6 -
shear_x 0.6 5, equalize 1.0 -
color 0.4 0, equalize 0.6 -
equalize 0.4 -, solarize 0.2 4
solarize 0.6 5, auto_contrast 0.6 -
invert 0.6 -, equalize 1.0 -
color 0.6 4, contrast 1.0 8
equalize 0.8 -, equalize 0.6 -
"""
POLICIES = MappingProxyType({"cifar10": _CIFAR10, "imagenet": _IMAGENET})
"""Per line a sub-policy: two operations with their probability and level (- = none)."""

PolicyName = Literal["cifar10", "imagenet"]
Step = tuple[str, float, int | None]
_LARGEST_CIFAR = 32


@cache
def policy(name: str) -> tuple[tuple[Step, Step], ...]:
    """The sub-policies of a policy: (operation, probability, level) twice."""
    lines = POLICIES[name].strip().splitlines()
    first, second = zip(*(line.split(",") for line in lines), strict=True)
    return tuple(zip(map(_step, first), map(_step, second), strict=True))


def _step(text: str) -> Step:
    operation, probability, level = text.split()
    return operation, float(probability), None if level == "-" else int(level)


class AutoAugment(OnPixels):
    """Each 8-bit image goes through one of the 25 sub-policies: two operations in order.

    Each operation is applied with its probability, its strength negated with probability 1/2 where
    it has a sign. The 8-bit round trip clips distilled pixels outside of [0, 1]; no gradient flows
    to x. It makes the host wait for the device.

    Images of up to 32 pixels take CIFAR-10's policy and larger ones ImageNet's, as DC-BENCH on Tiny
    ImageNet (``evaluator_utils.py:175-223``), unless ``policy`` names one.

    The record holds int64 [B, K] ``sub_policy``, float [B, K, 2] ``chance`` (an operation is
    applied where it is at most the probability) and bool [B, K, 2] ``negative``.
    """

    name: Literal["autoaug"] = "autoaug"
    policy: PolicyName | None = Field(
        default=None, description="data it was learned on; null = by the size of the images"
    )
    batchwise: bool = Field(
        default=False, description="one set of parameters for the whole batch, as the reference"
    )

    def steps(self, shape: Sequence[int]) -> tuple[tuple[Step, Step], ...]:
        """The sub-policies for images of ``shape`` [..., H, W]."""
        by_size: PolicyName = "cifar10" if shape[-2] <= _LARGEST_CIFAR else "imagenet"
        return policy(self.policy or by_size)

    def uniforms(self, shape: Shape) -> int:
        """One for the sub-policy, two for the probabilities, two for the signs."""
        check_colours(self.name, shape)
        return 5

    def record(self, u: Tensor, shape: Shape) -> Record:
        u = shared(u, self.batchwise)
        return {
            "sub_policy": integers(u[..., 0], len(self.steps(shape))),
            "chance": u[..., 1:3],
            "negative": u[..., 3:5] < 0.5,
        }

    def apply(self, x: Tensor, record: Record) -> Tensor:
        import torch

        from ddbench.augment._operations import apply_chosen

        x = spread(x, record["sub_policy"])
        levels, sub_policy = self.levels(x), record["sub_policy"]
        for position in (0, 1):
            steps = [steps[position] for steps in self.steps(x.shape)]
            probability = record["chance"].new_tensor([each for _, each, _ in steps])
            applied = record["chance"][..., position] <= probability[sub_policy]
            choice = 2 * sub_policy + record["negative"][..., position]
            choice = torch.where(applied, choice, -1)
            levels = apply_chosen(levels, choice, _signed(tuple(steps)))
        return self.values(levels, x)


@cache
def _signed(steps: tuple[Step, ...]) -> list[Operation]:
    """Every step with its positive and then its negative strength."""
    from ddbench.augment._operations import Operation

    signs = (False, True)
    return [Operation(name, level, BINS, sign) for name, _, level in steps for sign in signs]


AUGMENTATION = AutoAugment
