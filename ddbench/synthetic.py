"""The synthetic variables: x, y and F, their optimisers, and the one step that updates them.

A method hands over one function that turns a ``View`` of the variables into parts of its loss.
Whether only x, only F, or both in turn are stepped is decided here; methods do not know of F.

A stored image may hold f x f images of lower resolution (multi-formation; IDC, Kim et al., ICML
2022): f^2 images are formed of it whenever a network sees the set. I images per class are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from ddbench.data import normalise, unnormalise
from ddbench.distilled import DistilledSet, Space
from ddbench.features.contrast import contrast_term
from ddbench.features.spec import FeatureSpec
from ddbench.importers._idc_decode import decode
from ddbench.objective import Batch, Examples, FeatureTerm, SyntheticLoss, examples_of
from ddbench.stack import Stack


@dataclass(frozen=True)
class View:
    """What one update sees: x (and one feature set) with whatever is learned as a leaf.

    Attributes:
        purpose: names the update; it draws its own real batches.
        x: [N, C, H, W] as stored, class by class, ``ipc`` each.
        F: one feature set [N or classes, c, h, w], or None.
        loss: the loss of a network on this view.
        encoder_only: compare the encoder's gradients only (an F step; the feature term has none in
            the classifier, DRUPI ``DC/DCmain3.0.py:1044``).
        task_weight: lambda_task of the term CE(C(F), y); 0 where F is not learned.
        record_fit: receives the unweighted task term per class, [C].
        form: the images and labels that a network sees, from the stored ones of some classes.
    """

    purpose: str
    x: Tensor
    ipc: int
    loss: SyntheticLoss
    F: Tensor | None = None
    per_class: bool = False
    encoder_only: bool = False
    task_weight: float = 0.0
    record_fit: Callable[[Tensor], None] = lambda fit: None
    form: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda x, y: (x, y)

    def class_batch(self, classes: slice, labels: Tensor) -> Batch:
        """The images of some classes: x [f^2 I, C, ...], y [f^2 I, C], targets [I, C, c, h, w]."""
        stored = self.x.unflatten(0, (-1, self.ipc))[classes].transpose(0, 1)
        x, y = self.form(stored, labels.expand(self.ipc, -1))
        targets = None if self.F is None else self.targets(classes)
        return Batch(x, y, targets)

    def targets(self, classes: slice) -> Tensor:
        """F of some classes, [I, C, c, h, w]."""
        assert self.F is not None
        if self.per_class:
            return self.F[classes].expand(self.ipc, -1, -1, -1, -1)
        return self.F.unflatten(0, (-1, self.ipc))[classes].transpose(0, 1)

    def matched(self, network: Stack) -> list[str]:
        """Names of the parameters whose gradients are compared."""
        return network.encoder if self.encoder_only else list(network.params)


Match = Callable[[View], Iterable[Tensor]]


class SyntheticVariables:
    """x [N, C, H, W], y int64 [N] and M feature sets, with one optimiser each for x and F.

    Args:
        data: the starting set, class by class; F in it is learned, F computed later is not here.
        ipc: images per class.
        lr, momentum: SGD of the pixels.
        features: the features block where F is learned; None otherwise.
        term: the feature term of networks that train on the set; None without F.
        factor: f; F is not defined for more than one image in a stored one.
    """

    def __init__(
        self,
        data: DistilledSet,
        ipc: int,
        *,
        lr: float = 0.0,
        momentum: float = 0.0,
        features: FeatureSpec | None = None,
        term: FeatureTerm | None = None,
        factor: int = 1,
    ) -> None:
        if factor > 1 and data.F is not None:
            raise ValueError("F labels images, and a stored image holds several")
        self._data, self._ipc, self.factor = data, ipc, factor
        self._features, self._term = features, term
        self._loss = SyntheticLoss(data.kind, term=term)
        self.x = data.x.clone().requires_grad_()
        self.updates_images = features is None or features.update_images
        self._x_optimizer = torch.optim.SGD([self.x], lr=lr, momentum=momentum)
        self.F = [] if data.F is None else [f.clone().requires_grad_() for f in data.F.unbind(1)]
        self._F_optimizer = _feature_optimizer(features, self.F) if features else None
        self._fit = torch.full((max(1, len(self.F)),), torch.inf, device=self.x.device)

    def current(self) -> DistilledSet:
        """The set as networks train on it now, detached: of its images, all that they hold."""
        F = torch.stack([f.detach() for f in self.F], dim=1) if self.F else None
        x, y = self.x.detach().clone(), self._data.y
        if self.factor > 1:
            by_class = (part.unflatten(0, (-1, self._ipc)).transpose(0, 1) for part in (x, y))
            x, y = (part.transpose(0, 1).flatten(0, 1) for part in self._form(*by_class))
        return DistilledSet(
            x=x, y=y, space=self._data.space, kind=self._data.kind, F=F,
            features=self._data.features if self.F else {}, lr=self._data.lr,
        )  # fmt: skip

    @property
    def images_per_class(self) -> int:
        """f^2 I: how many a network sees."""
        return self.factor**2 * self._ipc

    def _form(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return formed(x, y, self.factor, self._data.space)

    @property
    def best(self) -> int:
        """The feature set with the lowest last task loss (``use: best``); the first before any."""
        return int(self._fit.argmin())

    def examples(self) -> Examples:
        """The set as networks train on it now, and with which loss (``loss``)."""
        best = self.best if self._features and self._features.use == "best" else None
        return examples_of(self.current(), self._term, best)

    @property
    def loss(self) -> SyntheticLoss:
        """The loss of networks that train on the set."""
        return self._loss

    # --- the step --------------------------------------------------------------------------

    def step(self, match: Match) -> Tensor:
        """One update of everything that is learned; returns the summed loss of its first part.

        ``alternate`` (DRUPI ``DC/DCmain3.0.py:990-1097``): x on the view without F, then every
        feature set on the view with x detached. Each set has its own momentum: stepping one leaves
        the others where they are (the reference moves them by their momentum).
        """
        losses = []
        if self.updates_images:
            loss = SyntheticLoss(self._data.kind)
            view = View("images", self.x, self._ipc, loss, form=self._form)
            losses.append(self._descend(match(view), [self.x], self._x_optimizer))
        if self._F_optimizer is not None and self._features and self._features.learns:
            for number, F in enumerate(self.F):
                parts = self._feature_losses(match, number)
                losses.append(self._descend(parts, [F], self._F_optimizer))
        return losses[0] if losses else torch.zeros((), device=self.x.device)

    def _feature_losses(self, match: Match, number: int) -> Iterator[Tensor]:
        spec, F = self._features, self.F[number]
        assert spec is not None
        fits: list[Tensor] = []
        view = View(
            "features", self.x.detach(), self._ipc, self._loss, F,
            per_class=spec.granularity == "per_class",
            encoder_only=spec.match_params == "encoder",
            task_weight=spec.lambda_task,
            record_fit=lambda fit: fits.append(fit.detach().sum()),
        )  # fmt: skip
        yield from match(view)
        if fits:
            self._fit[number] = torch.stack(fits).sum()
        if spec.contrast.weight > 0:
            labels = self._data.y if not view.per_class else torch.arange(
                len(F), device=F.device
            )  # fmt: skip
            yield spec.contrast.weight * contrast_term(F, labels, spec.contrast)

    @staticmethod
    def _descend(
        parts: Iterable[Tensor], leaves: list[Tensor], optimizer: torch.optim.Optimizer
    ) -> Tensor:
        """Back-propagate every part into the leaves alone, then step; returns the summed loss."""
        for leaf in leaves:
            leaf.grad = torch.zeros_like(leaf)
        total = torch.zeros((), device=leaves[0].device)
        for part in parts:
            part.backward(inputs=leaves)
            total = total + part.detach()
        optimizer.step()
        for leaf in leaves:
            leaf.grad = None
        return total

    # --- checkpoints -----------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as tensors and plain values."""
        return {
            "x": self.x.detach().clone(),
            "F": [f.detach().clone() for f in self.F],
            "fit": self._fit.clone(),
            "x_optimizer": self._x_optimizer.state_dict(),
            "F_optimizer": self._F_optimizer.state_dict() if self._F_optimizer else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict()`` with the same bits."""
        with torch.no_grad():
            self.x.copy_(state["x"])
            for mine, saved in zip(self.F, state["F"], strict=True):
                mine.copy_(saved)
            self._fit.copy_(state["fit"])
        self._x_optimizer.load_state_dict(state["x_optimizer"])
        if self._F_optimizer is not None:
            self._F_optimizer.load_state_dict(state["F_optimizer"])


def formed(x: Tensor, y: Tensor, factor: int, space: Space) -> tuple[Tensor, Tensor]:
    """The images that stored ones hold, as IDC's decoder forms them of pixels; differentiable.

    Args:
        x: [I, C, ...] in ``space``, which must lead back to pixels.
        y: int64 [I, C].
        factor: f; 1 gives the input.

    Returns:
        [f^2 I, C, ...] in ``space``, first the upper left crop of every image; and their y.
    """
    if factor == 1:
        return x, y
    pixels = unnormalise(x.flatten(0, 1), space, clamp=False)
    crops, labels = decode(pixels, y.flatten(), factor)
    classes = x.shape[1]
    return normalise(crops, space).unflatten(0, (-1, classes)), labels.unflatten(0, (-1, classes))


def tiled(x: Tensor, factor: int) -> Tensor:
    """Stored images [I, ...] of f^2 I real ones: crop k holds number k I + i, resized to nearest.

    The crops are those of the decoder. The reference's ``mix`` cuts a side that f does not divide
    elsewhere, so that decoded images straddle two (snu-mllab/Efficient-Dataset-Condensation
    ``condense.py:24-181``).
    """
    if factor == 1:
        return x
    parts = x.unflatten(0, (factor**2, -1))
    out = torch.empty_like(parts[0])
    height, width = (
        [slice(at, at + -(-side // factor)) for at in range(0, side, -(-side // factor))]
        for side in x.shape[2:]
    )
    for part, (rows, columns) in zip(parts, product(height, width), strict=True):
        place = out[..., rows, columns]
        place.copy_(torch.nn.functional.interpolate(part, size=place.shape[2:]))
    return out


def _feature_optimizer(spec: FeatureSpec, sets: list[Tensor]) -> torch.optim.Optimizer | None:
    if not sets:
        return None
    if spec.optimizer == "adam":
        return torch.optim.Adam(sets, lr=spec.lr, weight_decay=spec.weight_decay)
    return torch.optim.SGD(sets, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
