"""The families beside ConvNet: image sizes, counts, training in stacks, initialisation, names."""

from __future__ import annotations

from math import prod

import pytest
import torch
from parity import in_double, module_of
from torch import Tensor, nn
from torch.nn import functional as fn
from torch.utils.flop_counter import FlopCounterMode

from ddbench import networks
from ddbench.errors import BadInput
from ddbench.networks import Network, Shape
from ddbench.networks._library import LibraryNetwork
from ddbench.networks.convnet import ConvNet
from ddbench.stack import Stack, create

DESCRIBED = [
    name
    for name in networks.names()
    if not isinstance(networks.resolve(name), LibraryNetwork | ConvNet)
]
CONVNETS = [
    name
    for name in networks.names()
    if isinstance(network := networks.resolve(name), ConvNet) and network.depth <= 6
]
SMALLEST = {"LeNet": 16}
"""Side of the smallest image; 2 where it is not said."""


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7), dtype=dtype)


# --- image sizes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "wanted"),
    [
        ("MLP", (1, 28, 28), [(128, 1, 1)] * 2),
        ("LeNet", (1, 28, 28), [(6, 14, 14), (16, 5, 5), (120, 1, 1), (84, 1, 1)]),
        ("AlexNet", (3, 128, 128), [(128, 16, 16), (192, 8, 8), (256, 8, 8), (192, 8, 8),
                                    (192, 4, 4)]),
        ("AlexNet", (1, 8, 8), [(128, 4, 4), (192, 2, 2), (256, 2, 2), (192, 2, 2), (192, 1, 1)]),
        ("VGG11", (1, 28, 28), [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2), (512, 1, 1)]),
        ("VGG11", (1, 8, 8), [(64, 4, 4), (128, 2, 2), (256, 2, 2), (512, 2, 2), (512, 1, 1)]),
        ("VGG11", (3, 128, 128), [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8),
                                  (512, 1, 1)]),
        ("ResNet18", (1, 28, 28), [(64, 28, 28), (64, 28, 28), (128, 14, 14), (256, 7, 7),
                                   (512, 1, 1)]),
        ("ResNet18", (1, 8, 8), [(64, 8, 8), (64, 8, 8), (128, 4, 4), (256, 2, 2), (512, 1, 1)]),
        ("ResNet18", (3, 96, 128), [(64, 32, 43), (64, 32, 43), (128, 16, 22), (256, 8, 11),
                                    (512, 1, 1)]),
        ("ResNet18_AP", (1, 28, 28), [(64, 28, 28), (64, 28, 28), (128, 14, 14), (256, 7, 7),
                                      (512, 3, 3)]),
        ("resnet18_modified", (3, 64, 64), [(64, 64, 64), (64, 64, 64), (128, 32, 32),
                                            (256, 16, 16), (512, 1, 1)]),
        ("ResNet50", (3, 32, 32), [(64, 32, 32), (256, 32, 32), (512, 16, 16), (1024, 8, 8),
                                   (2048, 1, 1)]),
        ("WRN-16-2", (1, 8, 8), [(16, 8, 8), (32, 8, 8), (64, 4, 4), (128, 1, 1)]),
        ("MobileNetV2", (3, 32, 32), [(16, 16, 16), (8, 16, 16), (12, 16, 16), (16, 8, 8),
                                      (32, 4, 4), (48, 4, 4), (80, 2, 2), (1280, 1, 1)]),
        ("ShuffleNetV2", (1, 28, 28), [(24, 28, 28), (48, 14, 14), (96, 7, 7), (1024, 1, 1)]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_maps_of_the_blocks(name: str, shape: Shape, wanted: list[Shape]) -> None:
    assert networks.resolve(name).feature_shapes(shape) == wanted


@pytest.mark.parametrize("name", DESCRIBED)
@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 70, 66)], ids=str)
def test_maps_and_counts_are_those_of_the_module(name: str, shape: Shape) -> None:
    network = networks.resolve(name)
    if min(shape[1:]) < SMALLEST.get(name, 2):
        return
    module = network.build(shape, 7)
    assert network.parameter_count(shape, 7) == sum(p.numel() for p in module.parameters())
    x = torch.empty(2, *shape, device="meta")
    for index, wanted in enumerate(network.feature_shapes(shape), start=1):
        x = module.blocks[index - 1](x)
        assert x.shape == (2, *wanted), index
    assert module.classifier(x.flatten(1)).shape == (2, 7)


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_smallest_image_is_named(name: str) -> None:
    network = networks.resolve(name)
    side = SMALLEST.get(name)
    if side is None:
        assert network.feature_shapes((3, 2, 2))
        return
    assert network.feature_shapes((3, side, side))
    for too_small in ((3, side - 1, side - 1), (1, side, side - 1)):
        with pytest.raises(BadInput, match="too small") as caught:
            network.feature_shapes(too_small)
        assert caught.value.allowed == f"{side}x{side} and larger"


@pytest.mark.parametrize("name", [name for name in DESCRIBED if name not in SMALLEST])
def test_the_smallest_images_still_decide_the_output(name: str) -> None:
    """No instance normalisation may stand on a single pixel, which it would erase."""
    stack = in_double(create(networks.resolve(name).narrow(), (1, 8, 8), 3, generators(1)))
    logits = stack(normal(4, 1, 1, 8, 8)).logits[:, 0].detach()
    assert float(logits.std(0).max()) > 1e-3 * float(logits.abs().max())


# --- work and memory ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*DESCRIBED, *CONVNETS])
@pytest.mark.parametrize("shape", [(1, 64, 64), (4, 70, 66)], ids=str)
def test_multiply_adds_are_those_of_the_module(name: str, shape: Shape) -> None:
    network = networks.resolve(name)
    module = network.build(shape, 7)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(2, *shape, device="meta"))
    assert network.multiply_adds(shape, 7) == counter.get_total_flops() // 4


def saved_floats(stack: Stack, x: Tensor) -> int:
    """Numbers of four bytes that a training pass keeps for backward, without the parameters."""
    known = {value.untyped_storage().data_ptr() for value in stack.params.values()}
    kept: dict[int, Tensor] = {}

    def pack(value: Tensor) -> Tensor:
        pointer = value.untyped_storage().data_ptr()
        if pointer not in known:
            kept[pointer] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        stack(x)
    return sum(value.untyped_storage().nbytes() for value in kept.values()) // 4


@pytest.mark.parametrize("name", [*DESCRIBED, *CONVNETS])
@pytest.mark.parametrize("size", [1, 2])
def test_kept_activations_are_foreseen(name: str, size: int) -> None:
    network, batch = networks.resolve(name).narrow(), 8
    shape = (3, 64, 64) if isinstance(network, ConvNet) else (3, 32, 32)
    stack = create(network, shape, 10, generators(size))
    measured = saved_floats(stack, normal(batch, size, *shape, dtype=torch.float32))
    foreseen = network.activation_floats(shape) * batch * size
    assert 0.9 < foreseen / measured < 1.1


# --- stacks -------------------------------------------------------------------------------------


def step(stack: Stack, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Loss per network and its gradients after one training pass."""
    logits = stack(x).logits
    loss = fn.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
    per_network = loss.unflatten(0, y.shape).mean(0)
    return per_network, list(torch.autograd.grad(per_network.sum(), list(stack.params.values())))


def alone(stack: Stack, index: int) -> Stack:
    params = {name: value.detach()[index : index + 1] for name, value in stack.params.items()}
    buffers = {name: value[index : index + 1].clone() for name, value in stack.buffers.items()}
    return Stack(stack.module, stack.feature_shapes, params, buffers).require_grad()


def smallest_sensible(network: Network) -> Shape:
    """1x8x8 where the network takes it."""
    side = 2**network.depth if isinstance(network, ConvNet) else SMALLEST.get(network.name, 8)
    return 1, max(8, side), max(8, side)


@pytest.mark.parametrize("name", [*DESCRIBED, *CONVNETS])
def test_training_in_a_stack_is_training_alone(name: str) -> None:
    """One step of three networks at once, of each alone, and of the plain module."""
    torch.set_num_threads(1)
    network, size = networks.resolve(name), 3
    shape = smallest_sensible(network)
    network = network.narrow()
    stack = in_double(create(network, shape, 3, generators(size)))
    x, y = normal(4, size, *shape), torch.arange(4 * size).view(4, size) % 3
    singles = [alone(stack, k) for k in range(size)]
    values = [value.detach()[0].numpy().copy() for value in stack.params.values()]
    losses, gradients = step(stack, x, y)
    for k, single in enumerate(singles):
        loss, mine = step(single, x[:, k : k + 1], y[:, k : k + 1])
        torch.testing.assert_close(losses[k], loss[0], rtol=1e-10, atol=1e-12)
        for together, apart in zip(gradients, mine, strict=True):
            scale = max(1.0, float(apart.abs().max()))
            torch.testing.assert_close(together[k], apart[0], rtol=1e-8, atol=1e-10 * scale)
        for key, buffer in stack.buffers.items():
            torch.testing.assert_close(buffer[k], single.buffers[key][0], rtol=1e-10, atol=1e-12)
    module = module_of(values, network, shape).train()
    loss = fn.cross_entropy(module(x[:, 0]), y[:, 0])
    torch.testing.assert_close(losses[0], loss, rtol=1e-10, atol=1e-12)
    plain = torch.autograd.grad(loss, list(module.parameters()))
    for together, apart in zip(gradients, plain, strict=True):
        scale = max(1.0, float(apart.abs().max()))
        torch.testing.assert_close(together[0], apart, rtol=1e-8, atol=1e-10 * scale)
    for key, buffer in module.named_buffers():
        torch.testing.assert_close(stack.buffers[key][0], buffer, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", DESCRIBED)
def test_shared_images_and_the_rest_of_the_network(name: str) -> None:
    """Images that all members see equal copies; ``head`` continues where ``layer`` stopped."""
    network = networks.resolve(name).narrow()
    side = max(8, SMALLEST.get(network.name, 0))
    stack = in_double(create(network, (1, side, side), 3, generators(2)))
    x = normal(3, 1, 1, side, side)
    with torch.no_grad():
        copied = stack(x.expand(-1, 2, -1, -1, -1).contiguous(), train=False).logits
        for layer in range(1, len(stack.feature_shapes) + 1):
            out = stack(x, layer=layer, train=False)
            torch.testing.assert_close(out.logits, copied, rtol=1e-10, atol=1e-12)
            assert out.feature is not None
            rest = stack.head(out.feature, layer)
            torch.testing.assert_close(rest, out.logits, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["ResNet18", "ResNet18BN", "MobileNetV2", "ShuffleNetV2", "WRN-16-2"]
)
def test_gradients_can_be_differentiated_again(name: str) -> None:
    """Matching differentiates a gradient with respect to the images."""
    network = networks.resolve(name).narrow()
    stack = in_double(create(network, (1, 8, 8), 2, generators(1)))
    x = normal(3, 1, 1, 8, 8).requires_grad_()
    params = list(stack.params.values())

    def squared(x: Tensor) -> Tensor:
        loss = stack(x, train=False).logits[:, 0].square().mean()
        found = torch.autograd.grad(loss, params, create_graph=True)
        return torch.stack([g.square().sum() for g in found]).sum()

    (slope,) = torch.autograd.grad(squared(x), x)
    direction = slope / slope.norm()
    width = 1e-6
    moved = [float(squared(x + sign * width * direction).detach()) for sign in (1, -1)]
    assert (moved[0] - moved[1]) / (2 * width) == pytest.approx(float(slope.norm()), rel=1e-4)


# --- initialisation -----------------------------------------------------------------------------


def fresh(name: str) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Weights of convolutions by name, the classifier's weight and bias; norms are checked."""
    network = networks.resolve(name)
    module = network.build((3, 32, 32), 100)
    state = network.initial_state(module, torch.Generator().manual_seed(0))
    assert list(state) == [n for n, _ in [*module.named_parameters(), *module.named_buffers()]]
    convs = {}
    for key, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            convs[f"{key}.weight"] = state[f"{key}.weight"]
        elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
            assert bool((state[f"{key}.weight"] == 1).all()), key
            assert bool((state[f"{key}.bias"] == 0).all()), key
    return convs, state["classifier.weight"], state["classifier.bias"]


@pytest.mark.parametrize("name", ["resnet18_modified", "WRN-16-2", "MobileNetV2"])
def test_convolutions_of_kaiming_normal_fan_out(name: str) -> None:
    convs, weight, bias = fresh(name)
    for key, value in convs.items():
        std = (2 / (value.shape[0] * value[0, 0].numel())) ** 0.5
        if value.numel() >= 2000:
            assert float(value.std()) == pytest.approx(std, rel=0.06), key
        assert float(value.abs().max()) < 6.5 * std
    together = torch.cat([
        (value / (2 / (value.shape[0] * value[0, 0].numel())) ** 0.5).flatten()
        for value in convs.values()
    ])  # fmt: skip
    assert float(together.mean()) == pytest.approx(0, abs=0.01)
    assert float(together.pow(4).mean()) == pytest.approx(3, rel=0.03)  # normal, not uniform (1.8)
    bound = weight.shape[1] ** -0.5
    if name == "MobileNetV2":
        assert float(weight.std()) == pytest.approx(0.01, rel=0.02)
    else:
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.03)
        assert float(weight.abs().max()) <= bound * (1 + 1e-6)
    assert bool((bias == 0).all()) == (name != "resnet18_modified")


@pytest.mark.parametrize("name", ["ShuffleNetV2", "ResNet18BN", "VGG11", "AlexNet", "MLP"])
def test_other_families_start_as_pytorch_does(name: str) -> None:
    convs, weight, _ = fresh(name)
    for key, value in {**convs, "classifier": weight}.items():
        bound = value[0].numel() ** -0.5
        assert float(value.abs().max()) <= bound * (1 + 1e-6), key
        if value.numel() >= 2000:
            assert float(value.std()) == pytest.approx(bound / 3**0.5, rel=0.05), key


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ResNet18_Tiny", "ResNet18"),
        ("ResNet18BN", {"name": "ResNet18BN", "norm": "batch"}),
        ("VGG11_Tiny", {"name": "VGG11", "width": 64}),
        ("AlexNetBN_Tiny", "AlexNetBN"),
        ("MLP_Tiny", {"name": "MLP", "width": 128}),
        ("LeNet_Tiny", "LeNet"),
        ("WRN_16_2", "WRN-16-2"),
        ("WRN16-2", "WRN-16-2"),
        ("MobileNetV2_0_5", "MobileNetV2"),
        ("ShuffleNetV2_0_5", {"name": "ShuffleNetV2", "width": 0.5}),
        ("ShuffleNetV2_1_0", {"name": "ShuffleNetV2", "width": 1}),
    ],
)
def test_two_spellings_of_one_network(one: object, other: object) -> None:
    assert networks.resolve(one).identity() == networks.resolve(other).identity()
    assert networks.resolve(one).label == networks.resolve(other).label


def test_listed_names_name_different_networks() -> None:
    found = [networks.resolve(name) for name in DESCRIBED]
    assert len({network.label for network in found}) == len(found)
    assert len({str(network.identity()) for network in found}) == len(found)


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_label_is_a_name_of_the_same_network(name: str) -> None:
    network = networks.resolve(name)
    assert networks.resolve(network.label).identity() == network.identity()


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_narrow_version_is_no_larger_and_can_be_read_back(name: str) -> None:
    network, shape = networks.resolve(name), (3, 32, 32)
    narrow = network.narrow()
    assert narrow.parameter_count(shape, 10) <= network.parameter_count(shape, 10)
    assert len(narrow.feature_shapes(shape)) == len(network.feature_shapes(shape))
    assert narrow.batch_norm == network.batch_norm
    assert networks.resolve(narrow.model_dump()).identity() == narrow.identity()


@pytest.mark.parametrize("name", [*DESCRIBED, *CONVNETS])
def test_batch_norm_is_declared_where_the_module_has_it(name: str) -> None:
    network = networks.resolve(name)
    module = network.build((1, 256, 256), 2)
    assert network.batch_norm == any(isinstance(m, nn.BatchNorm2d) for m in module.modules())
    assert network.sequential is None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "ResNet18BN", "norm": "instance"}, "norm"),
        ({"name": "ResNet18", "depth": 34}, "depth"),
        ({"name": "ResNet18", "downsample": "pool"}, "downsample"),
        ({"name": "resnet18_modified", "init": "default"}, "init"),
        ({"name": "AlexNet", "width": 7}, "width"),
        ({"name": "VGG11", "norm": "layer"}, "norm"),
        ({"name": "VGG11", "width": 0}, "width"),
        ({"name": "ShuffleNetV2", "width": 0.7}, "width"),
        ({"name": "MobileNetV2_0_5", "width": 1.0}, "width"),
        ({"name": "WRN-16-2", "widen": 4}, "widen"),
        ({"name": "LeNet", "width": 2}, "width"),
    ],
)
def test_options_that_contradict_are_refused(fields: dict[str, object], field: str) -> None:
    with pytest.raises(BadInput) as caught:
        networks.resolve(fields)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "name", ["ResNet20", "VGG12", "WRN-15-2", "WRN-4-1", "MobileNetV2_3_0", "resnet18", "AlexNetIN"]
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="unknown network"):
        networks.resolve(name)


def test_parameter_counts_of_the_literature() -> None:
    for name, shape, classes, count in [
        ("MLP", (3, 32, 32), 10, 411_146),
        ("ResNet18BN", (3, 32, 32), 10, 11_173_962),
        ("resnet18_modified", (3, 64, 64), 200, 11_271_432),
        ("MobileNetV2", (3, 32, 32), 100, 812_836),
        ("WRN_16_2", (3, 32, 32), 100, 703_284),
        ("ShuffleNetV2_0_5", (3, 32, 32), 100, 443_716),
        ("WRN-28-10", (3, 32, 32), 10, 36_479_194),
    ]:
        assert networks.resolve(name).parameter_count(shape, classes) == count, name
    assert prod(networks.resolve("ResNet18_AP").feature_shapes((3, 32, 32))[-1]) == 8192
