"""Training a stack of networks on a set, and predicting with it.

A step never waits for the device: orders and augmentation numbers are drawn as tensors, losses stay
on the device, shapes are fixed. Member k of a stack draws from its own generators, so that it gets
the same initialisation, order and augmentation whatever the stack's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddbench import augment
from ddbench.augment import Augmentation
from ddbench.objective import Batch, Examples, SyntheticLoss
from ddbench.randomness import uniforms
from ddbench.stack import Stack

_BLOCK = 250_000  # numbers drawn at once for each network; does not depend on the stack


@dataclass(frozen=True)
class OptimizerSpec:
    """SGD as torch has it: v = momentum * v + g + weight_decay * p; p -= lr * v."""

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    def build(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """A fresh optimiser over stacked parameters."""
        return torch.optim.SGD(
            parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay,
            foreach=True,
        )  # fmt: skip


class Draws:
    """The random numbers of one training: an order per epoch, and augmentation's uniforms.

    Args:
        order: one generator per network, for the shuffles.
        extra: one generator per network, for augmentation and the choice of a feature set.
    """

    def __init__(self, order: Sequence[torch.Generator], extra: Sequence[torch.Generator]) -> None:
        self._order, self._extra = order, extra

    def orders(self, epochs: int, count: int) -> Iterator[Tensor]:
        """A permutation per network for every epoch, int64 [N, K] each; drawn in blocks."""
        block = max(1, _BLOCK // count)
        for start in range(0, epochs, block):
            drawn = uniforms(self._order, min(block, epochs - start), count)
            yield from drawn.argsort(dim=1, stable=True)

    def augmentation(self, how: Augmentation, batch: int, shape: tuple[int, int, int]) -> Tensor:
        """U[0, 1) [B, K, n] for one batch."""
        return augment.draw(how, self._extra, 1, batch, shape)[0]

    def choice(self, count: int) -> Tensor:
        """One of ``count`` feature sets per network, int64 [K]."""
        return augment.integers(uniforms(self._extra), count)


def train(
    stack: Stack,
    examples: Examples,
    loss: SyntheticLoss,
    optimizer: OptimizerSpec,
    orders: Iterator[Tensor],
    *,
    batch_size: int,
    learning_rates: Sequence[float] | None = None,
    fresh_momentum_at: int | None = None,
    augmentation: Augmentation | None = None,
    draws: Draws | None = None,
    after_epoch: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Train in place, one epoch per item of ``orders`` (int64 [N, K]); batches are its chunks.

    Args:
        stack: parameters must be leaves that require gradients.
        learning_rates: the rate of every epoch; None = the optimiser's.
        fresh_momentum_at: epoch before which the optimiser is made anew (its momentum is lost), as
            the reference does when it lowers the rate.
        augmentation, draws: applied to every batch with numbers from ``draws``.
        after_epoch: called with the epoch and the mean loss [K] of the epoch, weighted by batch
            size, each batch before its update.

    Returns:
        The mean loss [K] of the last epoch.
    """
    parameters = list(stack.params.values())
    sgd = optimizer.build(parameters)
    mean = examples.x.new_zeros(stack.size)
    for epoch, order in enumerate(orders):
        if epoch == fresh_momentum_at:
            sgd = optimizer.build(parameters)
        if learning_rates is not None:
            sgd.param_groups[0]["lr"] = learning_rates[epoch]
        total = torch.zeros_like(mean)
        for index in order.split(batch_size):
            batch = _batch(examples, index, augmentation, draws)
            losses = loss(stack, batch)
            gradients = torch.autograd.grad(losses.sum(), parameters)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            sgd.step()
            total += losses.detach() * len(index)
        mean = total / len(examples)
        if after_epoch is not None:
            after_epoch(epoch, mean)
    return mean


def _batch(
    examples: Examples, index: Tensor, augmentation: Augmentation | None, draws: Draws | None
) -> Batch:
    targets = examples.targets
    choice = None
    if targets is not None and targets.dim() == 5:
        assert draws is not None
        choice = draws.choice(targets.shape[1])
    batch = examples.batch(index, choice)
    if augmentation is None:
        return batch
    assert draws is not None
    shape = (examples.x.shape[1], examples.x.shape[2], examples.x.shape[3])
    record = augmentation.record(draws.augmentation(augmentation, len(index), shape), shape)
    return Batch(augmentation.apply(batch.x, record), batch.y, batch.targets, batch.weight)


# --- prediction --------------------------------------------------------------------------------

Views = Callable[[Tensor], list[Tensor]]


def views_of(tta: str) -> Views:
    """Test-time views of images [B, 1, C, H, W]; their logits are averaged (DRUPI spec e).

    ``hflip``: the image and its mirror image. ``fivecrop``: crops of side round(0.875 H) at the
    corners and the centre, resized back bilinearly. ``hflip5``: those of both mirror images.
    ``fivecrop`` is MTT's; DC's crops the whole image and its hflip5 mixes samples.
    """
    if tta == "none":
        return lambda x: [x]
    if tta == "hflip":
        return lambda x: [x, x.flip(-1)]
    if tta == "fivecrop":
        return _five_crops
    return lambda x: _five_crops(x) + _five_crops(x.flip(-1))


def _five_crops(x: Tensor) -> list[Tensor]:
    h, w = x.shape[-2:]
    ch, cw = round(0.875 * h), round(0.875 * w)
    middle = (round((h - ch) / 2), round((w - cw) / 2))
    corners = [(0, 0), (0, w - cw), (h - ch, 0), (h - ch, w - cw), middle]
    crops = [x[..., top : top + ch, left : left + cw].flatten(0, 1) for top, left in corners]
    resized = [
        torch.nn.functional.interpolate(c, size=(h, w), mode="bilinear", align_corners=False)
        for c in crops
    ]
    return [crop.unflatten(0, x.shape[:2]) for crop in resized]


@torch.no_grad()
def predict(stack: Stack, x: Tensor, *, tta: str = "none", chunk: int = 64) -> Tensor:
    """Logits [N, K, classes] of images x [N, C, H, W] in eval mode.

    Every forward pass has the same shape: the last chunk is padded by repeating its first image,
    so that a sample's bits do not depend on how many others are asked for at once.
    """
    views, parts = views_of(tta), []
    for start in range(0, len(x), chunk):
        part = x[start : start + chunk]
        padding = part[:1].expand(chunk - len(part), -1, -1, -1)
        shared = torch.cat([part, padding])[:, None]
        logits = [stack(view, train=False).logits for view in views(shared)]
        parts.append((sum(logits[1:], logits[0]) / len(logits))[: len(part)])
    return torch.cat(parts)


def correct(logits: Tensor, y: Tensor) -> Tensor:
    """Whether the first largest logit is the class: bool [N, K] from [N, K, classes], y [N]."""
    return logits.argmax(-1) == y[:, None]
