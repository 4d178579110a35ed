"""Evaluation protocols: presets of the ``evaluation`` block, one file each, found by location.

A preset may depend on the dataset and on the network that is evaluated (DC trains MNIST networks
with augmentation and for longer, others without); whatever the recipe says itself wins. The result
for one network is a ``Plan``: every number that changes a score, and nothing else but how many
networks there are. Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

from ddbench import augment, networks, plugins
from ddbench.augment import Augmentation
from ddbench.datasets import DatasetFacts
from ddbench.errors import BadInput, unknown
from ddbench.features import EvaluationFeatures
from ddbench.networks import Network
from ddbench.spec import Spec, fingerprint

Schedule = Literal["halfway", "step", "cosine", "constant"]
Tta = Literal["none", "hflip", "fivecrop", "hflip5"]
Selection = Literal["last", "best_on_validation", "best_on_real_train", "best_on_test"]
Precision = Literal["tf32", "float32"]


def parse_augmentation(data: object) -> Augmentation | None:
    """``none``, ``dsa``, ``dc`` or their fields; raises ``BadInput`` with the known names."""
    if data is None or data == "none" or isinstance(data, Augmentation):
        return None if data == "none" else data  # type: ignore[return-value]
    fields = {"name": data} if isinstance(data, str) else data
    name = fields.get("name") if isinstance(fields, dict) else data
    known = plugins.names(augment.__name__)
    if name not in known:
        raise unknown("augmentation", name, ["none", *known])
    family: type[Augmentation] = plugins.load(augment.__name__, str(name)).AUGMENTATION
    return family.parse(fields)


class Plan(Spec):
    """A protocol made concrete for one network: how it is trained on a set and tested.

    ``epochs`` is the papers' number E. The schedules ``halfway`` and ``cosine`` run E + 1 epochs,
    as VICO-UoE/DatasetCondensation ``utils.py:337-361`` does; ``step`` and ``constant`` run E.
    """

    protocol: str
    repeats: int = Field(ge=1, le=1000, description="networks per set")
    epochs: int = Field(ge=1, le=100_000)
    lr: float = Field(gt=0, le=100)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0, le=1, description="on every parameter")
    batch_size: int = Field(256, ge=1)
    schedule: Schedule = Field(
        "halfway",
        description="halfway: x0.1 after epoch index E//2+1 with fresh momentum; step: x0.1 every "
        "step_size epochs; cosine: to 0 at epoch index E; constant",
    )
    step_size: int | None = Field(None, ge=1, description="epochs (schedule step)")
    augmentation: SerializeAsAny[Augmentation] | None = None
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    tta: Tta = "none"
    selection: Selection = "last"
    candidates: list[int] = Field(
        default=[], description="snapshots that the selection may choose beside the final set"
    )
    precision: Precision = Field("tf32", description="of convolutions on a GPU; sums are float32")
    deterministic: bool = Field(False, description="deterministic GPU kernels")

    @property
    def epochs_run(self) -> int:
        """How many epochs are trained."""
        return self.epochs + (self.schedule in ("halfway", "cosine"))

    def learning_rates(self) -> list[float]:
        """The rate of every epoch that is run."""
        from math import cos, pi

        every = range(self.epochs_run)
        if self.schedule == "halfway":
            return [self.lr * (0.1 if epoch > self.epochs // 2 + 1 else 1.0) for epoch in every]
        if self.schedule == "step":
            size = self.step_size or self.epochs
            return [float(self.lr * 0.1 ** (epoch // size)) for epoch in every]
        if self.schedule == "cosine":
            return [self.lr * 0.5 * (1 + cos(pi * epoch / self.epochs)) for epoch in every]
        return [self.lr] * self.epochs_run

    def fresh_momentum_at(self) -> int | None:
        """The epoch that starts with an empty momentum buffer, if any."""
        return self.epochs // 2 + 2 if self.schedule == "halfway" else None

    def key(self, feature_weight: float | None) -> str:
        """The evaluation key of an arm: all that changes a score (``repeats`` only adds rows).

        ``feature_weight`` is lambda of the arm that uses F, None for the arm without.
        """
        data = self.model_dump(
            mode="json", exclude={"repeats", "protocol", "augmentation"}, exclude_defaults=True
        )
        augmentation = None
        if self.augmentation is not None:
            own = self.augmentation.model_dump(mode="json", exclude_defaults=True)
            augmentation = {"name": self.augmentation.name, **own}
        return fingerprint({**data, "augmentation": augmentation, "lambda": feature_weight})


def _network(index: int, data: object) -> Network:
    try:
        return networks.resolve(data)
    except BadInput as error:
        raise error.at(prefix=f"networks.{index}") from None


class EvaluationSpec(Spec):
    """The ``evaluation`` block: a protocol's name and what is different from it.

    null means "as the protocol says".
    """

    protocol: str = "dc"
    networks: list[SerializeAsAny[Network]] | None = Field(
        None, min_length=1, description="architectures; null = the recipe's network"
    )
    repeats: int | None = Field(None, ge=1, le=1000, description="networks per set")
    epochs: int | None = Field(None, ge=1, le=100_000)
    lr: float | None = Field(None, gt=0, le=100)
    momentum: float | None = Field(None, ge=0, lt=1)
    weight_decay: float | None = Field(None, ge=0, le=1)
    batch_size: int | None = Field(None, ge=1)
    schedule: Schedule | None = None
    step_size: int | None = Field(None, ge=1)
    augmentation: SerializeAsAny[Augmentation] | Literal["none"] | None = None
    label_smoothing: float | None = Field(None, ge=0, lt=1)
    tta: Tta | None = None
    precision: Precision | None = None
    deterministic: bool | None = None
    selection: Selection = "last"
    snapshots: list[int] = Field(
        default=[], description="iterations kept in the file, the candidates of the selection"
    )
    ensemble: bool = Field(False, description="also score the mean logits of all networks")
    test_every: int = Field(
        0, ge=0, description="epochs between tests for best_accuracy; 0 = only the final epoch"
    )
    features: EvaluationFeatures = EvaluationFeatures()

    @field_validator("networks", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if value is None:
            return None
        items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        found = [_network(index, item) for index, item in enumerate(items)]
        for index, network in enumerate(found):
            if network.identity() in [other.identity() for other in found[:index]]:
                raise BadInput(f"'{network.label}' stands twice", field=f"networks.{index}")
        return found

    @field_validator("augmentation", mode="before")
    @classmethod
    def _augmentation(cls, value: object) -> object:
        if value is None or value == "none":
            return value
        try:
            return parse_augmentation(value)
        except BadInput as error:
            raise error.at(prefix="augmentation") from None

    @field_validator("protocol")
    @classmethod
    def _protocol(cls, value: str) -> str:
        if value not in plugins.names(__name__):
            raise unknown("protocol", value, plugins.names(__name__), field="protocol")
        return value

    @field_validator("snapshots")
    @classmethod
    def _snapshots(cls, value: list[int]) -> list[int]:
        if sorted(set(value)) != value or (value and value[0] < 0):
            raise BadInput(f"found {value}", field="snapshots",
                           allowed="increasing iterations from 0 on")  # fmt: skip
        return value

    def plan(self, facts: DatasetFacts, network: Network) -> Plan:
        """The protocol for one network, with this block's own values in place."""
        preset: dict[str, Any] = plugins.load(__name__, self.protocol).preset(facts, network)
        own = {
            field: getattr(self, field)
            for field in Plan.model_fields
            if field in EvaluationSpec.model_fields and getattr(self, field) is not None
        }
        merged = {**preset, **own, "protocol": self.protocol}
        if self.selection != "last":
            merged["candidates"] = self.snapshots
        merged["augmentation"] = parse_augmentation(merged.get("augmentation"))
        return Plan.parse(merged, field="evaluation")
