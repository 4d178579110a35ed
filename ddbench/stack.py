"""K networks of one architecture, run and trained at once.

Activations are [B, K, C, H, W]: samples first, then the network. Layers act on the merged axis
[B, K*C, H, W]: a convolution becomes one with K groups, group normalisation one with K times the
groups, batch normalisation is per channel anyway. K = 1 is the same code, and an input that all
networks share ([B, 1, C, H, W], the test set) is convolved once with all first-layer filters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from ddbench.networks import Network, Shape
from ddbench.networks._backbone import Backbone, Composite
from ddbench.networks._opaque import Opaque


class Output(NamedTuple):
    """Logits [B, K, classes] and the asked-for map [B, K, c, h, w] of the same forward pass."""

    logits: Tensor
    feature: Tensor | None


@dataclass(frozen=True)
class Stack:
    """K networks: a shared structure and their numbers with the network as leading axis.

    Attributes:
        module: the structure, on the meta device.
        feature_shapes: the map [c, h, w] behind each block.
        params: name to float [K, ...], in the module's ``parameters()`` order.
        buffers: name to [K, ...] (running statistics); updated in place by a training forward.
    """

    module: Backbone
    feature_shapes: tuple[Shape, ...]
    params: dict[str, Tensor]
    buffers: dict[str, Tensor]

    @property
    def size(self) -> int:
        """K."""
        return len(next(iter(self.params.values())))

    def __call__(self, x: Tensor, *, layer: int | None = None, train: bool = True) -> Output:
        """One forward pass of x [B, K or 1, C, H, W]; ``layer`` (1-based) also returns that map."""
        feature, h = None, x
        for index, block in enumerate(self.module.blocks, start=1):
            h = self._run(block, f"blocks.{index - 1}", h, train)
            if index == layer:
                feature = h
        return Output(self._classify(h), feature)

    def head(self, feature: Tensor, layer: int) -> Tensor:
        """Logits [B, K, classes] of the rest of the network behind block ``layer``.

        ``feature`` is a map [B, K, c, h, w] as that block would give it.
        """
        h = feature
        for index, block in enumerate(self.module.blocks, start=1):
            if index > layer:
                h = self._run(block, f"blocks.{index - 1}", h, train=False)
        return self._classify(h)

    def _classify(self, h: Tensor) -> Tensor:
        return self._run(self.module.classifier, "classifier", h.flatten(2), train=False)

    def _run(self, module: nn.Module, name: str, h: Tensor, train: bool) -> Tensor:
        if isinstance(module, nn.Sequential):
            for key, child in module.named_children():
                h = self._run(child, f"{name}.{key}", h, train)
            return h
        if isinstance(module, Composite):
            return module.combine(
                lambda key, x: self._run(module.get_submodule(key), f"{name}.{key}", x, train), h
            )
        if isinstance(module, Opaque):
            return self._opaque(module, name, h, train)
        return self._layer(module, name, h, train)

    def _opaque(self, module: Opaque, name: str, h: Tensor, train: bool) -> Tensor:
        start = f"{name}."
        params, buffers = (
            {key.removeprefix(start): value for key, value in part.items() if key.startswith(start)}
            for part in (self.params, self.buffers)
        )
        return module.run(params, buffers, h, train=train)

    def _layer(self, module: nn.Module, name: str, h: Tensor, train: bool) -> Tensor:
        weight, bias = self.params.get(f"{name}.weight"), self.params.get(f"{name}.bias")
        if isinstance(module, nn.Linear):
            return _linear(h, _known(weight), bias)
        if isinstance(module, nn.Conv2d):
            return _convolve(module, h, _known(weight), bias)
        if isinstance(module, nn.BatchNorm2d):
            return self._batch_norm(module, name, h, train)
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            return _normalise(module, h, _known(weight), _known(bias))
        merged: Tensor = module(h.flatten(0, 1))  # no parameters: every map on its own
        return merged.unflatten(0, h.shape[:2])

    def _batch_norm(self, module: nn.BatchNorm2d, name: str, h: Tensor, train: bool) -> Tensor:
        mean, var = self.buffers[f"{name}.running_mean"], self.buffers[f"{name}.running_var"]
        if train:
            self.buffers[f"{name}.num_batches_tracked"].add_(1)
        out = fn.batch_norm(
            self._each(h).flatten(1, 2), mean.view(-1), var.view(-1),
            self.params[f"{name}.weight"].flatten(), self.params[f"{name}.bias"].flatten(),
            training=train, momentum=module.momentum or 0.0, eps=module.eps,
        )  # fmt: skip
        return out.unflatten(1, (self.size, -1))

    def _each(self, h: Tensor) -> Tensor:
        """h with the network axis written out."""
        return h.expand(-1, self.size, *h.shape[2:])

    def replicated(self, copies: int) -> Stack:
        """A single network as a stack of ``copies`` that share nothing: gradients stay apart."""
        params = {name: _copies(value, copies) for name, value in self.params.items()}
        buffers = {name: _copies(value, copies) for name, value in self.buffers.items()}
        return replace(self, params=params, buffers=buffers)

    def detached(self) -> Stack:
        """The same numbers outside the graph."""
        return replace(self, params={n: p.detach() for n, p in self.params.items()})

    def require_grad(self) -> Stack:
        """The same stack with parameters that are fresh leaves of the graph."""
        params = {n: p.detach().requires_grad_() for n, p in self.params.items()}
        return replace(self, params=params)

    @property
    def has_statistics(self) -> bool:
        """Whether training passes update running statistics (batch normalisation)."""
        return any(name.endswith("running_var") for name in self.buffers)

    @property
    def encoder(self) -> list[str]:
        """Names of all parameters but the classifier's."""
        return [name for name in self.params if not name.startswith("classifier.")]


def create(
    network: Network, shape: Shape, classes: int, generators: Sequence[torch.Generator]
) -> Stack:
    """Freshly initialised networks, one per generator, as the architecture says."""
    module = network.build(shape, classes)
    members = [network.initial_state(module, generator) for generator in generators]
    params, buffers = (
        {name: torch.stack([member[name] for member in members]) for name, _ in named}
        for named in (module.named_parameters(), module.named_buffers())
    )
    shapes = tuple(network.feature_shapes(shape))
    return Stack(module, shapes, params, buffers).require_grad()


def from_state(network: Network, shape: Shape, classes: int, state: Mapping[str, Tensor]) -> Stack:
    """A stack from stored numbers [K, ...]; raises ``KeyError`` if one is missing."""
    module = network.build(shape, classes)
    for name, like in [*module.named_parameters(), *module.named_buffers()]:
        if state[name].shape[1:] != like.shape:
            raise KeyError(f"{name} is {list(state[name].shape[1:])}, not {list(like.shape)}")
    params = {name: state[name] for name, _ in module.named_parameters()}
    buffers = {name: state[name].clone() for name, _ in module.named_buffers()}
    return Stack(module, tuple(network.feature_shapes(shape)), params, buffers)


def _known(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def _copies(value: Tensor, copies: int) -> Tensor:
    return value.detach().expand(copies, *value.shape[1:]).clone()


def _linear(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    h_KBF = h.transpose(0, 1).expand(len(weight), -1, -1)
    if bias is None:
        return torch.bmm(h_KBF, weight.mT).transpose(0, 1)
    return torch.baddbmm(bias[:, None], h_KBF, weight.mT).transpose(0, 1)


def _convolve(conv: nn.Conv2d, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    size = len(weight)
    if conv.groups > 1:
        h = h.expand(-1, size, *h.shape[2:])
    # 1 x where all networks see the same images: one convolution with every network's filters
    groups = h.shape[1] * conv.groups
    assert isinstance(conv.padding, tuple)
    out = fn.conv2d(
        h.flatten(1, 2), weight.flatten(0, 1), None if bias is None else bias.flatten(),
        stride=conv.stride, padding=conv.padding, dilation=conv.dilation, groups=groups,
    )  # fmt: skip
    return out.unflatten(1, (size, -1))


def _normalise(
    norm: nn.GroupNorm | nn.LayerNorm, h: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    size = len(weight)
    merged = h.expand(-1, size, *h.shape[2:]).flatten(1, 2)
    if isinstance(norm, nn.GroupNorm):
        out = fn.group_norm(
            merged, size * norm.num_groups, weight.flatten(), bias.flatten(), norm.eps
        )
        return out.unflatten(1, (size, -1))
    plain = fn.group_norm(merged, size, eps=norm.eps).unflatten(1, (size, -1))
    return torch.addcmul(bias, plain, weight)
