"""What the networks of an arm train on, and how: a set under a plan, made ready once.

Axes: N images, K members of a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ddbench.arms import Arm
from ddbench.augment import Augmentation
from ddbench.data import RealData
from ddbench.distilled import DistilledSet
from ddbench.errors import BadInput
from ddbench.expansion import expanded, factor
from ddbench.label_losses import SoftLoss
from ddbench.objective import Examples, FeatureTerm, SyntheticLoss, examples_of
from ddbench.protocols import Plan, Rates
from ddbench.randomness import Streams
from ddbench.stack import Stack, create
from ddbench.trained import Teachers, bound, teachers_of
from ddbench.training import Draws, OptimizerSpec, train


@dataclass(frozen=True)
class Lesson:
    """A set under a plan.

    Attributes:
        data_set: what is trained on, before any copies; labels as they are used.
        examples, loss: what a step takes.
        augmentation: bound to the set's value space.
        teachers: those of the plan, or None; they label every batch if ``online``.
    """

    arm: Arm
    data: RealData
    data_set: DistilledSet
    examples: Examples
    loss: SyntheticLoss
    augmentation: Augmentation | None
    teachers: Teachers | None
    online: bool

    @property
    def classes(self) -> Tensor:
        """int64 [N]: the class of every image of the set."""
        return _classes(self.data_set)

    def fit(
        self,
        members: Sequence[int],
        streams: Streams,
        rates: Rates,
        *,
        factors: Sequence[float] | None = None,
        after_epoch: Callable[[Stack, int], None] | None = None,
    ) -> Stack:
        """Fresh networks ``members``, trained.

        Network e draws its initialisation, order, augmentation and choice of features from streams
        of its own, named by e alone: the same for every set of one size, every arm, stack and
        number of networks, so that differences between methods, and of F, can be paired.

        Args:
            factors: network k trains at ``factors[k]`` times the rate.
        """
        plan = self.arm.plan
        stack = create(
            self.arm.network, self.data.shape, self.data.num_classes,
            streams.generators("evaluation: init", members),
        )  # fmt: skip
        draws = Draws(
            streams.generators("evaluation: order", members),
            streams.generators("evaluation: extra", members),
            streams.generators("evaluation: choice", members),
        )
        train(
            stack, self.examples, self.loss, optimizer_of(plan, rates),
            draws.orders(len(rates), len(self.examples)),
            batch_size=plan.batch_size, rates=rates, factors=factors,
            augmentation=self.augmentation, mix=plan.mix,
            teacher=self.teachers if self.online else None, draws=draws,
            after_epoch=None if after_epoch is None else lambda e, _: after_epoch(stack, e),
        )  # fmt: skip
        return stack


def lesson_of(
    data_set: DistilledSet | None,
    arm: Arm,
    data: RealData,
    streams: Streams,
    teachers: Teachers | None = None,
) -> Lesson:
    """Make a set ready for the networks of an arm; its teachers are trained if need be.

    Args:
        data_set: None = the real training part.
        teachers: those of the arm's plan, where they are at hand.

    Raises:
        BadInput: the set's labels do not suit the plan's loss; F, and images it does not follow.
    """
    plan = arm.plan
    chosen = data_set or DistilledSet(data.x_train, data.y_train, data.space)
    if plan.labels == "hard":
        chosen = replace(chosen, y=_classes(chosen), kind="index")
    _check_labels(chosen, plan)
    term = _term(arm, data.shape)
    plan.check_runnable(with_features=term is not None)
    if plan.teacher is not None and teachers is None:
        teachers = teachers_of(plan.teacher, data, streams)
    examples = examples_of(chosen, term, chosen.features.get("best_feature_set"))
    if plan.expand:
        y = examples.y.repeat(factor(plan.expand), *[1] * (examples.y.dim() - 1))
        examples = replace(examples, x=expanded(examples.x, plan.expand), y=y)
    online = plan.teacher is not None and plan.teacher.labels == "per_batch"
    if teachers is not None and not online:
        examples = replace(examples, soft=teachers.label(examples.x))
    return Lesson(
        arm, data, chosen, examples,
        SyntheticLoss(chosen.kind, plan.label_smoothing, term, soft_loss_of(plan)),
        bound(plan.augmentation, chosen.space), teachers, online,
    )  # fmt: skip


def optimizer_of(plan: Plan, rates: Rates) -> OptimizerSpec:
    """The optimiser of a plan."""
    return OptimizerSpec(
        rates.values[0], plan.momentum, plan.weight_decay, plan.optimizer, plan.betas,
        plan.weight_decay_on,
    )  # fmt: skip


def soft_loss_of(plan: Plan) -> SoftLoss | None:
    """The loss towards soft labels, None for cross-entropy."""
    if plan.loss == "ce":
        return None
    return SoftLoss(plan.loss, plan.temperature, plan.scale_loss, plan.mse_weight, plan.ce_weight)


def _check_labels(data_set: DistilledSet, plan: Plan) -> None:
    if data_set.kind == "centred":
        raise BadInput("the labels are centred regression targets, which no loss here fits",
                       field="evaluation.labels", allowed="hard")  # fmt: skip
    if plan.loss == "ce" or plan.teacher is not None or data_set.kind == "logit":
        return
    if data_set.kind == "index":
        raise BadInput(f"the labels are classes; '{plan.loss}' compares with soft labels",
                       field="evaluation.loss", allowed="ce, or a teacher")  # fmt: skip
    if plan.loss == "mse_gt":
        raise BadInput("the labels are probabilities; 'mse_gt' compares logits",
                       field="evaluation.loss", allowed="ce, sce, kl, or a teacher")  # fmt: skip


def _classes(data_set: DistilledSet) -> Tensor:
    return data_set.y if data_set.kind == "index" else data_set.y.argmax(1)


def _term(arm: Arm, shape: tuple[int, int, int]) -> FeatureTerm | None:
    if arm.features is None or arm.weight is None:
        return None
    layer = arm.network.layer_index(arm.features.layer, shape)
    return FeatureTerm(arm.features, layer, arm.weight)
