"""From what a file holds to a set in a dataset's terms: every open question is answered or refused.

An answer comes from the format, the user, or is evident (there is one possibility). Statistics only
propose, in the message that asks, and contradict what a format says.

Axes: N images, C channels, H, W, K classes, M feature sets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddbench.distilled import DistilledSet, LabelKind, Space, SpaceName
from ddbench.errors import BadInput, unknown
from ddbench.importers import Found, Options, _answers, _classes, _labels
from ddbench.importers._labels import propose_kind
from ddbench.importers._proposals import guess_dataset, proposals
from ddbench.importers._spaces import contradiction, converted, propose_space

if TYPE_CHECKING:
    from ddbench.datasets import DatasetFacts

__all__ = ["Settled", "guess_dataset", "proposals", "propose_kind", "propose_space", "settle"]

_LABEL_KINDS = ("index", "probability", "logit", "centred")
_OWN = "measured"  # family of a dataset of the user's own files


@dataclass(frozen=True, eq=False)
class Settled:
    """A foreign set in the terms of a dataset.

    Attributes:
        data_set: (x, y, lr) in the dataset's value space and class order, without F.
        F: its features, float32 [N, M, ...], or None.
        notes: what a user should know, in sentences.
        answers: per question what was taken and from whom (``format``, ``user``, ``evident``).
    """

    data_set: DistilledSet
    F: Tensor | None
    notes: tuple[str, ...]
    answers: dict[str, Any]


def settle(
    found: Found, options: Options, facts: DatasetFacts, space: Space, *, file: object
) -> Settled:
    """Close what ``found`` leaves open.

    Args:
        found: a set as its file holds it.
        options: the user's answers.
        facts: the dataset that the set is of.
        space: the value space of that dataset as loaded; x is converted to it, without clamping.
        file: what messages call the file.

    Raises:
        BadInput: a question that is left open, with a proposal; or a contradiction.
    """
    try:
        return _Settling(found, options, facts, space).settled()
    except BadInput as error:
        raise error.at(file=file) from None


@dataclass
class _Settling:
    found: Found
    options: Options
    facts: DatasetFacts
    space: Space
    notes: list[str] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def settled(self) -> Settled:
        self._check_shape()
        x = self._images()
        y, kind = self._labels()
        F = self.found.F
        if F is not None and (len(F) != len(x) or not bool(torch.isfinite(F).all())):
            raise BadInput(f"has F {list(F.shape)} for {len(x)} images, or F is not finite")
        data_set = DistilledSet(x=x, y=y, space=self.space, kind=kind, lr=self._step_size())
        if self.found.selected_on_test:
            self.notes.append(
                "It is the snapshot with the highest test accuracy of its run, which flatters it."
            )
        return Settled(data_set, F, tuple(self.notes), self.answers)

    def _answer(self, question: str, value: object, source: str) -> None:
        self.answers[question] = {"value": value, "from": source}

    # --- images --------------------------------------------------------------------------------

    def _check_shape(self) -> None:
        x, facts = self.found.x, self.facts
        if tuple(x.shape[1:]) != facts.shape:
            raise BadInput(
                f"has images {list(x.shape[1:])}, {facts.name} has {list(facts.shape)}; "
                f"{guess_dataset(self.found)}",
                field="dataset", allowed="the dataset (and image_size) that it was made from",
            )  # fmt: skip
        if x.is_floating_point() and (count := int((~torch.isfinite(x)).sum())):
            raise BadInput(f"has {count} of {x.numel()} pixel values that are not finite")

    def _images(self) -> Tensor:
        name = self._space_name()
        if self.options.constants is not None and name != "meanstd":
            raise BadInput(f"belongs to space 'meanstd', its space is '{name}'",
                           field="--constants")  # fmt: skip
        stated = self._family() if name == "meanstd" else Space(name)
        if name == "zca":
            self.notes.append(
                f"Its whitening is taken for that of {self.facts.name} (eps 0.1, training images)."
            )
        x = converted(self.found.x, stated, self.space, self.facts.name)
        if not bool(torch.isfinite(x).all()):
            raise BadInput(f"has pixel values beyond float32 in space '{self.space.name}'")
        return x

    def _space_name(self) -> SpaceName:
        """The value space of x."""
        x, own, asked = self.found.x, self.found.space, self.options.space
        if x.dtype == torch.uint8:
            if asked not in (None, "unit"):
                raise BadInput(
                    f"has 8-bit images, which are pixels, not '{asked}'", field="--space"
                )
            self._answer("space", "unit", "evident")
            return "unit"
        if asked is not None:
            self._answer("space", asked, "user")
            if own not in (None, asked):
                self.notes.append(f"The format says space '{own}'; '{asked}' was asked for.")
            return asked
        if own is None:
            guess, why = propose_space(x)
            raise BadInput(
                "does not say the value space of its images; by their statistics perhaps "
                f"'{guess}' ({why})", field="--space", allowed="unit, meanstd, zca, kip_zca",
            )  # fmt: skip
        if (problem := contradiction(own, x)) is not None:
            raise BadInput(f"{problem}; which is it?", field="--space",
                           allowed="unit, meanstd, zca, kip_zca")  # fmt: skip
        self._answer("space", own, "format")
        return own

    def _family(self) -> Space:
        """The mean and standard deviation that x was normalised with."""
        known, asked, own = self.facts.constants, self.options.constants, self.found.constants
        mean, std = (tuple(self.found.hints.get(name, ())) for name in ("mean", "std"))
        if asked is None and own is None and len(mean) == len(std) == self.facts.shape[0]:
            self._answer("constants", {"mean": list(mean), "std": list(std)}, "format")
            return Space("meanstd", mean=mean, std=std)
        if not known:
            return self._own_constants(asked or own)
        for family, source in ((asked, "user"), (own, "format")):
            if family is not None:
                if family not in known:
                    raise unknown("family of constants", family, list(known), "--constants")
                self._answer("constants", family, source)
                return Space("meanstd", mean=known[family].mean, std=known[family].std)
        if len({(one.mean, one.std) for one in known.values()}) > 1:
            raise BadInput("does not say with which mean and std it was normalised",
                           field="--constants", allowed=list(known))  # fmt: skip
        one = next(iter(known.values()))
        self._answer("constants", next(iter(known)), "evident")
        return Space("meanstd", mean=one.mean, std=one.std)

    def _own_constants(self, family: str | None) -> Space:
        """Those of a dataset that has no published ones: measured on its training part."""
        if family not in (None, _OWN) or self.space.name != "meanstd":
            raise BadInput(
                f"was normalised with '{family or _OWN}', and {self.facts.name} has no published "
                "constants", field="--constants", allowed=_OWN,
            )  # fmt: skip
        self._answer("constants", _OWN, "user" if self.options.constants else "evident")
        return self.space

    # --- labels --------------------------------------------------------------------------------

    def _labels(self) -> tuple[Tensor, LabelKind]:
        y = self._given_labels()
        kind = self._kind(y)
        classes = self.facts.num_classes
        if kind == "index" and y.is_floating_point():
            y = y.argmax(1)  # every row is one-hot
        if kind != "index" and y.shape[1] != classes:
            raise BadInput(
                f"has labels of {y.shape[1]} classes, {self.facts.name} has {classes}; "
                f"{guess_dataset(self.found)}", field="dataset",
            )  # fmt: skip
        if kind == "index" and not 0 <= int(y.min()) <= int(y.max()) == classes - 1:
            raise BadInput(
                f"has labels {int(y.min())} to {int(y.max())}, {self.facts.name} has {classes} "
                f"classes; {guess_dataset(self.found)}", field="dataset",
            )  # fmt: skip
        y = self._ordered(y, kind)
        self._check_balance(y, kind)
        return y, kind

    def _given_labels(self) -> Tensor:
        """y of the user's file, the set's own, or class-major ones."""
        count, classes = len(self.found.x), self.facts.num_classes
        if self.options.labels is not None:
            self._answer("labels", Path(self.options.labels).name, "user")
            return _answers.labels(Path(self.options.labels), count)
        if self.found.y is not None:
            if not bool(torch.isfinite(self.found.y).all()):
                raise BadInput("has labels that are not finite")
            self._answer("labels", "in the file", "format")
            return self.found.y
        if count % classes:
            raise BadInput(f"has no labels, and {count} images cannot be {classes} classes alike",
                           field="--labels", allowed="a file with the labels")  # fmt: skip
        self._answer("labels", "assumed_class_major", "evident")
        self.notes.append("It has no labels; they are taken to run class by class.")
        return torch.arange(classes).repeat_interleave(count // classes)

    def _kind(self, y: Tensor) -> LabelKind:
        """What y holds, checked against its values."""
        own = None if self.options.labels is not None else self.found.kind
        asked = self.options.labels_kind
        if not y.is_floating_point():
            if asked not in (None, "index"):
                raise BadInput(f"has integer labels, not '{asked}'", field="--labels-kind")
            self._answer("labels_kind", "index", "evident")
            return "index"
        proposed, why = propose_kind(y)
        kind = asked or own
        if kind is None:
            raise BadInput(f"does not say what its float labels hold; by their values perhaps "
                           f"'{proposed}' ({why})", field="--labels-kind",
                           allowed=_LABEL_KINDS)  # fmt: skip
        wrong = {
            "probability": not _labels.is_distribution(y),
            "index": not _labels.is_one_hot(y),
            "centred": not _labels.is_centred(y),
        }
        if wrong.get(kind, False):
            raise BadInput(f"has labels that cannot be of kind '{kind}': they look like "
                           f"'{proposed}' ({why})", field="--labels-kind",
                           allowed=_LABEL_KINDS)  # fmt: skip
        if kind == "logit" and proposed == "probability" and asked is None:
            raise BadInput(f"the format says its labels are logits, they look like probabilities "
                           f"({why}); which is it?", field="--labels-kind",
                           allowed="logit, probability")  # fmt: skip
        self._answer("labels_kind", kind, "user" if asked else "format")
        return kind

    def _ordered(self, y: Tensor, kind: LabelKind) -> Tensor:
        """y in the dataset's class order."""
        given = self.options.class_order
        order, how, source = _classes.order(
            self.found.class_ids, self.facts, None if given is None else Path(given)
        )
        self._answer("class_order", how, source)
        if order == list(range(self.facts.num_classes)):
            return y
        target = torch.tensor(order)
        if kind == "index":
            return target[y]
        return torch.empty_like(y).index_copy_(1, target, y)

    def _check_balance(self, y: Tensor, kind: LabelKind) -> None:
        """Notes on unequal classes, and on soft labels that disagree with the order of rows."""
        classes, hard = self.facts.num_classes, y if kind == "index" else y.argmax(1)
        counts = torch.bincount(hard, minlength=classes)
        if kind == "index" and len(counts.unique()) > 1:
            self.notes.append(
                f"Its classes have {int(counts.min())} to {int(counts.max())} images."
            )
        if kind == "index" or len(y) % classes or self.answers["class_order"]["from"] == "user":
            return
        rows = torch.arange(classes).repeat_interleave(len(y) // classes)
        agreement = float((hard == rows).double().mean())
        if agreement < 0.5:
            self.notes.append(
                f"Only {100 * agreement:.0f} % of its soft labels agree with images that run class "
                "by class: another order of rows or classes, or another value space?"
            )

    # --- step size -----------------------------------------------------------------------------

    def _step_size(self) -> float | tuple[float, ...] | None:
        if self.options.lr is not None:
            lr = _answers.step_size(self.options.lr)
            self._answer("lr", lr, "user")
            return lr
        if self.found.lr is not None:
            self._answer("lr", self.found.lr, "format")
            return self.found.lr
        self._answer("lr", None, "format")
        if self.found.hints.get("lr_not_saved"):
            self.notes.append(
                "The student's step size is not in the file; if it was learned, its authors "
                "evaluate with it (--lr gives it)."
            )
        return None
