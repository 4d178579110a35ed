"""The class mean image."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ddbench.errors import BadInput
from ddbench.methods import Selecting

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.task import Task


class Average(Selecting):
    """One image per class: the mean of its training images (STM's second baseline)."""

    title: ClassVar[str] = "Class average"
    name: Literal["average"] = "average"

    def check(self, ipc: int, smallest_class: int | None) -> None:
        if ipc != 1:
            raise BadInput(f"found {ipc}", field="ipc", allowed="1 with method average")

    def images(self, task: Task) -> Tensor:
        import torch

        data = task.data
        means = torch.zeros(data.num_classes, *data.shape, device=data.x_train.device)
        means.index_add_(0, data.y_train, data.x_train)
        return means / data.class_count.view(-1, 1, 1, 1)


METHOD = Average
