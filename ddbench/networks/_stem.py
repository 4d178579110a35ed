"""Where a network meets its images: first convolutions and patches made for small ones."""

from __future__ import annotations

from typing import Any

from torch import nn

from ddbench.errors import BadInput

SMALLER = 4
"""``small`` divides the side of a patch by this: 224 pixels in 14 patches, 32 pixels in 8."""


def first_convolution(net: nn.Module) -> tuple[str, nn.Conv2d]:
    """Name and layer that see the image; raises ``BadInput`` where that is no convolution."""
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            return name, layer
    raise BadInput("it has no convolution")


def cuts_patches(conv: nn.Conv2d) -> bool:
    """Whether a first convolution cuts the image into patches that do not overlap."""
    return conv.kernel_size == conv.stride != (1, 1)


def small_patch(conv: nn.Conv2d) -> int:
    """Side of the patches of ``stem: small``."""
    return max(1, conv.kernel_size[0] // SMALLER)


def small_convolution(net: nn.Module) -> None:
    """Stride 1, a kernel of at most 3, and no max pool beside it, as SRe2L's small ResNets have.

    A kernel of more than 3 is made anew (VILA-Lab/SRe2L ``squeeze_cifar.py:65-67``). A max pool is
    beside the convolution if it stands in one of the modules around that.

    Raises:
        BadInput: the stem is like that already, or is not a plain convolution.
    """
    name, conv = first_convolution(net)
    if conv.stride == (1, 1):
        raise BadInput("its first convolution has stride 1 already", field="stem")
    if max(conv.kernel_size) > 3:
        replace(net, kernel=3, stride=1, padding=1)
    else:
        conv.stride = (1, 1)
    for other, layer in net.named_modules():
        around = other.rpartition(".")[0]
        beside = not around or name.startswith(f"{around}.")
        if isinstance(layer, nn.MaxPool2d) and beside:
            net.set_submodule(other, nn.Identity())
            return


def replace(
    net: nn.Module,
    *,
    channels: int | None = None,
    kernel: int | None = None,
    stride: int | None = None,
    padding: int | None = None,
) -> None:
    """Make the first convolution anew with other settings; it starts by PyTorch's default.

    Raises:
        BadInput: it is not a plain convolution.
    """
    name, found = first_convolution(net)
    if type(found) is not nn.Conv2d:
        raise BadInput(f"its first convolution is a {type(found).__name__}")
    conv: Any = found  # torch types its sizes as tuples of any length
    fresh = nn.Conv2d(
        channels or conv.in_channels, conv.out_channels,
        kernel_size=kernel or conv.kernel_size, stride=stride or conv.stride,
        padding=conv.padding if padding is None else padding, bias=conv.bias is not None,
    )  # fmt: skip
    net.set_submodule(name, fresh)
