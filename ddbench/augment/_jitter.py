"""Brightness, contrast, saturation and hue of 8-bit images, each image with its own factor.

Axes: B images, K members of a stack, C channels (1 or 3), H, W. Images are float32 [B, K, C, H, W]
of whole numbers 0..255, factors float [B or 1, K]. Rounding is that of torchvision's functions for
uint8 tensors: everything in float32, results clamped to 0..255 and truncated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ddbench.augment import per_image

_GREY = (0.2989, 0.587, 0.114)


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """factor x."""
    return _truncated(x * _number(factor))


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Between the mean grey level of the image (factor 0) and x (factor 1), or beyond."""
    return _blend(x, grey(x).mean((2, 3, 4), keepdim=True), factor)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Between the grey image (factor 0) and x (factor 1), or beyond."""
    return x if x.shape[2] == 1 else _blend(x, grey(x), factor)


def hue(x: Tensor, turn: Tensor) -> Tensor:
    """The hue turned by ``turn`` in [-0.5, 0.5] full turns; value and HSV saturation stay.

    With h in sixths of a turn, channel n shows v - v s max(0, min(k, 4 - k, 1)),
    k = (n + 6 h) mod 6, n = 5, 3, 1 for red, green, blue (A. R. Smith, SIGGRAPH 1978).
    """
    if x.shape[2] == 1:
        return x
    pixels = x / 255
    value, low = pixels.amax(2), pixels.amin(2)
    chroma = value - low
    red, green, blue = pixels.unbind(2)
    spread = torch.where(chroma > 0, chroma, 1.0)  # without chroma no hue is visible
    sixths = torch.where(
        value == red,
        (green - blue) / spread,
        torch.where(value == green, 2 + (blue - red) / spread, 4 + (red - green) / spread),
    )
    sixths = sixths + 6 * _number(turn)[..., 0]
    channels = []
    for offset in (5.0, 3.0, 1.0):
        k = (offset + sixths).remainder(6)
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return (torch.stack(channels, dim=2) * (256 - 1e-3)).floor().clamp(0, 255)


def grey(x: Tensor) -> Tensor:
    """Luma of x by ITU-R BT.601 as whole numbers, [B, K, 1, H, W]."""
    if x.shape[2] == 1:
        return x
    red, green, blue = x.split(1, dim=2)
    return (red * _GREY[0] + green * _GREY[1] + blue * _GREY[2]).floor()


def _blend(x: Tensor, other: Tensor, share: Tensor) -> Tensor:
    # One rounding for product and sum, as torchvision's in-place addition has on a CPU.
    return _truncated(torch.addcmul(x * _number(share), other, _number(1 - share.double())))


def _number(factor: Tensor) -> Tensor:
    return per_image(factor.to(torch.float32))


def _truncated(x: Tensor) -> Tensor:
    return x.clamp(0, 255).floor()
