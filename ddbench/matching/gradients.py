"""Gradient matching: make the gradients on synthetic images like those on real ones.

For class c, real batch R_c, synthetic images S_c and network theta (DC, Zhao et al., ICLR 2021)

    D(grad CE(S_c, c), grad CE(R_c, c)),      summed over classes

with the synthetic gradient differentiable and the real one constant. All classes are computed at
once: the network is replicated once per class, so that one backward pass gives every class its own
gradient. Axes: B images, C classes in place of the stack's K, I = IPC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench.augment import Augmentation
from ddbench.matching.classwise import Classwise, refilled
from ddbench.objective import Batch, SyntheticLoss
from ddbench.stack import Stack

if TYPE_CHECKING:
    from ddbench.synthetic import View
    from ddbench.task import Task

Gradients = Sequence[Tensor]
Distance = Callable[[Gradients, Gradients], Tensor]


def per_output_distance(real: Gradients, synthetic: Gradients) -> Tensor:
    """``ours``: sum over tensors and their rows of 1 - <a, b> / (|a| |b| + 1e-6); [C].

    A row is an output filter or unit (axis 1 of [C, out, ...], the rest flattened; LayerNorm's
    [C, c, h, w] scales by channel). One-dimensional tensors (biases, norm scales) count 0
    (VICO-UoE/DatasetCondensation ``utils.py:218-246``).
    """
    total = torch.zeros(len(real[0]), dtype=real[0].dtype, device=real[0].device)
    for ours, theirs in zip(real, synthetic, strict=True):
        if ours.dim() < 3:
            continue
        a, b = ours.flatten(2), theirs.flatten(2)
        similarity = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1) + 1e-6)
        total = total + (1 - similarity).sum(-1)
    return total


def squared_distance(real: Gradients, synthetic: Gradients) -> Tensor:
    """``mse``: sum of squared differences over all tensors; [C]."""
    parts = [(a - b).flatten(1).square().sum(1) for a, b in zip(real, synthetic, strict=True)]
    return torch.stack(parts).sum(0)


def cosine_distance(real: Gradients, synthetic: Gradients) -> Tensor:
    """``cos``: 1 - <a, b> / (|a| |b| + 1e-6) of all tensors as one vector; [C]."""
    a = torch.cat([part.flatten(1) for part in real], dim=1)
    b = torch.cat([part.flatten(1) for part in synthetic], dim=1)
    return 1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)


DISTANCES: dict[str, Distance] = {
    "ours": per_output_distance,
    "mse": squared_distance,
    "cos": cosine_distance,
}


def class_gradients(
    stack: Stack,
    names: Sequence[str],
    loss: SyntheticLoss,
    batches: Sequence[Batch],
    *,
    differentiable: bool,
) -> list[Tensor]:
    """Gradients [C, ...] of each class's loss in the parameters ``names``.

    ``stack`` is one network replicated per class, its parameters leaves; the batches' weights make
    their losses parts of one mean.
    """
    parameters = [stack.params[name] for name in names]
    total: list[Tensor] | None = None
    for batch in batches:
        value = loss(stack, batch, train=False).sum()
        part = torch.autograd.grad(value, parameters, create_graph=differentiable)
        total = list(part) if total is None else [a + b for a, b in zip(total, part, strict=True)]
    assert total is not None
    return total


class GradientMatching(Classwise):
    """One matching step on one network, for all classes and for whatever is learned.

    Memory: classes are taken in chunks (``engine.microbatch`` images at once), each chunk's graph
    is freed by its own backward pass before the next; real gradients are sums over chunks. Exact,
    because no layer here looks across the batch (batch normalisation is frozen first).
    """

    def __init__(
        self, task: Task, distance: str, batch_real: int, augmentation: Augmentation | None = None
    ) -> None:
        super().__init__(task, batch_real, augmentation)
        self._distance = DISTANCES[distance]
        self._label_loss = SyntheticLoss()

    def step(self, network: Stack, iteration: int, step: int) -> Tensor:
        """Update the synthetic variables once; returns the loss, summed over classes."""
        if network.has_statistics:
            self._freeze_batch_norm(network, iteration, step)
        return self._task.variables.step(lambda view: self.losses(network, view, iteration, step))

    def losses(self, network: Stack, view: View, iteration: int, step: int) -> Iterator[Tensor]:
        """Parts of the loss that sum to it; each may be back-propagated before the next is made."""
        task = self._task
        index, valid = task.real_batches(self._batch_real, view.purpose, iteration, step)
        numbers = self._siamese_numbers(view.purpose, iteration, step)
        for classes in task.class_chunks():
            yield self.chunk_loss(
                network, view, classes,
                real=task.data.x_train[index[:, classes]], valid=valid[:, classes],
                numbers=None if numbers is None else numbers[:, classes],
            )  # fmt: skip

    def chunk_loss(
        self,
        network: Stack,
        view: View,
        classes: slice,
        *,
        real: Tensor,
        valid: Tensor,
        numbers: Tensor | None = None,
    ) -> Tensor:
        """The loss of some classes: real [B, C, ...] with valid bool [B, C], scalar."""
        labels = torch.arange(len(self._task.classes), device=real.device)[classes]
        names = view.matched(network)
        stack = network.replicated(len(labels)).require_grad()
        weight = valid.to(real.dtype) / valid.sum(0)
        reference = class_gradients(
            stack, names, self._label_loss,
            [
                Batch(self._augmented(x, numbers), labels.expand(len(x), -1), weight=w)
                for x, w in zip(real.split(self._rows(len(labels))),
                                weight.split(self._rows(len(labels))), strict=True)
            ],
            differentiable=False,
        )  # fmt: skip
        batch = view.class_batch(classes, labels)
        batch = Batch(self._augmented(batch.x, numbers), batch.y, batch.targets)
        ours = class_gradients(stack, names, view.loss, [batch], differentiable=True)
        loss = self._distance(reference, ours).sum()
        if view.task_weight > 0:
            fit = view.loss.task_loss(stack, view.targets(classes), batch.y)
            view.record_fit(fit)
            loss = loss + view.task_weight * fit.sum()
        return loss

    def _freeze_batch_norm(self, network: Stack, iteration: int, step: int) -> None:
        """One train-mode pass over 16 real images per class sets the running statistics.

        At momentum 0.1 they stay 90 % what they were (VICO-UoE/DatasetCondensation
        ``main.py:160-176``).
        """
        index, valid = self._task.real_batches(16, "batch norm", iteration, step)
        rows = refilled(index, valid).transpose(0, 1).flatten()
        with torch.no_grad():
            network(self._task.data.x_train[rows][:, None], train=True)
