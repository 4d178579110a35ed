"""Random real images: the baseline of every table."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ddbench.methods import Selecting

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.task import Task


class Random(Selecting):
    """IPC real training images per class, drawn without replacement."""

    title: ClassVar[str] = "Random"
    name: Literal["random"] = "random"

    def images(self, task: Task) -> Tensor:
        return task.random_real_images()


METHOD = Random
