"""Teachers: networks trained on the real data whose logits label a set."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from ddbench.augment import Augmentation
from ddbench.errors import BadInput
from ddbench.networks import Network
from ddbench.protocols._reading import check_schedule, parse_augmentation, parse_networks
from ddbench.protocols._schedules import Schedule
from ddbench.protocols._trained_on import Optimizer, TrainedOn
from ddbench.spec import Spec

TEACHER_SEED = 0
"""Every set of a benchmark is taught by the same teachers, whatever the run's seed."""


class TeacherSpec(Spec):
    """Networks trained on the real training part whose mean logits label the images."""

    networks: list[SerializeAsAny[Network]] | None = Field(
        None, min_length=1, description="architectures; null = the evaluated network's"
    )
    epochs: int = Field(ge=1, le=100_000, description="of the teachers' own training")
    lr: float = Field(gt=0, le=100)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0, le=1)
    batch_size: int = Field(128, ge=1)
    optimizer: Optimizer = "sgd"
    schedule: Schedule = "constant"
    step_size: int | None = Field(None, ge=1)
    warmup: int = Field(0, ge=0)
    augmentation: SerializeAsAny[Augmentation] | None = None
    labels: Literal["per_batch", "per_image"] = Field(
        "per_batch",
        description="per_batch: every augmented and mixed batch; per_image: every image once",
    )

    @field_validator("networks", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        return parse_networks(value)

    @field_validator("augmentation", mode="before")
    @classmethod
    def _augmentation(cls, value: object) -> object:
        try:
            return parse_augmentation(value)
        except BadInput as error:
            raise error.at(prefix="augmentation") from None

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        check_schedule(self.schedule, self.epochs, self.warmup)
        if self.schedule == "staged":
            raise BadInput("'staged' plays rates learned with a set", field="schedule")
        return self

    def trained_on(self) -> list[TrainedOn]:
        """The teachers as networks of the stage ``experts``."""
        shared = {
            field: getattr(self, field)
            for field in TrainedOn.model_fields
            if field in TeacherSpec.model_fields
        }
        return [
            TrainedOn(network=network, seed=TEACHER_SEED, **shared)
            for network in self.networks or []
        ]

    def identity(self) -> dict[str, Any]:
        """What changes a score, as plain data."""
        teachers = [spec.identity() for spec in self.trained_on()]
        return {"teachers": teachers, "labels": self.labels}
