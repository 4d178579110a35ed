"""How fresh networks start: numbers for a module's parameters and buffers, from one generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


def pytorch_default(module: nn.Module, generator: torch.Generator) -> State:
    """What PyTorch's constructors do, which no reference of the ConvNet family changes.

    Weights and biases of convolutions and linear layers are U(-1/sqrt(fan_in), 1/sqrt(fan_in)),
    the bias with its layer's fan-in; norm scales 1, shifts 0; running statistics 0 and 1. Float32
    on the generator's device.
    """
    values: State = {}
    for prefix, layer in module.named_modules():
        drawn = isinstance(layer, nn.Conv2d | nn.Linear)
        fan_in = layer.weight[0].numel() if drawn else 0
        for key, param in layer.named_parameters(recurse=False):
            value = torch.empty(param.shape, dtype=torch.float32, device=generator.device)
            if drawn:
                bound = fan_in**-0.5
                value.uniform_(-bound, bound, generator=generator)
            else:
                value.fill_(1.0 if key == "weight" else 0.0)
            values[f"{prefix}.{key}"] = value
    return values | fresh_statistics(module, generator.device)


def fresh_statistics(module: nn.Module, device: torch.device) -> State:
    """Buffers of batch normalisation before any batch: variances 1, all else 0."""
    return {
        name: torch.full(
            buffer.shape, 1 if name.endswith("running_var") else 0, dtype=buffer.dtype,
            device=device,
        )
        for name, buffer in module.named_buffers()
    }  # fmt: skip


def kaiming_fan_out(module: nn.Module, generator: torch.Generator) -> State:
    """PyTorch's defaults, but convolutions N(0, 2 / fan_out) as He et al. (ICCV 2015) for ReLU.

    fan_out is output channels x kernel area, also where a convolution is grouped, as PyTorch's
    ``kaiming_normal_`` and torchvision's networks have it.
    """
    state = pytorch_default(module, generator)
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.weight[:, 0].numel()
            state[f"{name}.weight"].normal_(std=(2 / fan_out) ** 0.5, generator=generator)
    return state
