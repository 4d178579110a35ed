"""The common form of every architecture as a torch module.

A module is written once and runs in two ways: alone, as the plain forward pass that stacks are
tested against, and inside a ``Stack`` of K networks, where a map is [B, K, C, H, W] instead of
[B, C, H, W]. Chains (``nn.Sequential``) and single layers need nothing for that; a block with
branches is a ``Composite``; a module of another library is ``Opaque``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor, nn

Run = Callable[[str, Tensor], Tensor]
"""Runs the child of a given name on a map."""


class Composite(nn.Module):
    """A block that is more than a chain of its children.

    ``combine`` puts the children together by their names; it counts axes from the end (channels
    are axis -3), so that the same lines serve one network and a stack.
    """

    @abstractmethod
    def combine(self, run: Run, x: Tensor) -> Tensor:
        """The block's output for the map ``x``."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, c, h, w] of one network."""
        return self.combine(lambda name, h: self.get_submodule(name)(h), x)


class Backbone(nn.Module):
    """A chain of blocks and a classifier on the flattened last map.

    The plain forward pass of one network is the oracle that stacks are tested against.
    ``parameters()`` come in the reference's order: block by block, then the classifier.
    """

    def __init__(self, blocks: Sequence[nn.Module], classifier: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.classifier = classifier

    def features(self, x: Tensor, layer: int) -> Tensor:
        """[B, C, H, W] to the map [B, c, h, w] that leaves block ``layer`` (1-based)."""
        out: Tensor = self.blocks[:layer](x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to logits [B, K]."""
        logits: Tensor = self.classifier(self.blocks(x).flatten(1))
        return logits
