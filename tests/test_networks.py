"""Networks: shapes and counts, stacks as networks side by side, and what a name means."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from parity import in_double, module_of
from torch import Tensor, nn
from torch.nn import functional as fn

from ddbench import networks
from ddbench.errors import BadInput
from ddbench.matching.gradients import GradientMatching, class_gradients
from ddbench.networks import Network, Shape
from ddbench.networks._backbone import Backbone
from ddbench.networks.convnet import ConvNet
from ddbench.objective import Batch, SyntheticLoss
from ddbench.stack import Stack, create


def generators(count: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + k) for k in range(count)]


def images(count: int, shape: Shape, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(7), dtype=dtype)


# --- shapes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "wanted"),
    [
        ("ConvNetD3", (1, 28, 28), [16, 8, 4]),
        ("ConvNetD3", (3, 32, 32), [16, 8, 4]),
        ("ConvNetD4", (3, 64, 64), [32, 16, 8, 4]),
        ("ConvNetD3", (3, 64, 64), [32, 16, 8]),
        ("ConvNetD5", (3, 128, 128), [64, 32, 16, 8, 4]),
        ("ConvNetD2", (1, 8, 8), [4, 2]),
        ("ConvNetD3", (1, 32, 32), [16, 8, 4]),
    ],
)
def test_feature_shapes(name: str, shape: Shape, wanted: list[int]) -> None:
    network = networks.resolve(name)
    assert network.feature_shapes(shape) == [(128, side, side) for side in wanted]
    stack = create(network.narrow(), shape, 10, generators(1))
    for layer, side in enumerate(wanted, start=1):
        feature = stack(images(2, shape, torch.float32)[:, None], layer=layer).feature
        assert feature is not None and feature.shape == (2, 1, 8, side, side)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "count"),
    [
        ("ConvNetD3", (3, 32, 32), 10, 320_010),
        ("ConvNetD3", (1, 28, 28), 10, 317_706),
        ("ConvNetD3", (3, 32, 32), 100, 504_420),
        ("ConvNetD4", (3, 64, 64), 200, 857_160),
        ("ConvNetD5", (3, 128, 128), 10, 615_690),
        ("ConvNetW32", (3, 32, 32), 10, 24_714),
        ("ConvNetW256", (3, 32, 32), 10, 1_229_834),
    ],
)
def test_parameter_counts(name: str, shape: Shape, classes: int, count: int) -> None:
    network = networks.resolve(name)
    assert network.parameter_count(shape, classes) == count
    assert sum(p.numel() for p in network.build(shape, classes).parameters()) == count


@pytest.mark.parametrize("name", [n for n in networks.names() if ConvNet.accepts(n)])
def test_the_count_without_torch_is_that_of_the_module(name: str) -> None:
    network = networks.resolve(name)
    for shape in ((3, 64, 64), (1, 28, 28), (1, 64, 64), (4, 70, 66)):
        try:
            counted = network.parameter_count(shape, 7)
        except BadInput:
            with pytest.raises(BadInput):
                network.build(shape, 7)
            continue
        assert counted == sum(p.numel() for p in network.build(shape, 7).parameters())


def test_layers_below_one_and_above_the_depth_are_refused() -> None:
    network, shape = networks.resolve("ConvNetD3"), (3, 32, 32)
    assert network.layer_index("last", shape) == network.layer_index(3, shape) == 3
    for layer in (0, 4, -1):
        with pytest.raises(BadInput, match="no layer"):
            network.layer_index(layer, shape)


def test_images_too_small_for_the_depth_are_refused() -> None:
    with pytest.raises(BadInput, match="too small") as caught:
        networks.resolve("ConvNetD4").feature_shapes((1, 8, 8))
    assert caught.value.allowed == "16x16 and larger"


# --- stacks ------------------------------------------------------------------------------------


NORMS = ("instance", "batch", "layer", "group", "none")


def small(norm: str, **options: object) -> Network:
    fields = {"name": "ConvNet", "depth": 2, "width": 8, "norm": norm, **options}
    return networks.resolve(fields)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 16)], ids=str)
def test_a_stack_is_its_modules_side_by_side(norm: str, shape: Shape) -> None:
    network = small(norm, act="leakyrelu", pool="max")
    stack = in_double(create(network, shape, 5, generators(3)))
    x = torch.randn(4, 3, *shape, dtype=torch.float64)
    for train in (True, False):
        before = {name: value.clone() for name, value in stack.buffers.items()}
        out = stack(x, layer=1, train=train)
        for k in range(3):
            single = [value[k].detach().numpy() for value in stack.params.values()]
            module = module_of(single, network, shape).train(train)
            for name, buffer in module.named_buffers():
                buffer.copy_(before[name][k])
            torch.testing.assert_close(out.logits[:, k], module(x[:, k]), rtol=1e-10, atol=1e-12)
            for name, buffer in module.named_buffers():
                torch.testing.assert_close(stack.buffers[name][k], buffer, rtol=1e-10, atol=1e-12)
            module.eval()
            if not train:
                assert out.feature is not None
                torch.testing.assert_close(
                    out.feature[:, k], module.features(x[:, k], 1), rtol=1e-10, atol=1e-12
                )


@pytest.mark.parametrize("norm", NORMS)
def test_images_that_all_members_share_equal_copies_for_each(norm: str) -> None:
    shape = (3, 8, 8)
    stack = in_double(create(small(norm), shape, 4, generators(3)))
    x = images(5, shape)[:, None]
    shared = stack(x, train=False).logits
    copied = stack(x.expand(-1, 3, -1, -1, -1).contiguous(), train=False).logits
    torch.testing.assert_close(shared, copied, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", ["instance", "layer", "batch"])
def test_replicated_networks_give_every_class_its_own_gradient(norm: str) -> None:
    classes, shape = 3, (3, 8, 8)
    network = small(norm)
    single = in_double(create(network, shape, classes, generators(1)))
    x = torch.randn(4, classes, *shape, dtype=torch.float64)
    labels = torch.arange(classes)
    copies = single.replicated(classes).require_grad()
    names = list(copies.params)
    batch = Batch(x, labels.expand(4, -1))
    together = class_gradients(copies, names, SyntheticLoss(), [batch], differentiable=False)
    for label in range(classes):
        logits = single(x[:, label, None], train=False).logits[:, 0]
        loss = fn.cross_entropy(logits, labels[label].expand(4))
        alone = torch.autograd.grad(loss, list(single.params.values()))
        for mine, theirs in zip(together, alone, strict=True):
            torch.testing.assert_close(mine[label], theirs[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_a_classifier_with_or_without_bias(bias: bool) -> None:
    module = Backbone([nn.Identity()], nn.Linear(3 * 4 * 4, 5, bias=bias, dtype=torch.float64))
    named = module.named_parameters()
    params = {name: torch.randn(2, *p.shape, dtype=torch.float64) for name, p in named}
    x = torch.randn(6, 2, 3, 4, 4, dtype=torch.float64)
    logits = Stack(module, ((3, 4, 4),), params, {})(x).logits
    for k in range(2):
        module.load_state_dict({name: value[k] for name, value in params.items()})
        torch.testing.assert_close(logits[:, k], module(x[:, k]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["ConvNetD1", "ConvNetD1BN", "timm:test_resnet"])
def test_running_statistics_are_those_of_batch_norm(name: str) -> None:
    network = networks.resolve(name)
    stack = create(network, (3, 160, 160), 2, generators(1))
    assert stack.has_statistics == network.batch_norm


def test_matching_freezes_running_statistics_alone() -> None:
    """Other buffers, such as positions and steps of noise, need no pass over real images."""
    stack = create(small("instance"), (1, 8, 8), 2, generators(1))
    stack = replace(stack, buffers={"blocks.0.index": torch.arange(3)[None]})
    variables = SimpleNamespace(step=lambda losses: torch.ones(()))
    task: Any = SimpleNamespace(variables=variables)  # has no real images
    assert GradientMatching(task, "ours", 4).step(stack, 0, 0) == 1


def test_members_are_initialised_alike_in_every_stack() -> None:
    network = small("instance")
    three = create(network, (1, 8, 8), 10, generators(3))
    for k in range(3):
        alone = create(network, (1, 8, 8), 10, generators(1, first=k))
        for name, value in alone.params.items():
            assert torch.equal(three.params[name][k], value[0])


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ConvNet", "ConvNetD3"),
        ("ConvNet", "ConvNetW128"),
        ("ConvNet", {"name": "ConvNet", "norm": "instance", "act": "relu"}),
        ("ConvNetBN", {"name": "ConvNet", "norm": "batch"}),
        ("ConvNetD2", {"name": "ConvNet", "depth": 2}),
        ("ConvNetIN", "ConvNetAP"),
        ("ConvNetD4W64ASwishBNMP", {"name": "ConvNetD4", "width": 64, "act": "swish",
                                    "norm": "batch", "pool": "max"}),
    ],
)  # fmt: skip
def test_two_spellings_of_one_network_have_one_identity(one: object, other: object) -> None:
    assert networks.resolve(one).identity() == networks.resolve(other).identity()
    assert networks.resolve(one).label == networks.resolve(other).label


def test_listed_names_that_are_not_aliases_name_different_networks() -> None:
    aliases = {"ConvNetD3", "ConvNet", "ConvNetW128", "ConvNetAR", "ConvNetIN", "ConvNetAP"}
    found: dict[str, list[str]] = {}
    for name in (name for name in networks.names() if ConvNet.accepts(name)):
        found.setdefault(networks.resolve(name).label, []).append(name)
    assert {frozenset(names) for names in found.values() if len(names) > 1} == {frozenset(aliases)}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "ConvNetW32", "width": 64}, "width"),
        ({"name": "ConvNetD2", "depth": 3}, "depth"),
        ({"name": "ConvNetBN", "norm": "layer"}, "norm"),
        ({"name": "ConvNetASwish", "act": "relu"}, "act"),
        ({"name": "ConvNetNP", "pool": "avg"}, "pool"),
        ({"name": "ConvNet", "width": 6, "norm": "group"}, "width"),
        ({"name": "ConvNet", "depth": 9}, "depth"),
        ({"name": "ConvNet", "deep": 3}, "deep"),
    ],
)
def test_options_that_contradict_are_refused(fields: dict[str, object], field: str) -> None:
    with pytest.raises(BadInput) as caught:
        networks.resolve(fields)
    assert caught.value.field == field


def test_an_option_that_repeats_the_name_is_accepted() -> None:
    assert networks.resolve({"name": "ConvNetW32", "width": 32}).label == "ConvNetD3-W32"


@pytest.mark.parametrize("name", ["ConvNetD9", "ConvNetW0", "convnet", "ResNet", "ConvNetD3X", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="unknown network"):
        networks.resolve(name)
