"""Distribution matching: synthetic images whose mean embedding is that of real ones.

For class c, real batch R_c, synthetic images S_c, one augmentation A of both, and the embedding phi
of a network that nobody trained (DM, Zhao & Bilen, WACV 2023, arXiv 2110.04181)

    sum_c | mean phi(A(R_c)) - mean phi(A(S_c)) |^2

summed over the embedding's dimensions, the real side constant. phi is the network's last map,
flattened: what its classifier is given. Axes: B images of a class, C classes, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.matching.classwise import Classwise, refilled
from ddbench.stack import Stack

if TYPE_CHECKING:
    from ddbench.synthetic import View


def embed(network: Stack, x: Tensor, *, train: bool = False) -> Tensor:
    """Embeddings [B, C, D] of images [B, C, ...] in one network (a stack of one)."""
    last = len(network.feature_shapes)
    maps = network(x.flatten(0, 1)[:, None], layer=last, train=train).feature
    assert maps is not None
    return maps.flatten(1).unflatten(0, x.shape[:2])


class DistributionMatching(Classwise):
    """One step against the embeddings of one network, for all classes.

    Memory: classes in chunks, and the images of a class that alone are too many in parts, so that
    ``engine.microbatch`` images have their activations held at once. Exact: in parts, the gradient
    of |m - mean phi|^2 is that of <2 (mean phi - m), mean phi> with the first factor constant,
    which takes one more forward pass.

    Batch normalisation looks across the batch. Such a network takes all classes at once in train
    mode, real and synthetic images each on their own (VICO-UoE/DatasetCondensation
    ``main_DM.py:166-187``), and nothing bounds its memory.
    """

    def step(self, network: Stack, iteration: int) -> Tensor:
        """Update the synthetic variables once; returns the loss, summed over classes."""
        frozen = network.detached()
        return self._task.variables.step(lambda view: self.losses(frozen, view, iteration))

    def losses(self, network: Stack, view: View, iteration: int) -> Iterator[Tensor]:
        """Parts of the loss that sum to it; each may be back-propagated before the next is made."""
        index, valid = self._task.real_batches(self._batch_real, view.purpose, iteration, 0)
        numbers = self._siamese_numbers(view.purpose, iteration, 0)
        if network.has_statistics:
            yield self._together(network, view, index, valid, numbers)
            return
        for classes in self._task.class_chunks():
            yield self._chunk(
                network, view, classes, index[:, classes], valid[:, classes],
                None if numbers is None else numbers[:, classes],
            )  # fmt: skip

    def _together(
        self, network: Stack, view: View, index: Tensor, valid: Tensor, numbers: Tensor | None
    ) -> Tensor:
        every = slice(0, len(self._task.classes))
        real = self._task.data.x_train[refilled(index, valid)]
        with torch.no_grad():
            embedded = embed(network, self._augmented(real, numbers), train=True)
            target = (embedded * _shares(valid, real)).sum(0)
        x = self._augmented(self._images(view, every), numbers)
        return (embed(network, x, train=True).mean(0) - target).square().sum()

    def _chunk(
        self,
        network: Stack,
        view: View,
        classes: slice,
        index: Tensor,
        valid: Tensor,
        numbers: Tensor | None,
    ) -> Tensor:
        """The loss of some classes: real rows int64 [B, C] with valid bool [B, C], scalar."""
        target = self._real_mean(network, index, valid, numbers)
        x = self._images(view, classes)
        parts = x.split(self._rows(x.shape[1]))
        if len(parts) == 1:
            mean = embed(network, self._augmented(x, numbers)).mean(0)
            return (mean - target).square().sum()
        with torch.no_grad():
            sums = [embed(network, self._augmented(part, numbers)).sum(0) for part in parts]
            gap = torch.stack(sums).sum(0) / len(x) - target
        gradients: list[Tensor] = []
        for part in parts:
            leaf = part.detach().requires_grad_()
            embedded = embed(network, self._augmented(leaf, numbers))
            value = (embedded.sum(0) * gap).sum() * (2 / len(x))
            gradients += torch.autograd.grad(value, leaf)
        return _with_gradient(gap.square().sum(), x, torch.cat(gradients))

    @torch.no_grad()
    def _real_mean(
        self, network: Stack, index: Tensor, valid: Tensor, numbers: Tensor | None
    ) -> Tensor:
        """Mean embedding [C, D] of the valid real images."""
        real, rows = self._task.data.x_train, self._rows(index.shape[1])
        shares = _shares(valid, real).split(rows)
        sums = [
            (embed(network, self._augmented(real[part], numbers)) * share).sum(0)
            for part, share in zip(index.split(rows), shares, strict=True)
        ]
        return torch.stack(sums).sum(0)

    def _images(self, view: View, classes: slice) -> Tensor:
        """The synthetic images [B, C, ...] of some classes."""
        labels = torch.arange(len(self._task.classes), device=view.x.device)[classes]
        return view.class_batch(classes, labels).x


def _shares(valid: Tensor, like: Tensor) -> Tensor:
    """Weights [B, C, 1] of a mean over the valid rows."""
    return (valid.to(like.dtype) / valid.sum(0))[..., None]


def _with_gradient(value: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
    """``value``, whose derivative by x is ``gradient``."""
    return value + ((x - x.detach()) * gradient).sum()
