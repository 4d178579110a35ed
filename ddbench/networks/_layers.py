"""Layers described without torch: their maps, their sizes, and the modules they stand for.

A description is a tree: single layers in a ``Chain``, branches in a ``Residual`` or ``TwoPaths``.
Counts are sums over the leaves of the tree that modules are built from, so that they cannot
disagree.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal

from ddbench.networks import Shape

if TYPE_CHECKING:
    from torch import nn

Normalisation = Literal["instance", "batch", "layer", "group"]
Norm = Literal["instance", "batch", "none"]

GROUPS = 4
"""Groups of channels of ``group`` normalisation."""


class TooSmall(Exception):
    """A layer would leave no pixel of its map."""


class Layer(ABC):
    """One node of a description; ``shape`` is always that of the map that enters it."""

    @abstractmethod
    def out(self, shape: Shape) -> Shape:
        """The map that leaves; raises ``TooSmall``."""

    @abstractmethod
    def module(self, shape: Shape) -> nn.Module:
        """The torch module."""

    @abstractmethod
    def leaves(self, shape: Shape) -> list[tuple[Single, Shape]]:
        """Every single layer in it with the map that enters that."""

    def kept(self, shape: Shape, held: bool) -> tuple[int, bool]:
        """Floats per image that the backward pass adds to memory, and whether the output is held.

        ``held`` says whether an earlier layer already keeps the map that enters. Most layers keep
        it and leave a new one.
        """
        return 0 if held else prod(shape), False


class Single(Layer):
    """A leaf of the tree."""

    def leaves(self, shape: Shape) -> list[tuple[Single, Shape]]:
        return [(self, shape)]

    def parameters(self, shape: Shape) -> int:
        """Trainable numbers."""
        return 0

    def multiply_adds(self, shape: Shape) -> int:
        """Those of its matrix products, for one image."""
        return 0


def _shrunk(shape: Shape, channels: int, kernel: int, stride: int, padding: int) -> Shape:
    h, w = ((side + 2 * padding - kernel) // stride + 1 for side in shape[1:])
    if min(h, w) < 1:
        raise TooSmall
    return channels, h, w


@dataclass(frozen=True)
class Conv(Single):
    """2-D convolution to ``channels``; ``depthwise``: one filter per channel."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    bias: bool = True
    depthwise: bool = False

    def out(self, shape: Shape) -> Shape:
        return _shrunk(shape, self.channels, self.kernel, self.stride, self.padding)

    def _filter(self, shape: Shape) -> int:
        """Weights of one output channel."""
        return (1 if self.depthwise else shape[0]) * self.kernel**2

    def parameters(self, shape: Shape) -> int:
        return self.channels * (self._filter(shape) + self.bias)

    def multiply_adds(self, shape: Shape) -> int:
        return prod(self.out(shape)) * self._filter(shape)

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        groups = shape[0] if self.depthwise else 1
        return nn.Conv2d(
            shape[0], self.channels, self.kernel, self.stride, self.padding,
            groups=groups, bias=self.bias,
        )  # fmt: skip


@dataclass(frozen=True)
class Normalise(Single):
    """Affine normalisation; ``instance`` is GroupNorm with one channel per group."""

    kind: Normalisation

    def out(self, shape: Shape) -> Shape:
        return shape

    def parameters(self, shape: Shape) -> int:
        return 2 * (prod(shape) if self.kind == "layer" else shape[0])

    def kept(self, shape: Shape, held: bool) -> tuple[int, bool]:
        # a stack scales each pixel by itself, for which it keeps the normalised map too
        scaled = prod(shape) if self.kind == "layer" else 0
        return scaled + (0 if held else prod(shape)), False

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        c = shape[0]
        if self.kind == "batch":
            return nn.BatchNorm2d(c)
        if self.kind == "layer":
            return nn.LayerNorm(list(shape))
        return nn.GroupNorm(c if self.kind == "instance" else GROUPS, c)


@dataclass(frozen=True)
class Rectify(Single):
    """ReLU in place, so never behind a layer whose output another one keeps.

    ``leak``: slope below 0.
    """

    leak: float = 0.0

    def out(self, shape: Shape) -> Shape:
        return shape

    def kept(self, shape: Shape, held: bool) -> tuple[int, bool]:
        assert not held, "rectified in place, but kept for the backward pass"
        return prod(shape), True

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.LeakyReLU(self.leak, inplace=True) if self.leak else nn.ReLU(inplace=True)


@dataclass(frozen=True)
class Smooth(Single):
    """A smooth activation; ``swish`` is x sigmoid(x)."""

    kind: Literal["sigmoid", "swish"]

    def out(self, shape: Shape) -> Shape:
        return shape

    def kept(self, shape: Shape, held: bool) -> tuple[int, bool]:
        if self.kind == "sigmoid":
            return prod(shape), True  # its derivative is one of the output
        return 0 if held else prod(shape), False

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.Sigmoid() if self.kind == "sigmoid" else nn.SiLU()


@dataclass(frozen=True)
class MaxPool(Single):
    """2x2 maxima, stride 2."""

    def out(self, shape: Shape) -> Shape:
        return _shrunk(shape, shape[0], 2, 2, 0)

    def kept(self, shape: Shape, held: bool) -> tuple[int, bool]:
        positions = 2 * prod(self.out(shape))  # int64
        return positions + (0 if held else prod(shape)), False

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.MaxPool2d(2)


@dataclass(frozen=True)
class AvgPool(Single):
    """Means of ``kernel`` x ``kernel`` pixels, every ``stride`` pixels."""

    kernel: int = 2
    stride: int = 2

    def out(self, shape: Shape) -> Shape:
        return _shrunk(shape, shape[0], self.kernel, self.stride, 0)

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.AvgPool2d(self.kernel, self.stride)


@dataclass(frozen=True)
class GlobalPool(Single):
    """The mean of each channel, as a map of one pixel."""

    def out(self, shape: Shape) -> Shape:
        return shape[0], 1, 1

    def kept(self, shape: Shape, held: bool) -> tuple[int, bool]:
        return 0, False  # the gradient of a mean needs no values

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.AdaptiveAvgPool2d(1)


@dataclass(frozen=True)
class Dense(Single):
    """Linear layer and ReLU on the flattened map, as a map of ``units`` channels of one pixel."""

    units: int

    def out(self, shape: Shape) -> Shape:
        return self.units, 1, 1

    def parameters(self, shape: Shape) -> int:
        return self.units * (prod(shape) + 1)

    def multiply_adds(self, shape: Shape) -> int:
        return self.units * prod(shape)

    def kept(self, shape: Shape, held: bool) -> tuple[int, bool]:
        return self.units + (0 if held else prod(shape)), True

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.Sequential(
            nn.Flatten(), nn.Linear(prod(shape), self.units), nn.ReLU(inplace=True),
            nn.Unflatten(1, (self.units, 1, 1)),
        )  # fmt: skip


@dataclass(frozen=True)
class Chain(Layer):
    """Layers one after the other; none is the identity."""

    layers: tuple[Layer, ...] = ()

    def shapes(self, shape: Shape) -> list[Shape]:
        """The map that leaves each layer."""
        found: list[Shape] = []
        for layer in self.layers:
            shape = layer.out(shape)
            found.append(shape)
        return found

    def out(self, shape: Shape) -> Shape:
        return [shape, *self.shapes(shape)][-1]

    def _entered(self, shape: Shape) -> list[tuple[Layer, Shape]]:
        """Each layer with the map that enters it."""
        return list(zip(self.layers, [shape, *self.shapes(shape)], strict=False))

    def leaves(self, shape: Shape) -> list[tuple[Single, Shape]]:
        return [leaf for layer, entering in self._entered(shape) for leaf in layer.leaves(entering)]

    def kept(self, shape: Shape, held: bool) -> tuple[int, bool]:
        total = 0
        for layer, entering in self._entered(shape):
            floats, held = layer.kept(entering, held)
            total += floats
        return total, held

    def modules(self, shape: Shape) -> list[nn.Module]:
        """The torch module of each layer."""
        return [layer.module(entering) for layer, entering in self._entered(shape)]

    def module(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.Sequential(*self.modules(shape))


@dataclass(frozen=True)
class Residual(Layer):
    """``after(body(x) + shortcut(x))``; parameters of the body come first."""

    body: Chain
    shortcut: Chain = Chain()
    after: Chain = Chain()

    def out(self, shape: Shape) -> Shape:
        return self.body.out(shape)

    def leaves(self, shape: Shape) -> list[tuple[Single, Shape]]:
        branches = self.body.leaves(shape) + self.shortcut.leaves(shape)
        return branches + self.after.leaves(self.out(shape))

    def kept(self, shape: Shape, held: bool) -> tuple[int, bool]:
        body, _ = self.body.kept(shape, held)
        shortcut, _ = self.shortcut.kept(shape, held=True)  # the body keeps what enters
        after, held = self.after.kept(self.out(shape), held=False)
        return body + shortcut + after, held

    def module(self, shape: Shape) -> nn.Module:
        from ddbench.networks import _composites

        return _composites.Residual(
            self.body.module(shape), self.shortcut.module(shape), self.after.module(self.out(shape))
        )


@dataclass(frozen=True)
class TwoPaths(Layer):
    """``left`` and ``right``, their channels interleaved; without ``left`` the input is halved.

    Then the first half of the channels passes unchanged (ShuffleNetV2's basic unit).
    """

    right: Chain
    left: Chain | None = None

    def _entering(self, shape: Shape) -> Shape:
        return shape if self.left is not None else (shape[0] // 2, *shape[1:])

    def out(self, shape: Shape) -> Shape:
        c, h, w = self.right.out(self._entering(shape))
        return 2 * c, h, w

    def leaves(self, shape: Shape) -> list[tuple[Single, Shape]]:
        left = [] if self.left is None else self.left.leaves(shape)
        return left + self.right.leaves(self._entering(shape))

    def kept(self, shape: Shape, held: bool) -> tuple[int, bool]:
        if self.left is None:  # a copy of the half that enters
            return self.right.kept(self._entering(shape), held=False)[0], False
        left, _ = self.left.kept(shape, held)
        return left + self.right.kept(shape, held=True)[0], False

    def module(self, shape: Shape) -> nn.Module:
        from ddbench.networks import _composites

        left = None if self.left is None else self.left.module(shape)
        return _composites.TwoPaths(left, self.right.module(self._entering(shape)))


def chain(*layers: Layer | None) -> Chain:
    """A chain of those that are there."""
    return Chain(tuple(layer for layer in layers if layer is not None))


def conv_norm(conv: Conv, norm: Norm | Normalisation, rectify: bool = True) -> tuple[Layer, ...]:
    """A convolution, its normalisation if any, and ReLU."""
    layers: list[Layer] = [conv]
    if norm != "none":
        layers.append(Normalise(norm))
    return (*layers, Rectify()) if rectify else tuple(layers)
