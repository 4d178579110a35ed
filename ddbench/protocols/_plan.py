"""A protocol made concrete for one network: every number that changes a score. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from ddbench.augment import Augmentation
from ddbench.errors import BadInput
from ddbench.protocols._reading import LearningRate, check_grid, check_lr, check_schedule
from ddbench.protocols._schedules import DESCRIPTION, Rates, Schedule, rates
from ddbench.protocols._teacher import TeacherSpec
from ddbench.protocols._trained_on import Optimizer, TrainedOn, augmentation_identity
from ddbench.spec import Spec, fingerprint

Tta = Literal["none", "hflip", "fivecrop", "hflip5"]
Selection = Literal["last", "best_on_validation", "best_on_real_train", "best_on_test"]
Precision = Literal["tf32", "float32"]
Loss = Literal["ce", "sce", "kl", "mse_gt"]
Labels = Literal["own", "hard"]
Copies = Literal["hflip", "vflip", "transpose", "rotate"]
Judge = Literal["validation", "test"]
Deterministic = bool | Literal["batch_invariant"]

COPIES: tuple[Copies, ...] = ("hflip", "vflip", "transpose", "rotate")
LR_GRID = [0.001, 0.005, 0.01, 0.05, 0.1]
"""DD-Ranking's (NUS-HPC-AI-Lab/DD-Ranking ``metrics/hard_label.py:168-195``)."""


class Mix(Spec):
    """Mixing the images of a batch with one another, after the augmentation."""

    name: Literal["mixup", "cutmix"]
    alpha: float = Field(1.0, gt=0, le=100, description="share of the own image ~ Beta(a, a)")


class Plan(Spec):
    """How a network is trained on a set and tested.

    ``epochs`` is the papers' number E. The schedules ``halfway`` and ``cosine`` run E + 1 epochs,
    as VICO-UoE/DatasetCondensation ``utils.py:337-361`` does; ``staged`` runs what its rates need;
    the others run E.
    """

    protocol: str
    repeats: int = Field(ge=1, le=1000, description="networks per set")
    epochs: int = Field(ge=1, le=100_000)
    lr: LearningRate = Field(description="a rate; learned: the set's own; search: by lr_grid")
    lr_grid: list[float] = LR_GRID
    lr_chosen_on: Judge = "validation"
    optimizer: Optimizer = "sgd"
    betas: tuple[float, float] = Field((0.9, 0.999), description="of adam and adamw")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(5e-4, ge=0, le=1)
    weight_decay_on: Literal["all", "matrices"] = Field(
        "all", description="matrices: parameters named weight with more than one dimension"
    )
    batch_size: int = Field(256, ge=1)
    schedule: Schedule = Field("halfway", description=DESCRIPTION)
    step_size: int | None = Field(None, ge=1, description="epochs (schedule step)")
    gamma: float = Field(0.1, gt=0, le=1, description="factor of halfway, step and staged")
    warmup: int = Field(0, ge=0, description="first epochs, of linearly rising rate")
    syn_steps: int = Field(1, ge=1, description="N: least epochs per learned rate (staged)")
    augmentation: SerializeAsAny[Augmentation] | None = None
    mix: Mix | None = None
    expand: list[Copies] = Field(default=[], description="copies appended to the set")
    labels: Labels = Field("own", description="hard: the class alone")
    loss: Loss = Field("ce", description="sce, kl, mse_gt: towards soft labels or a teacher")
    temperature: float = Field(1.0, gt=0, le=1000, description="T of sce and kl")
    scale_loss: bool = Field(False, description="sce and kl times T^2")
    mse_weight: float = Field(1.0, ge=0, description="of mse_gt's squared error")
    ce_weight: float = Field(0.0, ge=0, description="of mse_gt's cross-entropy on the class")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    teacher: TeacherSpec | None = None
    needs: Literal["views"] | None = Field(None, description="what a set must bring besides x, y")
    tta: Tta = "none"
    selection: Selection = "last"
    candidates: list[int] = Field(
        default=[], description="snapshots that the selection may choose beside the final set"
    )
    precision: Precision = Field("tf32", description="of convolutions on a GPU; sums are float32")
    deterministic: Deterministic = Field(
        False, description="deterministic GPU kernels; batch_invariant: also no TF32"
    )

    @field_validator("lr")
    @classmethod
    def _lr(cls, value: LearningRate) -> LearningRate | None:
        return check_lr(value)

    @field_validator("lr_grid")
    @classmethod
    def _grid(cls, value: list[float]) -> list[float] | None:
        return check_grid(value)

    @field_validator("expand")
    @classmethod
    def _expand(cls, value: list[Copies]) -> list[Copies]:
        return [copy for copy in COPIES if copy in value]  # one order, one key

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        check_schedule(self.schedule, self.epochs, self.warmup)
        teacher = self.teacher
        if self.mix is not None and (teacher is None or teacher.labels != "per_batch"):
            raise BadInput(
                f"'{self.mix.name}' mixes images, and labels that are stored do not follow",
                field="mix", allowed="none, or a teacher that labels per_batch",
            )  # fmt: skip
        if teacher is not None and (self.loss == "ce" or self.labels == "hard"):
            raise BadInput("a teacher gives soft labels, which loss ce and hard labels do not use",
                           field="teacher", allowed="loss sce, kl or mse_gt")  # fmt: skip
        if self.loss != "ce" and (self.labels == "hard" or self.label_smoothing):
            raise BadInput(f"'{self.loss}' compares with soft labels as they are", field="loss",
                           allowed="ce with labels hard or with label_smoothing")  # fmt: skip
        return self

    @property
    def epochs_run(self) -> int:
        """How many epochs are trained; with ``staged``, by a set with one learned rate.

        Several rates are played for ``len(rates(them))`` epochs, which no recipe knows.
        """
        return len(self.rates(1.0))

    @property
    def batch_invariant(self) -> bool:
        """Whether an image's logits must not depend on what else is predicted, to the bit."""
        return self.deterministic == "batch_invariant"

    @property
    def test_selected(self) -> bool:
        """Whether anything is chosen by its accuracy on the test set."""
        by_rate = self.lr == "search" and self.lr_chosen_on == "test"
        return by_rate or self.selection == "best_on_test"

    def rates(self, lr: float | Sequence[float] | None = None) -> Rates:
        """The rate of every epoch; ``lr`` stands in where the plan's is learned or searched."""
        start = self.lr if lr is None else lr
        assert not isinstance(start, str), f"the rate is {start}"
        return rates(
            self.schedule, start, self.epochs, step_size=self.step_size, gamma=self.gamma,
            warmup=self.warmup, syn_steps=self.syn_steps,
        )  # fmt: skip

    def shortened(self, most: int) -> Self:
        """The same plan with at most ``most`` epochs, of its teachers too."""
        return self.model_copy(
            update={
                **_shortened(self, most),
                "syn_steps": min(self.syn_steps, most),
                "teacher": self.teacher
                and self.teacher.model_copy(update=_shortened(self.teacher, most)),
            }
        )

    def networks_needed(self) -> list[TrainedOn]:
        """Networks to be trained on the real data first: the teachers."""
        return self.teacher.trained_on() if self.teacher else []

    def check_runnable(self, *, with_features: bool = False) -> None:
        """Refuse what cannot be trained; raises ``BadInput``.

        Args:
            with_features: whether F is trained on, whose maps do not follow copies and mixes.
        """
        if self.needs == "views":
            raise BadInput(
                f"protocol {self.protocol} replays stored views, which come with the decoupled "
                "methods and are not built in this version", field="evaluation.protocol",
                allowed="a protocol whose labels are the set's or a teacher's",
            )  # fmt: skip
        for field, value in (("expand", self.expand), ("mix", self.mix)):
            if with_features and value:
                raise BadInput("F does not follow the images that this makes",
                               field=f"evaluation.{field}",
                               allowed="none, or evaluation.features.use: without")  # fmt: skip

    def key(self, feature_weight: float | None) -> str:
        """The evaluation key of an arm: all that changes a score (``repeats`` only adds rows).

        ``feature_weight`` is lambda of the arm that uses F, None for the arm without.
        """
        data = self.model_dump(
            mode="json",
            exclude={"repeats", "protocol", "augmentation", "teacher", *self._unused()},
            exclude_defaults=True,
        )  # fmt: skip
        if self.teacher is not None:
            data["teacher"] = self.teacher.identity()
        return fingerprint(
            {
                **data,
                "augmentation": augmentation_identity(self.augmentation),
                "lambda": feature_weight,
            }
        )

    def _unused(self) -> set[str]:
        """Fields that say nothing beside the others."""
        said_by = {
            ("lr_grid", "lr_chosen_on"): self.lr == "search",
            ("step_size",): self.schedule == "step",
            ("syn_steps",): self.schedule == "staged",
            ("betas",): self.optimizer != "sgd",
            ("temperature", "scale_loss"): self.loss in ("sce", "kl"),
            ("mse_weight", "ce_weight"): self.loss == "mse_gt",
        }
        return {field for fields, used in said_by.items() if not used for field in fields}


def _shortened(training: Plan | TeacherSpec, most: int) -> dict[str, int]:
    """Epochs and warm-up of a training that takes at most ``most`` epochs."""
    epochs = min(training.epochs, most)
    return {"epochs": epochs, "warmup": min(training.warmup, epochs - 1)}
