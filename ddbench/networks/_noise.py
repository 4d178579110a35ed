"""Dropout of library networks, with random numbers that belong to the network alone.

Torch's own dropout draws from one generator for the whole stack, so that a network's noise would
depend on its neighbours. Here the numbers are a hash of (the layer's seed, its step, the position),
two integers that each member carries among its buffers: the same noise in every stack, on every
device and after a resumption, and layers that run side by side under ``torch.func.vmap``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

_MASK = 2**32 - 1


class Noise(nn.Module):
    """Sets parts of a map to 0 with probability ``p`` while training, and scales the rest.

    Args:
        p: probability in [0, 1).
        axes: how many leading axes have a draw of their own: None = every number (dropout), 2 =
            every channel of every image, 1 = every image (stochastic depth), 0 = one for the batch.
        scale: divide what is kept by 1 - p.

    The buffers ``seed`` (drawn from torch's global generator) and ``step`` (training passes so far)
    are int64 scalars.
    """

    def __init__(self, p: float, axes: int | None, scale: bool = True) -> None:
        super().__init__()
        self.p, self.axes, self.scale = p, axes, scale
        self.register_buffer("seed", torch.randint(2**31, ()))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, ...]."""
        if not self.training:
            return x
        seed, step = self.get_buffer("seed"), self.get_buffer("step")
        own = x.shape[: self.axes]
        index = torch.arange(own.numel(), device=x.device).view(own + (1,) * (x.dim() - len(own)))
        kept = (_hash(seed, step, index) >= round(self.p * 2**32)).to(x.dtype)
        step.add_(1)
        return x * (kept / (1 - self.p) if self.scale else kept)


def own_noise(net: nn.Module) -> None:
    """Replace the library's noise layers in place; those that never fire stay."""
    for name, layer in list(net.named_modules(remove_duplicate=False)):
        for p, axes, scale in _settings(layer):
            net.set_submodule(name, Noise(p, axes, scale))


def _settings(layer: nn.Module) -> Iterator[tuple[float, int | None, bool]]:
    """Probability, axes and scaling of a noise layer; nothing for any other layer."""
    kind, found = type(layer).__name__, vars(layer)
    if isinstance(layer, nn.Dropout) and layer.p > 0:
        yield layer.p, None, True
    elif isinstance(layer, nn.Dropout1d | nn.Dropout2d | nn.Dropout3d) and layer.p > 0:
        yield layer.p, 2, True
    elif kind == "DropPath" and found["drop_prob"]:  # timm
        yield found["drop_prob"], 1, found["scale_by_keep"]
    elif kind == "StochasticDepth" and found["p"] > 0:  # torchvision
        yield found["p"], 1 if found["mode"] == "row" else 0, True


def _hash(seed: Tensor, step: Tensor, index: Tensor) -> Tensor:
    """Numbers in [0, 2^32), as int64 of the shape of ``index``."""
    one = _mix(seed ^ _mix(step))
    other = _mix(one ^ 0x9E3779B9)
    return _mix(_mix(index ^ one) ^ other)


def _mix(h: Tensor) -> Tensor:
    """A bijection of 32-bit numbers without visible structure (two rounds of xorshift-multiply)."""
    h = h & _MASK
    h = (h ^ (h >> 16)) * 0x7FEB352D & _MASK
    h = (h ^ (h >> 15)) * 0x846CA68B & _MASK
    return h ^ (h >> 16)
