"""The loss of a network on a synthetic set: the only place where its two terms meet.

    loss = CE(f(x), y) + lambda * d(T(E_l(x)), T(F))           (DRUPI, arXiv 2410.01611)

A protocol may put another loss towards soft labels in the place of CE (``label_losses``).

Axes: B batch, K networks of a stack, N images of the set, M feature sets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional as fn

from ddbench.distilled import DistilledSet, LabelKind
from ddbench.features.metrics import METRICS
from ddbench.features.spec import FeatureSpec
from ddbench.features.transform import combine, tile, transform
from ddbench.label_losses import SoftLoss, as_logits
from ddbench.stack import Stack


@dataclass(frozen=True)
class Examples:
    """A set to train on, gathered by index.

    Attributes:
        x: float [N, C, H, W]; y: int64 [N] or float [N, classes] of ``kind``.
        targets: F as it is used, [N, c, h, w] (one target per image) or [N, M, c, h, w] (one of M
            is drawn per batch), or None.
        soft: a teacher's logits [N, classes] for the images, or None.
    """

    x: Tensor
    y: Tensor
    kind: LabelKind = "index"
    targets: Tensor | None = None
    soft: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Tensor, choice: Tensor | None = None) -> Batch:
        """The images of index int64 [B, K]; ``choice`` int64 [K] picks one of M feature sets."""
        targets = None
        if self.targets is not None:
            targets = self.targets[index]
            if targets.dim() == 6:
                targets = combine(targets, "random", choice)
        soft = None if self.soft is None else self.soft[index]
        return Batch(self.x[index], self.y[index], targets, soft=soft)


@dataclass(frozen=True)
class Batch:
    """x [B, K or 1, C, H, W], y [B, K] or [B, K, classes], F targets [B, K, c, h, w] or None.

    ``weight`` [B, K] sums to 1 over B; None is the plain mean. Padding has weight 0. ``soft``
    [B, K, classes]: a teacher's logits, which a soft loss takes in place of y's.
    """

    x: Tensor
    y: Tensor
    targets: Tensor | None = None
    weight: Tensor | None = None
    soft: Tensor | None = None


@dataclass(frozen=True)
class FeatureTerm:
    """The second term: which layer, T, d and lambda. ``layer`` is 1-based."""

    spec: FeatureSpec
    layer: int
    weight: float

    def __call__(self, feature: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        """lambda * d(T(E), T(F)) for maps [B, K, c, h, w]; [K]."""
        ours, theirs = transform(feature, self.spec), transform(targets, self.spec)
        return self.weight * METRICS[self.spec.metric](ours, theirs, weight)


@dataclass(frozen=True)
class SyntheticLoss:
    """CE on labels of ``kind``, and the feature term where the batch carries targets.

    CE is the mean over the batch. ``index``: on the class; ``probability``: -sum p log q;
    ``logit``: the same with p = softmax(y) (DATM ``distill/DATM.py:255-260``). ``soft`` takes the
    place of CE.
    """

    kind: LabelKind = "index"
    label_smoothing: float = 0.0
    term: FeatureTerm | None = None
    soft: SoftLoss | None = None

    def __call__(self, stack: Stack, batch: Batch, *, train: bool = True) -> Tensor:
        """Loss of every network, [K]: one forward pass of the stack."""
        use = self.term if batch.targets is not None else None
        out = stack(batch.x, layer=use.layer if use else None, train=train)
        loss = self.label_loss(out.logits, batch.y, batch.weight, batch.soft)
        if use is not None:
            assert out.feature is not None and batch.targets is not None
            loss = loss + use(out.feature, batch.targets, batch.weight)
        return loss

    def label_loss(
        self, logits: Tensor, y: Tensor, weight: Tensor | None = None, soft: Tensor | None = None
    ) -> Tensor:
        """The first term for logits [B, K, classes], [K]; ``soft`` [B, K, classes] teaches."""
        if self.kind == "centred":
            raise ValueError("centred labels are regression targets, not trained on by CE")
        if self.soft is not None:
            target = as_logits(y, self.kind) if soft is None else soft
            label = y if self.kind == "index" else y.argmax(-1)
            each = self.soft(logits, target.expand_as(logits), label.expand(logits.shape[:2]))
            return each.mean(0) if weight is None else (each * weight).sum(0)
        target = (y.softmax(-1) if self.kind == "logit" else y).expand(
            logits.shape[:2] + y.shape[2:]
        )
        flat = fn.cross_entropy(
            logits.flatten(0, 1), target.flatten(0, 1),
            reduction="none", label_smoothing=self.label_smoothing,
        )  # fmt: skip
        each = flat.unflatten(0, logits.shape[:2])
        return each.mean(0) if weight is None else (each * weight).sum(0)

    def task_loss(self, stack: Stack, targets: Tensor, y: Tensor) -> Tensor:
        """CE(C(T(F)), y) of every network, [K]: F through the network's own detached head.

        ``targets`` [B, K, c, h, w] items; pooled ones are written out to the whole map first.
        """
        assert self.term is not None
        shape = stack.feature_shapes[self.term.layer - 1]
        maps = tile(transform(targets, self.term.spec), shape)
        return self.label_loss(stack.detached().head(maps, self.term.layer), y)


def examples_of(data: DistilledSet, term: FeatureTerm | None, best: int | None = None) -> Examples:
    """A set ready for training; F only where a term uses it.

    ``best``: the feature set of ``use: best``.
    """
    plain = Examples(data.x, data.y, data.kind)
    if term is None or data.F is None or term.weight == 0:
        return plain  # lambda 0 is the run without F, bit for bit
    spec, F = term.spec, data.F
    if spec.granularity == "per_class":
        F = F[data.y if data.kind == "index" else data.y.argmax(1)]
    if spec.use == "random" and spec.n_feat > 1:
        return replace(plain, targets=F)
    return replace(plain, targets=combine(F, spec.use, best))
