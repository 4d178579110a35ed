"""Random numbers: one generator per purpose, derived from (seed, purpose, index).

Nothing reads the global generator or the clock. Because a stream is a function of its name alone,
a resumed run draws what the uninterrupted one would have drawn, and network k of a stack draws the
same numbers whatever the stack's size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Streams:
    """The random streams of one run: ``Streams(seed, device).generator("order", 3)``."""

    seed: int
    device: torch.device

    def generator(self, purpose: str, *index: int) -> torch.Generator:
        """A generator on the run's device for one purpose and index."""
        text = repr((self.seed, purpose, index))
        digest = hashlib.sha256(text.encode()).digest()
        return torch.Generator(self.device).manual_seed(int.from_bytes(digest[:7], "little"))

    def generators(
        self, purpose: str, members: Sequence[int], *index: int
    ) -> list[torch.Generator]:
        """One generator per member of a stack."""
        return [self.generator(purpose, member, *index) for member in members]


def uniforms(generators: Sequence[torch.Generator], *shape: int) -> Tensor:
    """U[0, 1) float32 [*shape, K]; column k comes from ``generators[k]`` alone."""
    columns = [torch.rand(shape, generator=g, device=g.device) for g in generators]
    return torch.stack(columns, dim=-1)
