"""Networks of the matching papers against the references: parameters, outputs, initialisation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from parity import BASICS, Array, Golden, Tolerance, image_shape, module_of, stack_of, tensor

from ddbench import networks
from ddbench.networks import Network, Shape
from ddbench.stack import Stack

TOLERANCE = {torch.float64: BASICS, torch.float32: Tolerance(1e-4, 1e-4, scaled=True)}
STORED_AS_FLOAT32 = Tolerance(1e-6, 1e-6, scaled=True)

NAMES = (
    "MLP MLP_Tiny LeNet LeNet_Tiny AlexNet AlexNetBN AlexNet_Tiny VGG11 VGG11BN VGG11_Tiny "
    "ResNet18 ResNet18BN ResNet18_AP ResNet18BN_AP ResNet18_Tiny ResNet18BN_Tiny ConvNet "
    "ConvNetD1 ConvNetD2 ConvNetD3 ConvNetD4 ConvNetD5 ConvNetD6 ConvNetW32 ConvNetW64 "
    "ConvNetW128 ConvNetW256 ConvNetAS ConvNetAR ConvNetAL ConvNetASwish ConvNetASwishBN "
    "ConvNetNN ConvNetBN ConvNetLN ConvNetIN ConvNetGN ConvNetNP ConvNetMP ConvNetAP"
).split()


def image(size: str) -> Shape:
    c, h, w = (int(part) for part in size.split("x"))
    return c, h, w


def rows(padded: Array) -> list[tuple[int, ...]]:
    """Shapes of a zero-padded table."""
    return [tuple(int(n) for n in row if n) for row in padded]


def other(values: list[Array]) -> list[Array]:
    """Parameters for another member: the same numbers in reverse order within each tensor."""
    return [np.ascontiguousarray(value.ravel()[::-1]).reshape(value.shape) for value in values]


def filled(shape: tuple[int, ...], index: int, kind: int, salt: int) -> Array:
    """Parameter ``index`` by the filling rule of the golden data's README."""
    start = np.uint32((1000003 * (index + 1) + 7919 * salt) % 2**32)
    h = start + np.arange(math.prod(shape), dtype=np.uint32)  # modulo 2^32
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x7FEB352D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x846CA68B)
    h ^= h >> np.uint32(16)
    u = (2 * h.astype(np.float64) / 2**32 - 1).reshape(shape)
    if kind == 0:
        return u * math.sqrt(6 / math.prod(shape[1:]))
    return 1 + 0.2 * u if kind == 1 else 0.1 * u


def entries(data: Golden, name: str) -> list[tuple[Network, Shape, str]]:
    """The stored cases of an architecture: description, image shape, prefix."""
    prefixes = [key.removesuffix("/num_params") for key in data.files if "/num_params" in key]
    mine = [prefix for prefix in prefixes if prefix.split("/")[0] == name]
    return [(networks.resolve(name), image(prefix.split("/")[1]), prefix) for prefix in mine]


@pytest.mark.golden
def test_every_stored_architecture_is_compared(golden: Callable[[str], Golden]) -> None:
    data = golden("basics/networks.npz")
    assert {key.split("/")[0] for key in data.files if key.endswith("/num_params")} <= set(NAMES)


@pytest.mark.golden
@pytest.mark.parametrize("name", NAMES)
def test_golden_parameters(golden: Callable[[str], Golden], name: str) -> None:
    data = golden("basics/networks.npz")
    classes = int(data["num_classes"])
    for network, shape, prefix in entries(data, name):
        module = network.build(shape, classes)
        found = [tuple(value.shape) for value in module.parameters()]
        assert found == rows(data[f"{prefix}/shapes"]), prefix
        assert network.parameter_count(shape, classes) == int(data[f"{prefix}/num_params"]), prefix
        features = network.feature_shapes(shape)[-1]
        assert math.prod(features) == int(data[f"{prefix}/embed_dim"]), prefix


def check_stack(data: Golden, prefix: str, stack: Stack, index: int, dtype: torch.dtype) -> None:
    """Member ``index`` of the stack against the stored outputs, first in training mode."""
    shape = prefix.split("/")[1]
    x = tensor(data[f"x/{shape}"], dtype)[:, None]
    stride = int(data[f"{prefix}/embed_stride"])
    last = len(stack.feature_shapes)
    close = TOLERANCE[dtype]
    embedded = STORED_AS_FLOAT32 if dtype == torch.float64 else close
    for mode in ("train", "eval"):
        if mode == "train" or stack.buffers:  # without batch norm both modes are one function
            with torch.no_grad():
                out = stack(x, layer=last, train=mode == "train")
        assert out.feature is not None
        close.check(out.logits[:, index], data[f"{prefix}/out_{mode}"], f"{prefix} {mode}")
        flat = out.feature[:, index].flatten(1)[:, ::stride]
        embedded.check(flat, data[f"{prefix}/embed_{mode}"], f"{prefix} embedding {mode}")
    assert (f"{prefix}/running_first_mean" in data.files) == bool(stack.buffers)
    if stack.buffers:
        for statistic in ("mean", "var"):
            name = next(n for n in stack.buffers if n.endswith(f"running_{statistic}"))
            wanted = data[f"{prefix}/running_first_{statistic}"]
            close.check(stack.buffers[name][index], wanted, f"{prefix} running {statistic}")


def check_module(
    data: Golden, prefix: str, params: list[Array], network: Network, dtype: torch.dtype
) -> None:
    """The plain module against the stored outputs."""
    x = tensor(data[f"x/{prefix.split('/')[1]}"], dtype)
    module = module_of(params, network, image_shape(x), dtype)
    with torch.no_grad():
        if network.batch_norm:
            trained = module.train()(x)
            TOLERANCE[dtype].check(trained, data[f"{prefix}/out_train"], f"{prefix} module")
        TOLERANCE[dtype].check(module.eval()(x), data[f"{prefix}/out_eval"], f"{prefix} module")


@pytest.mark.golden
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_golden_outputs(golden: Callable[[str], Golden], name: str, dtype: torch.dtype) -> None:
    torch.set_num_threads(1)
    data = golden("basics/networks.npz")
    for network, shape, prefix in entries(data, name):
        kinds = [int(kind) for kind in data[f"{prefix}/kinds"]]
        shapes = enumerate(zip(rows(data[f"{prefix}/shapes"]), kinds, strict=True))
        params = [filled(size, i, kind, int(data["salt"])) for i, (size, kind) in shapes]
        stack = stack_of([other(params), params], network, shape, dtype)
        check_stack(data, prefix, stack, 1, dtype)
        check_module(data, prefix, params, network, dtype)


# --- initialisation -----------------------------------------------------------------------------


@pytest.mark.golden
@pytest.mark.parametrize("name", ["ConvNetD3", "ResNet18"])
def test_golden_initialisation_law(golden: Callable[[str], Golden], name: str) -> None:
    data = golden("basics/init_stats.npz")
    network, shape = networks.resolve(name), (3, 32, 32)
    shapes = rows(data[f"{name}/shapes"])
    module = network.build(shape, shapes[-1][0])
    names = [key for key, _ in module.named_parameters()]
    squares, largest = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    seeds = 20
    for seed in range(seeds):
        fresh = network.initial_state(module, torch.Generator().manual_seed(seed))
        assert [tuple(fresh[key].shape) for key in names] == shapes
        for key, fan_in in zip(names, data[f"{name}/fan_in"], strict=True):
            if fan_in == 0:
                assert bool((fresh[key] == (1.0 if key.endswith("weight") else 0.0)).all()), key
            squares[key] += float(fresh[key].square().mean()) / seeds
            largest[key] = max(largest[key], float(fresh[key].abs().max()))
    for key, fan_in in zip(names, data[f"{name}/fan_in"], strict=True):
        if fan_in > 0:
            assert largest[key] <= fan_in**-0.5 * (1 + 1e-6), key  # rounded to float32
            allowed = 0.03 if fresh[key].numel() >= 1000 else 0.2
            assert squares[key] ** 0.5 == pytest.approx((3 * fan_in) ** -0.5, rel=allowed), key
