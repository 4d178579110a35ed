"""Evaluation protocols: presets of the ``evaluation`` block, one file each, found by location.

A preset may depend on the dataset and on the network that is evaluated (DC trains MNIST networks
with augmentation and for longer, others without); whatever the recipe says itself wins. The result
for one network is a ``Plan``: every number that changes a score, and nothing else but how many
networks there are. Torch-free.

A preset's file has ``SUMMARY``, ``SOURCE``, ``VERSION`` and ``preset(facts, network)``. Changing a
number makes a new version. Protocols that compare a set with baselines also have ``ROLES`` (what is
trained on: the set, random images, real data, ...) and ``role_preset(role, facts, network)``, the
fields that make a role what it is; one whose roles need a teacher where the recipe has none has
``role_teacher(role, facts, network)``; one whose numbers depend on what the recipe says or on its
IPC has ``refine(facts, own, ipc)``. A name's dashes are underscores in its file's name.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

from ddbench import plugins
from ddbench.augment import Augmentation
from ddbench.datasets import DatasetFacts
from ddbench.errors import BadInput, unknown
from ddbench.features import EvaluationFeatures
from ddbench.networks import Network
from ddbench.protocols._plan import (
    Copies,
    Deterministic,
    Judge,
    Labels,
    Loss,
    Mix,
    Plan,
    Precision,
    Selection,
    Tta,
)
from ddbench.protocols._reading import (
    LearningRate,
    check_grid,
    check_lr,
    parse_augmentation,
    parse_networks,
)
from ddbench.protocols._schedules import Rates, Schedule
from ddbench.protocols._teacher import TeacherSpec
from ddbench.protocols._trained_on import Optimizer, TrainedOn
from ddbench.spec import Spec

_FOR_REAL_DATA = ("tta", "precision", "deterministic")
"""Fields of a recipe that its full-data baseline takes over; the rest is the baseline's own."""


def canonical(name: str) -> str:
    """A protocol's public name, with dashes, from either spelling."""
    return name.replace("_", "-")


def names() -> tuple[str, ...]:
    """All protocols, sorted."""
    return tuple(sorted(map(canonical, plugins.names(__name__))))


@cache
def load(name: str) -> ModuleType:
    """The module of a protocol; raises ``BadInput`` naming the known ones."""
    for found in plugins.names(__name__):
        if canonical(found) == canonical(name):
            return plugins.load(__name__, found)
    raise unknown("protocol", name, names(), field="protocol")


def versioned(name: str) -> str:
    """The name that scores carry: with ``@VERSION`` from the second on."""
    version = int(getattr(load(name), "VERSION", 1))
    return canonical(name) + (f"@{version}" if version > 1 else "")


def roles_of(name: str) -> tuple[str, ...]:
    """What a protocol trains on, ``set`` first; ``name`` may carry a version."""
    roles: tuple[str, ...] = getattr(load(name.partition("@")[0]), "ROLES", ("set",))
    return roles


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
    max_epochs: int | None = Field(
        None, ge=1, description="no network is trained for longer: baselines and teachers included"
    )
    lr: LearningRate | None = Field(
        None, description="a rate; learned: the set's own; search: the best of lr_grid"
    )
    lr_grid: list[float] | None = Field(None, description="rates that a search tries")
    lr_chosen_on: Judge | None = Field(None, description="what a search is judged by")
    optimizer: Optimizer | None = None
    betas: tuple[float, float] | None = Field(None, description="of adam and adamw")
    momentum: float | None = Field(None, ge=0, lt=1, description="of sgd")
    weight_decay: float | None = Field(None, ge=0, le=1)
    weight_decay_on: Literal["all", "matrices"] | None = None
    batch_size: int | None = Field(None, ge=1)
    schedule: Schedule | None = None
    step_size: int | None = Field(None, ge=1)
    gamma: float | None = Field(None, gt=0, le=1)
    warmup: int | None = Field(None, ge=0)
    syn_steps: int | None = Field(None, ge=1)
    augmentation: SerializeAsAny[Augmentation] | Literal["none"] | None = None
    mix: Mix | Literal["none"] | None = None
    expand: list[Copies] | None = None
    labels: Labels | None = None
    loss: Loss | None = None
    temperature: float | None = Field(None, gt=0, le=1000)
    scale_loss: bool | None = None
    mse_weight: float | None = Field(None, ge=0)
    ce_weight: float | None = Field(None, ge=0)
    label_smoothing: float | None = Field(None, ge=0, lt=1)
    teacher: TeacherSpec | Literal["none"] | None = None
    tta: Tta | None = None
    precision: Precision | None = None
    deterministic: Deterministic | None = None
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
        return parse_networks(value)

    @field_validator("augmentation", mode="before")
    @classmethod
    def _augmentation(cls, value: object) -> object:
        if value is None or value == "none":
            return value
        try:
            return parse_augmentation(value)
        except BadInput as error:
            raise error.at(prefix="augmentation") from None

    @field_validator("teacher", "mix", mode="before")
    @classmethod
    def _block(cls, value: object, info: Any) -> object:
        if value is None or value == "none" or isinstance(value, TeacherSpec | Mix):
            return value
        if info.field_name == "teacher":
            return TeacherSpec.parse(value, field="teacher")
        return Mix.parse({"name": value} if isinstance(value, str) else value, field="mix")

    @field_validator("lr")
    @classmethod
    def _lr(cls, value: LearningRate | None) -> LearningRate | None:
        return check_lr(value)

    @field_validator("lr_grid")
    @classmethod
    def _grid(cls, value: list[float] | None) -> list[float] | None:
        return check_grid(value)

    @field_validator("protocol")
    @classmethod
    def _protocol(cls, value: str) -> str:
        load(value)
        return canonical(value)

    @field_validator("snapshots")
    @classmethod
    def _snapshots(cls, value: list[int]) -> list[int]:
        if sorted(set(value)) != value or (value and value[0] < 0):
            raise BadInput(f"found {value}", field="snapshots",
                           allowed="increasing iterations from 0 on")  # fmt: skip
        return value

    @property
    def roles(self) -> tuple[str, ...]:
        """What the protocol trains on, ``set`` first."""
        return roles_of(self.protocol)

    def plan(
        self, facts: DatasetFacts, network: Network, role: str = "set", *, ipc: int | None = None
    ) -> Plan:
        """The protocol for one network, with this block's own values in place.

        What makes a role what it is wins over the recipe; the full-data baseline ``real`` takes
        over only how it is tested, so that it does not depend on the set that it is compared with.

        Args:
            role: one of ``roles``.
            ipc: images per class, which some presets depend on.

        Raises:
            BadInput: values that cannot be together.
        """
        assert role in self.roles, f"protocol {self.protocol} has no role {role}"
        module = load(self.protocol)
        own = {
            field: getattr(self, field)
            for field in Plan.model_fields
            if field in EvaluationSpec.model_fields and getattr(self, field) is not None
        }
        if self.selection != "last":
            own["candidates"] = self.snapshots
        fields: dict[str, Any] = module.preset(facts, network)
        if hasattr(module, "refine"):
            fields = {**fields, **module.refine(facts, own, ipc)}
        if role == "real":
            own = {field: own[field] for field in _FOR_REAL_DATA if field in own}
            return self._made(module.role_preset(role, facts, network) | own, network)
        if role.startswith("random"):  # random images have no snapshots
            own = {k: v for k, v in own.items() if k not in ("selection", "candidates")}
        of_role = {} if role == "set" else module.role_preset(role, facts, network)
        of_role |= self._role_teacher(role, fields | own | of_role, facts, network)
        return self._made(fields | own | of_role, network)

    def _role_teacher(
        self, role: str, fields: dict[str, Any], facts: DatasetFacts, network: Network
    ) -> dict[str, Any]:
        """The teacher that a role cannot do without: the recipe's, labelling as the role needs."""
        given = getattr(load(self.protocol), "role_teacher", None)
        needed = given(role, facts, network) if given is not None else None
        if needed is None or fields.get("labels") == "hard":
            return {}
        if fields.get("loss", "ce") == "ce":
            raise BadInput(
                f"role '{role}' of {self.protocol} is labelled by a teacher, which 'ce' does not "
                "follow", field="evaluation.loss",
                allowed="sce (at temperature 1 it is ce on stored logits), kl, mse_gt",
            )  # fmt: skip
        if isinstance(self.teacher, TeacherSpec):
            return {"teacher": self.teacher.model_copy(update={"labels": needed["labels"]})}
        return {"teacher": needed}

    def _made(self, fields: dict[str, Any], network: Network) -> Plan:
        """The plan of these fields; a teacher without architectures is of the network's own."""
        fields = fields | {"protocol": versioned(self.protocol)}
        fields["augmentation"] = parse_augmentation(fields.get("augmentation"))
        for block in ("teacher", "mix"):
            if fields.get(block) == "none":
                fields[block] = None
        teacher = fields.get("teacher")
        if teacher is not None:
            if not isinstance(teacher, TeacherSpec):
                teacher = TeacherSpec.parse(teacher, field="evaluation.teacher")
            if teacher.networks is None:
                teacher = teacher.model_copy(update={"networks": [network]})
            fields["teacher"] = teacher
        made = Plan.parse(fields, field="evaluation")
        return made if self.max_epochs is None else made.shortened(self.max_epochs)


__all__ = [
    "EvaluationSpec", "Mix", "Plan", "Rates", "Schedule", "TeacherSpec", "TrainedOn", "canonical",
    "load", "names", "parse_augmentation", "roles_of", "versioned",
]  # fmt: skip
