"""Training a stack of networks on a set, and predicting with it.

A step never waits for the device: orders and augmentation numbers are drawn as tensors, losses stay
on the device, shapes are fixed. Member k of a stack draws from its own generators, so that it gets
the same initialisation, order and augmentation whatever the stack's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ddbench import augment, mixing
from ddbench.augment import Augmentation
from ddbench.objective import Batch, Examples, SyntheticLoss
from ddbench.protocols import Mix, Rates
from ddbench.randomness import uniforms
from ddbench.stack import Stack

_BLOCK = 250_000  # numbers drawn at once for each network; does not depend on the stack


@dataclass(frozen=True)
class OptimizerSpec:
    """SGD, Adam or AdamW as torch has them, elementwise: members of a stack do not meet.

    SGD: v = momentum * v + g + weight_decay * p; p -= lr * v. The decay of AdamW is decoupled.

    Attributes:
        decay_on: ``matrices``: only parameters whose name has "weight" in it, with more than one
            dimension (G-VBSM ``train/utils.py:58-72``; RDED and SRe2L on ImageNet likewise).
    """

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    name: Literal["sgd", "adam", "adamw"] = "sgd"
    betas: tuple[float, float] = (0.9, 0.999)
    decay_on: Literal["all", "matrices"] = "all"

    def build(self, parameters: Mapping[str, Tensor]) -> torch.optim.Optimizer:
        """A fresh optimiser over stacked parameters [K, ...] by name."""
        groups = self._groups(parameters)
        if self.name == "sgd":
            return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, foreach=True)
        kind = torch.optim.Adam if self.name == "adam" else torch.optim.AdamW
        return kind(groups, lr=self.lr, betas=self.betas, foreach=True)

    def _groups(self, parameters: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        every = list(parameters.values())
        if self.decay_on == "all":
            return [{"params": every, "weight_decay": self.weight_decay}]
        decayed = {name for name, p in parameters.items() if "weight" in name and p.dim() > 2}
        split = (
            ([p for name, p in parameters.items() if (name in decayed) is chosen], decay)
            for chosen, decay in ((True, self.weight_decay), (False, 0.0))
        )
        return [{"params": part, "weight_decay": decay} for part, decay in split if part]


class _Descent:
    """The optimiser of a stack; with ``factors``, one per member, whose rates differ by them."""

    def __init__(
        self, spec: OptimizerSpec, stack: Stack, factors: Sequence[float] | None = None
    ) -> None:
        self._spec, self._factors = spec, factors or [1.0]
        self._leaves = list(stack.params.values())
        self._parts: list[dict[str, Tensor]] = [stack.params]
        if factors is not None:
            assert len(factors) == stack.size
            self._parts = [
                {name: value.detach()[k : k + 1] for name, value in stack.params.items()}
                for k in range(stack.size)
            ]
        self.restart()

    def restart(self) -> None:
        """Forget momentum and whatever else was accumulated."""
        self._optimizers = [self._spec.build(part) for part in self._parts]

    def set_rate(self, lr: float) -> None:
        """The rate from now on, times each member's factor."""
        for optimizer, factor in zip(self._optimizers, self._factors, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor

    def step(self, gradients: Sequence[Tensor]) -> None:
        """One update by gradients [K, ...] in the order of the stack's parameters."""
        for k, (part, optimizer) in enumerate(zip(self._parts, self._optimizers, strict=True)):
            whole = len(self._parts) == 1
            for parameter, gradient in zip(part.values(), gradients, strict=True):
                parameter.grad = gradient if whole else gradient[k : k + 1]
            optimizer.step()


class Draws:
    """The random numbers of one training: an order per epoch, and augmentation's uniforms.

    Args:
        order: one generator per network, for the shuffles.
        extra: one generator per network, for augmentation and mixes.
        choice: one generator per network, for the choice of a feature set; with its own, networks
            that train with F and without are augmented alike. None: ``extra`` serves for it.
    """

    def __init__(
        self,
        order: Sequence[torch.Generator],
        extra: Sequence[torch.Generator],
        choice: Sequence[torch.Generator] | None = None,
    ) -> None:
        self._order, self._extra, self._choice = order, extra, choice or extra

    def orders(self, epochs: int, count: int) -> Iterator[Tensor]:
        """A permutation per network for every epoch, int64 [N, K] each; drawn in blocks."""
        block = max(1, _BLOCK // count)
        for start in range(0, epochs, block):
            drawn = uniforms(self._order, min(block, epochs - start), count)
            yield from drawn.argsort(dim=1, stable=True)

    def augmentation(self, how: Augmentation, batch: int, shape: tuple[int, int, int]) -> Tensor:
        """U[0, 1) [B, K, n] for one batch."""
        return augment.draw(how, self._extra, 1, batch, shape)[0]

    def mix(self, batch: int) -> Tensor:
        """U[0, 1) [n, K] for mixing one batch."""
        return uniforms(self._extra, mixing.uniforms(batch))

    def choice(self, count: int) -> Tensor:
        """One of ``count`` feature sets per network, int64 [K]."""
        return augment.integers(uniforms(self._choice), count)


Teacher = Callable[[Tensor], Tensor]
"""Logits [B, K, classes] of images [B, K, C, H, W], outside of the graph."""


def train(
    stack: Stack,
    examples: Examples,
    loss: SyntheticLoss,
    optimizer: OptimizerSpec,
    orders: Iterator[Tensor],
    *,
    batch_size: int,
    rates: Rates | None = None,
    factors: Sequence[float] | None = None,
    augmentation: Augmentation | None = None,
    mix: Mix | None = None,
    teacher: Teacher | None = None,
    draws: Draws | None = None,
    after_epoch: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Train in place, one epoch per item of ``orders`` (int64 [N, K]); batches are its chunks.

    Args:
        stack: parameters must be leaves that require gradients.
        rates: the rate of every epoch; None = the optimiser's. Before an epoch of ``rates.fresh``
            the optimiser is made anew (its momentum is lost), as the references do when they
            lower the rate.
        factors: member k trains at ``factors[k]`` times the rate.
        augmentation, mix, draws: applied to every batch, in this order, with numbers from
            ``draws``; an augmentation of pixels is bound to the images' value space.
        teacher: labels every batch as it is trained on.
        after_epoch: called with the epoch and the mean loss [K] of the epoch, weighted by batch
            size, each batch before its update.

    Returns:
        The mean loss [K] of the last epoch.
    """
    parameters = list(stack.params.values())
    descent = _Descent(optimizer, stack, factors)
    mean = examples.x.new_zeros(stack.size)
    for epoch, order in enumerate(orders):
        if rates is not None:
            if epoch in rates.fresh:
                descent.restart()
            descent.set_rate(rates.values[epoch])
        total = torch.zeros_like(mean)
        for index in order.split(batch_size):
            batch = _batch(examples, index, augmentation, mix, teacher, draws)
            losses = loss(stack, batch)
            descent.step(torch.autograd.grad(losses.sum(), parameters))
            total += losses.detach() * len(index)
        mean = total / len(examples)
        if after_epoch is not None:
            after_epoch(epoch, mean)
    return mean


def _batch(
    examples: Examples,
    index: Tensor,
    augmentation: Augmentation | None,
    mix: Mix | None,
    teacher: Teacher | None,
    draws: Draws | None,
) -> Batch:
    choice = None
    if examples.targets is not None and examples.targets.dim() == 5:
        assert draws is not None
        choice = draws.choice(examples.targets.shape[1])
    batch = examples.batch(index, choice)
    x = batch.x
    if augmentation is not None:
        assert draws is not None
        shape = (x.shape[2], x.shape[3], x.shape[4])
        record = augmentation.record(draws.augmentation(augmentation, len(index), shape), shape)
        x = augmentation.apply(x, record)
    if mix is not None:
        assert draws is not None
        x = mixing.apply(x, mixing.record(mix, draws.mix(len(index)), *x.shape[3:]))
    soft = batch.soft if teacher is None else teacher(x)
    return replace(batch, x=x, soft=soft)


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
