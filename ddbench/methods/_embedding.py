"""What the coreset methods share: the space in which images are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ddbench.methods import Selecting, TrainedOn
from ddbench.networks import Network

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.task import Task


class Coreset(Selecting):
    """Real images chosen in ``space``: pixels, or the embedding of a network trained on real data.

    The embedding is the flat input of the classifier after 20 epochs of SGD 0.01, momentum 0.9,
    batch 128.
    """

    space: Literal["network", "pixels"] = "network"
    epochs: int = Field(20, ge=1, description="epochs of the embedding network")
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    batch_size: int = Field(128, ge=1)

    def networks_needed(self, network: Network) -> list[TrainedOn]:
        if self.space == "pixels":
            return []
        return [
            TrainedOn(
                network=network, epochs=self.epochs, lr=self.lr, momentum=self.momentum,
                batch_size=self.batch_size,
            )
        ]  # fmt: skip

    def embedding(self, task: Task) -> Tensor:
        """float32 [n, d], one row per real training image."""
        if self.space == "pixels":
            return task.data.x_train.flatten(1)
        return task.embed(self.networks_needed(task.network)[0]).flatten(1)
