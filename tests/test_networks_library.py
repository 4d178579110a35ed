"""Networks of torchvision and timm: stacks equal the library's modules, stems, noise, refusals."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from parity import Array, Golden, Tolerance, in_double, tensor
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ddbench import networks
from ddbench.errors import BadInput
from ddbench.networks import Network, Shape, timm_models
from ddbench.networks._library import LibraryNetwork
from ddbench.networks._noise import Noise
from ddbench.networks._opaque import LibraryBackbone
from ddbench.stack import Stack, create, from_state

SMALL_RESNET = {"name": "torchvision:resnet18", "stem": "small"}
SMALL_VIT = {"name": "timm:test_vit", "stem": "small"}
SMALL_SWIN = {"name": "timm:swin_tiny_patch4_window7_224", "patch_size": 2, "window_size": 4}
NOISY = "torchvision:mobilenet_v2"
CLASSES = 5


def generators(count: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + k) for k in range(count)]


def images(batch: int, members: int, shape: Shape) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, members, *shape, generator=generator, dtype=torch.float64)


def library(fields: object) -> LibraryNetwork:
    network = networks.resolve(fields)
    assert isinstance(network, LibraryNetwork)
    return network


def built(fields: object, shape: Shape) -> nn.Module:
    """The library's module, on the meta device."""
    with torch.device("meta"):
        return library(fields).assemble(shape, CLASSES).encoder.net


def stack_of(network: Network, shape: Shape, members: int) -> Stack:
    """A stack in float64 whose members differ everywhere, also where libraries start from zero."""
    stack = in_double(create(network, shape, CLASSES, generators(members)))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in stack.params.values():
            if torch.equal(value[0], value[-1]):
                value.add_(torch.randn(value.shape, generator=generator), alpha=0.02)
    return stack


def module_of(network: Network, shape: Shape, stack: Stack, k: int) -> nn.Module:
    """Member ``k`` as the plain module."""
    module = network.build(shape, CLASSES).to_empty(device="cpu").double()
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            value.copy_((stack.params | stack.buffers)[name][k])
    return module


# --- parity ------------------------------------------------------------------------------------


@cache
def filled(shape: tuple[int, ...], index: int, norm: bool, rule: str) -> Array:
    """Parameter ``index`` by the rules a and b of the golden data's README, section 4."""
    fan_in = math.prod(shape[1:])
    j = np.arange(math.prod(shape))
    if rule == "a":
        return (0.1 * np.sin(0.37 * index + 0.11 * j) / math.sqrt(fan_in)).reshape(shape)
    c = (2 * uniform(index, len(j)) - 1).reshape(shape)
    if len(shape) > 1:
        return math.sqrt(6 / fan_in) * c
    return 1 + 0.2 * c if norm else 0.2 * c


def uniform(i: int, count: int) -> Array:
    j = np.arange(count, dtype=np.uint64)
    return (2654435761 * j + np.uint64(40503 * i + 1)) % 2**32 / 2**32


def fill(module: nn.Module, rule: str) -> dict[str, Tensor]:
    """Parameters and running statistics of the structure ``module`` by one rule, float64."""
    state = {name: torch.zeros(b.shape, dtype=b.dtype) for name, b in module.named_buffers()}
    norms = [name for name, layer in module.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    for index, (name, value) in enumerate(module.named_parameters()):
        scale = name.removesuffix(".weight") in norms
        state[name] = tensor(filled(tuple(value.shape), index, scale, rule))
    for k, name in enumerate(norms):
        count = len(state[f"{name}.running_mean"])
        mean, var = 0.2 * (2 * uniform(1000 + k, count) - 1), 0.5 + uniform(2000 + k, count)
        state[f"{name}.running_mean"] = tensor(mean if rule == "b" else np.zeros(count))
        state[f"{name}.running_var"] = tensor(var if rule == "b" else np.ones(count))
    return state


@pytest.mark.golden
def test_golden_small_resnet_is_the_decoupled_methods_one(golden: Callable[[str], Golden]) -> None:
    data = golden("decoupled/networks.npz")
    sizes = sorted({key.split("/")[0] for key in data.files if "RDED_ResNet18_modified" in key})
    assert sizes
    for size in sizes:
        prefix, x = f"{size}/RDED_ResNet18_modified", tensor(data[f"{size}/input"])
        network, shape = networks.resolve(SMALL_RESNET), (x.shape[1], x.shape[2], x.shape[3])
        classes = int(data[f"{size}/num_classes"])
        module = network.build(shape, classes)
        wanted = [tuple(int(n) for n in row if n) for row in data[f"{prefix}/param_shapes"]]
        assert [tuple(value.shape) for value in module.parameters()] == wanted
        assert network.parameter_count(shape, classes) == int(data[f"{prefix}/param_count"])
        members = [fill(module, rule) for rule in "ab"]
        state = {name: torch.stack([m[name] for m in members]) for name in members[0]}
        for dtype, close in (
            (torch.float64, [Tolerance(1e-9, 1e-12), Tolerance(1e-9, 1e-10)]),
            (torch.float32, [Tolerance(1e-5, 1e-7), Tolerance(1e-5, 2e-5)]),
        ):
            cast = {n: v.to(dtype) if v.is_floating_point() else v for n, v in state.items()}
            with torch.no_grad():
                out = from_state(network, shape, classes, cast)(x.to(dtype)[:, None], train=False)
            for k, rule in enumerate("ab"):
                close[k].check(out.logits[:, k], data[f"{prefix}/output_{rule}"], f"{size} {rule}")


# --- stacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "shape", "batch", "members"),
    [
        (SMALL_RESNET, (3, 12, 12), 3, 2),
        (NOISY, (3, 48, 48), 3, 2),
        ("torchvision:shufflenet_v2_x0_5", (1, 64, 64), 3, 3),
        (SMALL_VIT, (1, 28, 28), 2, 3),
        (SMALL_SWIN, (3, 16, 16), 2, 2),
        ("timm:convnext_atto", (3, 32, 32), 2, 2),
        ({"name": "timm:efficientnet_b0", "image_size": 64}, (3, 20, 24), 3, 2),
        ("timm:ghostnet_050", (3, 64, 64), 3, 3),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else str(value),
)
def test_a_step_of_a_stack_is_a_step_of_each_module(
    fields: object, shape: Shape, batch: int, members: int
) -> None:
    network = networks.resolve(fields)
    stack, x = stack_of(network, shape, members), images(batch, members, shape)
    modules = [module_of(network, shape, stack, k).train() for k in range(members)]
    x.requires_grad_()
    out = stack(x, layer=1, train=True)
    assert out.feature is not None
    assert out.feature.shape == (batch, members, *stack.feature_shapes[0])
    parameters = list(stack.params.values())
    losses = out.logits.square().mean((0, 2))
    *gradients, of_x = torch.autograd.grad(losses.sum(), [*parameters, x])
    for k, module in enumerate(modules):
        sgd = torch.optim.SGD(module.parameters(), lr=0.1)
        own_x = x.detach()[:, k].requires_grad_()
        logits = module(own_x)
        torch.testing.assert_close(out.logits[:, k], logits, rtol=1e-9, atol=1e-10)
        logits.square().mean().backward()
        assert own_x.grad is not None
        torch.testing.assert_close(of_x[:, k], own_x.grad, rtol=1e-7, atol=1e-10)
        sgd.step()
        for parameter, old, gradient in zip(
            module.parameters(), parameters, gradients, strict=True
        ):
            step = old.detach()[k] - 0.1 * gradient[k]
            torch.testing.assert_close(step, parameter.detach(), rtol=1e-7, atol=1e-9)
        for name, buffer in module.named_buffers():
            torch.testing.assert_close(stack.buffers[name][k], buffer, rtol=1e-9, atol=1e-11)
    check_evaluation(network, shape, stack, x.detach())


def check_evaluation(network: Network, shape: Shape, stack: Stack, x: Tensor) -> None:
    """In eval mode: equal to the modules, the same for shared images, without a trace."""
    before = {name: value.clone() for name, value in stack.buffers.items()}
    last = stack.size - 1
    with torch.no_grad():
        shared = stack(x[:, :1], train=False).logits
        own = stack(x[:, :1].expand(x.shape[0], stack.size, *shape), train=False).logits
        wanted = module_of(network, shape, stack, last).eval()(x[:, 0])
    torch.testing.assert_close(shared, own, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(shared[:, last], wanted, rtol=1e-9, atol=1e-10)
    for name, value in before.items():
        assert torch.equal(stack.buffers[name], value), name


def test_members_run_one_by_one_give_the_same_numbers() -> None:
    network, shape = networks.resolve("timm:ghostnet_050"), (3, 64, 64)
    at_once, one_by_one = (stack_of(network, shape, 3) for _ in range(2))
    assert isinstance(one_by_one.module, LibraryBackbone)
    one_by_one.module.encoder.one_by_one = True
    x = images(3, 1, shape)
    for train in (True, False):
        found, wanted = (stack(x, train=train).logits for stack in (one_by_one, at_once))
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)
    for name, value in at_once.buffers.items():
        torch.testing.assert_close(one_by_one.buffers[name], value, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("fields", [SMALL_VIT, "timm:test_resnet"], ids=str)
def test_second_derivatives_pass_through_a_stack(fields: object) -> None:
    network, shape = networks.resolve(fields), (3, 16, 16)
    stack, x = stack_of(network, shape, 2), images(2, 2, shape).requires_grad_()

    def of_norm(logits: Tensor, parameters: list[Tensor], x: Tensor) -> Tensor:
        """d |dL/dw|^2 / dx, what gradient matching needs."""
        first = torch.autograd.grad(logits.square().sum(), parameters, create_graph=True)
        (second,) = torch.autograd.grad(sum((g.square().sum() for g in first), x.new_zeros(())), x)
        return second

    together = of_norm(stack(x).logits, list(stack.params.values()), x)
    for k in range(2):
        module, own = module_of(network, shape, stack, k).train(), x.detach()[:, k].requires_grad_()
        alone = of_norm(module(own), list(module.parameters()), own)
        torch.testing.assert_close(together[:, k], alone, rtol=1e-7, atol=1e-9)


def test_a_layer_without_a_rule_is_known_by_name_and_by_trial() -> None:
    for name, forbidden in (("sequencer2d_s", True), ("test_vit", False), ("test_resnet", False)):
        network = networks.resolve(f"timm:{name}")
        module = network.build((3, 28, 28) if forbidden else (3, 160, 160), CLASSES)
        assert isinstance(module, LibraryBackbone)
        assert module.encoder.one_by_one is forbidden is (network.sequential is not None)


def test_numbers_survive_a_file(tmp_path: Path) -> None:
    network, shape = networks.resolve("timm:test_vit_relpos"), (3, 160, 160)
    stack = create(network, shape, CLASSES, generators(2))
    assert any(not value.is_floating_point() for value in stack.buffers.values())
    numbers = {n: v.detach().contiguous() for n, v in (stack.params | stack.buffers).items()}
    save_file(numbers, tmp_path / "stack.safetensors")
    again = from_state(network, shape, CLASSES, load_file(tmp_path / "stack.safetensors"))
    x = images(2, 1, shape).float()
    assert torch.equal(stack(x, train=False).logits, again(x, train=False).logits)
    assert torch.equal(stack(x).logits, again(x).logits)  # the noise too


# --- initialisation ----------------------------------------------------------------------------


def test_the_library_initialises() -> None:
    before = torch.get_rng_state()
    stack = create(networks.resolve("torchvision:resnet18"), (3, 32, 32), CLASSES, generators(1, 3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(3)
    wanted = torchvision.models.resnet18(weights=None, num_classes=CLASSES)
    torch.set_rng_state(before)
    for mine, theirs in zip(stack.params.values(), wanted.parameters(), strict=True):
        assert torch.equal(mine[0], theirs)
    for mine, theirs in zip(stack.buffers.values(), wanted.buffers(), strict=True):
        assert torch.equal(mine[0], theirs)


@pytest.mark.parametrize("fields", [NOISY, SMALL_VIT], ids=str)
def test_members_start_alike_in_every_stack(fields: object) -> None:
    network, shape = networks.resolve(fields), (3, 32, 32)
    three = create(network, shape, CLASSES, generators(3))
    alone = create(network, shape, CLASSES, generators(1, first=2))
    for part, other in ((three.params, alone.params), (three.buffers, alone.buffers)):
        for name, value in other.items():
            assert torch.equal(part[name][2], value[0]), name
    drawn = [name for name, value in three.params.items() if value[0].detach().std() > 0]
    assert drawn and all(not torch.equal(*three.params[name][:2]) for name in drawn)


# --- noise -------------------------------------------------------------------------------------


def test_noise_does_not_depend_on_the_stack() -> None:
    network, shape = networks.resolve("torchvision:efficientnet_b0"), (3, 32, 32)
    three = in_double(create(network, shape, CLASSES, generators(3)))
    alone = in_double(create(network, shape, CLASSES, generators(1, first=2)))
    x = images(4, 1, shape)
    seen = []
    with torch.no_grad():
        for _ in range(2):
            mine, theirs = (stack(x, layer=1).feature for stack in (three, alone))
            assert mine is not None and theirs is not None
            torch.testing.assert_close(mine[:, 2], theirs[:, 0], rtol=1e-9, atol=1e-10)
            seen.append(mine.flatten(2) == 0)
    always = seen[0] & seen[1]
    assert not torch.equal(seen[0], seen[1]), "the second step has the first one's noise"
    assert not torch.equal(seen[0][:, 0], seen[0][:, 1]), "two members have the same noise"
    for dropped, rate in ((seen[0], 0.2), (seen[1], 0.2), (always, 0.04)):
        assert dropped.double().mean().item() == pytest.approx(rate, abs=0.02)


@pytest.mark.parametrize(("axes", "draws"), [(None, 16 * 4 * 25), (2, 16 * 4), (1, 16), (0, 1)])
def test_noise_has_the_law_of_dropout(axes: int | None, draws: int) -> None:
    torch.manual_seed(0)
    noise, x, kept = Noise(0.25, axes), torch.full((16, 4, 25), 0.75), []
    for _ in range(4_000 // draws + 2):
        out = noise(x)
        assert set(out.unique().tolist()) <= {0.0, 1.0}
        own = out.flatten(axes or 0) if axes is not None else out.flatten()
        assert axes is None or bool((own == own[..., :1]).all())
        kept.append((own[..., 0] if axes is not None else own).flatten() > 0)
    all_kept = torch.cat(kept).double()
    assert all_kept.mean().item() == pytest.approx(0.75, abs=4 * (0.19 / len(all_kept)) ** 0.5)
    centred = all_kept - all_kept.mean()
    for lag in (1, 2, 4, 25, 100):
        between = (centred[lag:] * centred[:-lag]).mean() / centred.square().mean()
        assert abs(between.item()) < 4 * len(all_kept) ** -0.5
    assert torch.equal(noise.eval()(x), x)
    assert int(noise.get_buffer("step")) == len(kept)


def test_noise_without_scaling_and_from_a_copy() -> None:
    torch.manual_seed(1)
    noise, x = Noise(0.5, 1, scale=False), torch.full((40, 3), 2.0)
    again = copy.deepcopy(noise)
    first = noise(x)
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(first, again(x))
    assert not torch.equal(noise(x), first)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("torchvision:mobilenet_v2", {(0.2, None)}),
        ("torchvision:resnet18", set()),
        ("torchvision:alexnet", {(0.5, None)}),
        ("timm:rexnet_100", {(0.2, None)}),
        ("timm:ghostnet_050", {(0.2, None)}),
    ],
)
def test_noise_stays_as_the_library_sets_it(name: str, found: set[object]) -> None:
    layers = [m for m in built(name, (3, 64, 64)).modules() if isinstance(m, Noise)]
    assert {(layer.p, layer.axes) for layer in layers} == found


def test_stochastic_depth_is_per_image_and_grows_with_depth() -> None:
    layers = [m for m in built(SMALL_SWIN, (3, 16, 16)).modules() if isinstance(m, Noise)]
    rates = [layer.p for layer in layers]
    assert {layer.axes for layer in layers} == {1} and rates == sorted(rates)
    assert max(rates) == pytest.approx(0.1)


# --- stems -------------------------------------------------------------------------------------


def stem_of(fields: object, shape: Shape) -> tuple[int, int, int]:
    """Kernel and stride of the first convolution, and how many max pools there are."""
    net = built(fields, shape)
    conv = next(layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    pools = sum(isinstance(layer, nn.MaxPool2d) for layer in net.modules())
    assert conv.in_channels == shape[0]
    return conv.kernel_size[0], conv.stride[0], pools


@pytest.mark.parametrize(
    ("name", "original", "small"),
    [
        ("torchvision:resnet18", (7, 2, 1), (3, 1, 0)),
        ("torchvision:mobilenet_v2", (3, 2, 0), (3, 1, 0)),
        ("torchvision:shufflenet_v2_x0_5", (3, 2, 1), (3, 1, 0)),
        ("torchvision:densenet121", (7, 2, 1), (3, 1, 0)),
        ("torchvision:googlenet", (7, 2, 13), (3, 1, 12)),
        ("torchvision:convnext_tiny", (4, 4, 0), (1, 1, 0)),
        ("torchvision:vit_b_16", (16, 16, 0), (4, 4, 0)),
        ("torchvision:swin_t", (4, 4, 0), (1, 1, 0)),
        ("timm:resnet18", (7, 2, 1), (3, 1, 0)),
        ("timm:test_resnet", (3, 2, 1), (3, 1, 0)),
        ("timm:test_efficientnet", (3, 2, 0), (3, 1, 0)),
        ("timm:test_vit", (16, 16, 0), (4, 4, 0)),
        ("timm:test_convnext", (4, 4, 0), (1, 1, 0)),
    ],
)
def test_stems(name: str, original: tuple[int, ...], small: tuple[int, ...]) -> None:
    shape = (1, 32, 32)
    assert stem_of(name, shape) == original
    assert stem_of({"name": name, "stem": "small"}, shape) == small


@pytest.mark.parametrize(
    "name", ["torchvision:vit_b_16", "torchvision:convnext_tiny", "timm:deit_tiny_patch16_224",
             "timm:convnext_atto"],
)  # fmt: skip
def test_patches(name: str) -> None:
    assert stem_of({"name": name, "patch_size": 2}, (3, 16, 16)) == (2, 2, 0)
    assert networks.resolve({"name": name, "patch_size": 2}).feature_shapes((3, 32, 32))


def test_resized_images_are_those_of_the_field() -> None:
    network, shape = networks.resolve({"name": "timm:test_vit", "image_size": 48}), (3, 20, 30)
    stack, x = stack_of(network, shape, 2), images(2, 1, shape)
    own = networks.resolve("timm:test_vit")
    larger = nn.functional.interpolate(x[:, 0], size=(48, 48), mode="bilinear")
    state = {
        name.replace("blocks.0.1.", "blocks.0."): value.detach()
        for name, value in (stack.params | stack.buffers).items()
    }
    wanted = from_state(own, (3, 48, 48), CLASSES, state)(larger[:, None], train=False).logits
    torch.testing.assert_close(stack(x, train=False).logits, wanted, rtol=1e-9, atol=1e-10)


# --- sizes and names ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("torchvision:resnet18", 11_689_512),
        ("torchvision:mobilenet_v2", 3_504_872),
        ("torchvision:vit_b_16", 86_567_656),
        ("timm:deit_tiny_patch16_224", 5_717_416),
        ("timm:swin_tiny_patch4_window7_224", 28_288_354),
    ],
)
def test_as_made_the_networks_have_their_published_sizes(name: str, count: int) -> None:
    network, shape = networks.resolve(name), (3, 224, 224)
    assert network.parameter_count(shape, 1000) == count
    assert sum(p.numel() for p in network.build(shape, 1000).parameters()) == count


def test_activations_are_counted_per_image() -> None:
    network = networks.resolve(SMALL_RESNET)
    small, large = (network.activation_floats((3, side, side)) for side in (16, 32))
    assert 3.5 < large / small < 4.5
    outputs = sum(5 * 64 * 32 * 32 // 2**stage for stage in range(4))  # of 20 convolutions
    assert 1.5 * outputs < large < 2.5 * outputs  # what enters them and what enters the norms


@pytest.mark.parametrize(
    ("fields", "label", "batch_norm"),
    [
        ("torchvision:resnet18", "torchvision:resnet18", True),
        (SMALL_RESNET, "torchvision:resnet18-small", True),
        ({"name": "torchvision:vit_b_16", "patch_size": 4}, "torchvision:vit_b_16-P4", False),
        ("timm:test_efficientnet", "timm:test_efficientnet", True),
        ({"name": "timm:test_vit", "image_size": 64}, "timm:test_vit-64px", False),
        (SMALL_SWIN, "timm:swin_tiny_patch4_window7_224-P2-window4", False),
    ],
    ids=str,
)
def test_labels_and_batch_norm(fields: object, label: str, batch_norm: bool) -> None:
    network = networks.resolve(fields)
    assert (network.label, network.batch_norm) == (label, batch_norm)
    assert networks.resolve(network.model_dump()).identity() == network.identity()


def test_two_stems_are_two_networks() -> None:
    small, original = networks.resolve(SMALL_RESNET), networks.resolve("torchvision:resnet18")
    assert small.identity() != original.identity()
    assert networks.resolve({"name": "torchvision:resnet18", "stem": "original"}) == original


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ("torchvision:vit_b_16", (3, 32, 32)),
        (SMALL_RESNET, (1, 28, 28)),
        ({"name": "timm:deit_tiny_patch16_224", "patch_size": 7}, (1, 28, 28)),
        ({"name": "timm:vit_tiny_patch16_224", "stem": "small"}, (1, 28, 28)),
        (SMALL_SWIN, (3, 16, 16)),
        ({"name": "timm:vit_small_patch14_dinov2", "image_size": 112}, (3, 28, 28)),
    ],
    ids=str,
)
def test_a_toy_takes_the_images_of_its_network(fields: object, shape: Shape) -> None:
    network = networks.resolve(fields)
    toy = network.narrow()
    assert toy.parameter_count(shape, 2) < 500_000
    assert toy.narrow() == toy


# --- work --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        (SMALL_RESNET, (1, 28, 28)),
        (SMALL_VIT, (3, 32, 32)),
        (SMALL_SWIN, (3, 16, 16)),
        (NOISY, (3, 48, 64)),
        ({"name": "timm:efficientnet_b0", "image_size": 64}, (3, 20, 24)),
    ],
    ids=str,
)
def test_multiply_adds_are_those_of_the_module(fields: object, shape: Shape) -> None:
    network = networks.resolve(fields)
    module = network.build(shape, CLASSES).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(1, *shape, device="meta"))
    assert network.multiply_adds(shape, CLASSES) == counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("name", "billions"), [("resnet18", 1.814), ("mobilenet_v2", 0.301), ("vit_b_16", 17.564)]
)
def test_multiply_adds_are_those_that_torchvision_documents(name: str, billions: float) -> None:
    found = networks.resolve(f"torchvision:{name}").multiply_adds((3, 224, 224), 1000)
    assert found / 1e9 == pytest.approx(billions, rel=0.01)


def test_a_classifier_without_bias_keeps_its_form() -> None:
    network, shape = networks.resolve("torchvision:maxvit_t"), (3, 224, 224)
    classifier = network.build(shape, CLASSES).classifier
    assert classifier.weight.shape == (CLASSES, 512) and classifier.bias is None
    two, three = (network.parameter_count(shape, classes) for classes in (2, 3))
    assert three - two == 512


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ("torchvision:resnet19", "name", "unknown architecture of torchvision 'resnet19'; did you"),
        ("timm:diet_tiny_patch16_224", "name", "did you mean 'deit_tiny_patch16_224'"),
        ("timm:resnet18.a1_in1k", "name", "did you mean 'resnet18'"),
        ("timm:", "name", "unknown architecture of timm"),
        ("torchvision:squeezenet1_0", None, "no linear classifier"),
        ("timm:deit_tiny_distilled_patch16_224", None, "no classifier or several"),
        ("timm:resnetv2_50", None, "classifier is a Conv2d"),
        ({"name": "torchvision:resnet18", "patch_size": 2}, "patch_size", "does not cut patches"),
        ({"name": "timm:resnet18", "patch_size": 2}, "patch_size", "a fixed one or none"),
        ({"name": "timm:test_vit", "window_size": 2}, "window_size", "a fixed one or none"),
        ({"name": "torchvision:vit_b_16", "patch_size": 2, "stem": "small"}, "patch_size", "sets"),
        ({"name": "timm:test_vit", "patch_size": 2, "stem": "small"}, "patch_size", "sets"),
        ({"name": "torchvision:vgg11", "stem": "small"}, "stem", "stride 1 already"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_name(fields: object, field: str | None, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        networks.resolve(fields).feature_shapes((3, 32, 32))
    assert says in caught.value.problem and caught.value.field == field


def test_an_unknown_name_is_refused_by_every_question() -> None:
    network = networks.resolve("timm:resnet19")
    for question in (lambda: network.batch_norm, lambda: network.build((3, 32, 32), 2)):
        with pytest.raises(BadInput, match="unknown architecture"):
            question()


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    timm_models._names.cache_clear()
    with pytest.raises(BadInput, match="needs the package timm"):
        networks.resolve("timm:test_vit").feature_shapes((3, 17, 17))


@pytest.mark.parametrize(
    ("name", "shape", "allowed"),
    [
        ("torchvision:inception_v3", (3, 32, 32), "stem: small, image_size: 299"),
        ("timm:test_vit", (1, 28, 28), "stem: small, image_size: 160"),
        ("torchvision:alexnet", (3, 32, 32), "stem: small, image_size: 224"),
    ],
)
def test_images_that_do_not_fit_are_refused_with_what_would(
    name: str, shape: Shape, allowed: str
) -> None:
    with pytest.raises(BadInput, match="cannot take images of") as caught:
        networks.resolve(name).feature_shapes(shape)
    assert caught.value.allowed == allowed


@pytest.mark.parametrize("field", ["image_size", "patch_size"])
def test_sizes_are_positive(field: str) -> None:
    with pytest.raises(BadInput) as caught:
        networks.resolve({"name": "timm:test_vit", field: 0})
    assert caught.value.field == field


# --- listing -----------------------------------------------------------------------------------


def test_listing_says_how_stacks_are_trained_and_imports_no_library() -> None:
    script = (
        "import sys; from ddbench.cli.list_ import _networks; lines = _networks();"
        "print(*(f'{name}|{text}' for name, text in lines.items()), sep='\\n');"
        "sys.exit(bool({'torch', 'timm', 'torchvision', 'numpy'} & set(sys.modules)))"
    )
    listed = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    lines = dict(line.split("|") for line in listed.splitlines())
    assert set(lines) == set(networks.names())
    for name, text in lines.items():
        reason = networks.resolve(name).sequential
        assert text.endswith(f"one by one: {reason}" if reason else "trained in stacks"), name
    assert "LSTM" in lines["timm:sequencer2d_s"]


@pytest.mark.parametrize("name", [n for n in networks.names() if n.startswith(("timm:", "torchv"))])
def test_examples_exist(name: str) -> None:
    network = library(name)
    assert network.architecture in network.known()
    assert network.narrow().architecture in network.known()
