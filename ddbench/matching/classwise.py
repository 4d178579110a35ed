"""What matchings share that compare real and synthetic images class by class.

Real batches, one augmentation per class for both sides (siamese), chunks that fit the memory.
Axes: B images of a class, C classes, n uniform numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench import augment
from ddbench.augment import Augmentation

if TYPE_CHECKING:
    from ddbench.task import Task


class Classwise:
    """Base of the matchings.

    Args:
        batch_real: real images per class and step; all of a class that has fewer.
        augmentation: differentiable, with one record per class for its real and synthetic images
            (the siamese rule; Zhao & Bilen, ICML 2021, section 3.2); None = none.
    """

    def __init__(
        self, task: Task, batch_real: int, augmentation: Augmentation | None = None
    ) -> None:
        self._task = task
        self._batch_real = batch_real
        self._augmentation = augmentation

    def _rows(self, classes: int) -> int:
        """Images per class whose activations are held at once, for ``classes`` side by side."""
        return max(1, self._task.engine.microbatch // classes)

    def _siamese_numbers(self, purpose: str, iteration: int, step: int) -> Tensor | None:
        """One record per class, shared by its real and synthetic images; [1, C, n]."""
        if self._augmentation is None:
            return None
        generators = self._task.streams.generators(
            f"siamese {purpose}", self._task.classes, iteration, step
        )
        return augment.draw(self._augmentation, generators, 1, 1, self._task.data.shape)[0]

    def _augmented(self, x: Tensor, numbers: Tensor | None) -> Tensor:
        """x [B, C, ...] under the records that ``numbers`` [1, C, n] stand for."""
        if self._augmentation is None or numbers is None:
            return x
        record = self._augmentation.record(numbers, self._task.data.shape)
        return self._augmentation.apply(x, record)


def refilled(index: Tensor, valid: Tensor) -> Tensor:
    """Rows int64 [B, C] in which a class with fewer images repeats its own.

    For batch statistics, which count every image they are given. The valid rows come first.
    """
    turn = torch.arange(len(index), device=index.device)[:, None] % valid.sum(0).clamp_min(1)
    return index.gather(0, turn)
