"""Networks of the decoupled papers against the references: parameters and outputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from parity import BASICS, Array, Golden, Tolerance, image_shape, tensor
from torch import Tensor, nn

from ddbench import networks
from ddbench.stack import from_state

TOLERANCE = {torch.float64: BASICS, torch.float32: Tolerance(1e-4, 1e-4, scaled=True)}
NAMES = {
    "ConvNetW128": ["ConvNetW128"],
    "MobileNetV2": ["MobileNetV2"],
    "ConvNetBN": ["RDED_ConvNet"],
    "resnet18_modified": ["ResNet18", "RDED_ResNet18_modified"],
    "ResNet18": ["ResNet18_IN"],
    "ShuffleNetV2_0_5": ["ShuffleNetV2_0_5"],
    "WRN_16_2": ["WRN_16_2"],
}
"""Our names and the stored ones."""


def draw(i: int, size: int) -> Array:
    """u(i, j) of filling rule b, in [0, 1)."""
    j = np.arange(size, dtype=np.uint64)
    return ((2654435761 * j + 40503 * i + 1) % 2**32) / 2**32


def parameter(rule: str, i: int, shape: tuple[int, ...], norm_weight: bool) -> Array:
    """Parameter ``i`` in the reference's order."""
    size = math.prod(shape)
    fan_in = math.prod(shape[1:])
    if rule == "a":
        value = 0.1 * np.sin(0.37 * i + 0.11 * np.arange(size)) / math.sqrt(fan_in)
        return value.reshape(shape)
    c = (2 * draw(i, size) - 1).reshape(shape)
    if len(shape) > 1:
        return math.sqrt(6 / fan_in) * c
    return 1 + 0.2 * c if norm_weight else 0.2 * c


def in_reference_order(module: nn.Module, name: str) -> list[str]:
    """Our parameters in the reference's order: RDED's ConvNet has all convolutions, all norms."""
    found = [key for key, _ in module.named_parameters()]
    if name != "RDED_ConvNet":
        return found
    layers = {key: module.get_submodule(key.rpartition(".")[0]) for key in found}
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    return [key for kind in kinds for key in found if isinstance(layers[key], kind)]


def state(module: nn.Module, name: str, rule: str) -> dict[str, Tensor]:
    """Parameters and running statistics of a network by a filling rule."""
    values: dict[str, Array] = {}
    for i, key in enumerate(in_reference_order(module, name)):
        owner = module.get_submodule(key.rpartition(".")[0])
        scale = key.endswith("weight") and isinstance(owner, nn.BatchNorm2d | nn.GroupNorm)
        values[key] = parameter(rule, i, tuple(module.get_parameter(key).shape), scale)
    norms = [n for n, layer in module.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    for k, prefix in enumerate(norms):
        size = module.get_buffer(f"{prefix}.running_mean").numel()
        random = rule == "b"
        mean = 0.2 * (2 * draw(1000 + k, size) - 1) if random else np.zeros(size)
        var = 0.5 + draw(2000 + k, size) if random else np.ones(size)
        values |= {f"{prefix}.running_mean": mean, f"{prefix}.running_var": var}
        values[f"{prefix}.num_batches_tracked"] = np.array(0)
    return {key: tensor(value) for key, value in values.items()}


def cases(data: Golden, stored: str) -> list[str]:
    """The sizes (``s32``, ...) at which a network is stored."""
    return [key.split("/")[0] for key in data.files if key.endswith(f"/{stored}/param_count")]


@pytest.mark.golden
def test_every_stored_architecture_is_compared(golden: Callable[[str], Golden]) -> None:
    data = golden("decoupled/networks.npz")
    stored = {key.split("/")[1] for key in data.files if key.endswith("/param_count")}
    assert stored <= {name for names in NAMES.values() for name in names}


@pytest.mark.golden
@pytest.mark.parametrize("name", NAMES)
def test_golden_outputs(golden: Callable[[str], Golden], name: str) -> None:
    """Both filling rules as the two members of a stack, rule b as a plain module too."""
    torch.set_num_threads(1)
    data = golden("decoupled/networks.npz")
    first = NAMES[name][0]
    for size in cases(data, first):
        x, classes = tensor(data[f"{size}/input"]), int(data[f"{size}/num_classes"])
        shape = image_shape(x)
        deeper = first == "RDED_ConvNet" and shape[1] == 64  # depth 4, as the papers' at 64
        network = networks.resolve("ConvNetD4BN" if deeper else name)
        module = network.build(shape, classes)
        order = in_reference_order(module, first)
        found = [tuple(module.get_parameter(key).shape) for key in order]
        members = [state(module, first, rule) for rule in "ab"]
        stacked = {key: torch.stack([values[key] for values in members]) for key in members[0]}
        module = module.to_empty(device="cpu").double().eval()
        module.load_state_dict(members[1])
        with torch.no_grad():
            logits = module(x)
        for stored in (f"{size}/{alias}" for alias in NAMES[name]):
            padded = data[f"{stored}/param_shapes"]
            assert found == [tuple(int(n) for n in row if n) for row in padded], stored
            assert network.parameter_count(shape, classes) == int(data[f"{stored}/param_count"])
            BASICS.check(logits, data[f"{stored}/output_b"], f"{stored} module")
        for dtype, tolerance in TOLERANCE.items():
            cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in stacked.items()}
            stack = from_state(network, shape, classes, cast)
            with torch.no_grad():
                out = stack(x[:, None].to(dtype), train=False).logits
            for stored in (f"{size}/{alias}" for alias in NAMES[name]):
                for index, rule in enumerate("ab"):
                    wanted = data[f"{stored}/output_{rule}"]
                    tolerance.check(out[:, index], wanted, f"{stored} {rule}")
