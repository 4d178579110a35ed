"""A network trained on the real training part, as data: teachers, F's source, embeddings."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializeAsAny

from ddbench.augment import Augmentation
from ddbench.networks import Network
from ddbench.protocols._schedules import Rates, Schedule, rates
from ddbench.spec import Spec

Optimizer = Literal["sgd", "adam", "adamw"]
_ALWAYS = ("epochs", "lr", "momentum", "weight_decay", "batch_size", "augment", "members")


class TrainedOn(Spec):
    """A network trained on the real training part (F's source, an embedding, a teacher).

    The networks are cached by content, see ``identity``.
    """

    network: SerializeAsAny[Network]
    epochs: int
    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 256
    augment: str | None = Field(None, description="DSA strategy")
    members: int = 1
    optimizer: Optimizer = "sgd"
    schedule: Schedule = "constant"
    step_size: int | None = None
    warmup: int = 0
    augmentation: SerializeAsAny[Augmentation] | None = None
    seed: int | None = Field(None, description="null = the run's own")

    def rates(self) -> Rates:
        """The rate of every epoch."""
        return rates(
            self.schedule, self.lr, self.epochs, step_size=self.step_size, warmup=self.warmup
        )

    def identity(self) -> dict[str, Any]:
        """What makes the networks, but for data and seed; what was added later only if used."""
        own = self.model_dump(mode="json", include=set(_ALWAYS))
        added = self.model_dump(
            mode="json", exclude={*_ALWAYS, "network", "augmentation", "seed"},
            exclude_defaults=True,
        )  # fmt: skip
        if self.augmentation is not None:
            added["augmentation"] = augmentation_identity(self.augmentation)
        return {**own, **added, "network": self.network.identity()}


def augmentation_identity(augmentation: Augmentation | None) -> dict[str, Any] | None:
    """What an augmentation is, as plain data: its name and what differs from the defaults."""
    if augmentation is None:
        return None
    own = augmentation.model_dump(mode="json", exclude_defaults=True)
    return {"name": augmentation.name, **own}
