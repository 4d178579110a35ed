"""The common form of every architecture as a torch module."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


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
