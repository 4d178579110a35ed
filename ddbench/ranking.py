"""DD-Ranking's scores: how far a set is more than its labels, its augmentation and luck.

Li et al., "DD-Ranking: Rethinking the Evaluation of Dataset Distillation" (2025); definitions as
in NUS-HPC-AI-Lab/DD-Ranking ``ddranking/metrics/{hard_label,soft_label,aug_robust}.py``. With
accuracies as fractions, in every round (one fresh network per role, paired by its number):

    HLR = A_real - A_hard                      hard label recovery, lower is better
    IOR = A_set - A_random                     improvement over random, higher is better
    LRS = S(w IOR - (1 - w) HLR)               label robust score
    ARS = S(g d + (1 - g) d_plain)             augmentation robust score
    S(a) = (exp(a) - exp(-1)) / (exp(1) - exp(-1)),   d = A_set - A_random with the protocol's
    augmentation, d_plain without any.

Scores are in [0, 1]; a set that is worth random images and recovers everything has 0.2689, not 0.
They are computed per round and then averaged; the spread is the population's. The reference feeds
percentages into the exponentials, which takes the scores out of [0, 1]: see ``percent_bug``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ddbench.protocols import roles_of
from ddbench.statistics import Interval, interval_of

DAGGER = "\N{DAGGER}"
TEST_SELECTED = "best_on_test"
"""``selection`` of a score that owes something to the test set."""

Values = NDArray[np.float64]
Round = tuple[int, int]
"""The seed of a set, and the number of a network of it."""
_Rounds = dict[Round, float]
_Trained = tuple[str, bool]
"""A role, and whether with F."""

Name = Literal["hlr", "ior", "lrs", "ars"]
NEEDS: Mapping[Name, tuple[str, ...]] = MappingProxyType(
    {
        "hlr": ("real", "hard"),
        "ior": ("set", "random"),
        "lrs": ("set", "random", "real", "hard"),
        "ars": ("set", "random", "set_plain", "random_plain"),
    }
)
"""What each score compares; ``hard`` stands for the networks of A_hard, see ``ranking_of``."""


class Scored(Protocol):
    """What of a score is ranked: an ``EvaluationRecord``, or a row of a table that has as much."""

    @property
    def role(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def network(self) -> str: ...
    @property
    def network_seed(self) -> int: ...
    @property
    def used_features(self) -> bool: ...
    @property
    def selection(self) -> str: ...
    @property
    def accuracy(self) -> float: ...
    @property
    def best_accuracy(self) -> float: ...


# --- per round -----------------------------------------------------------------------------------


def hlr(real: ArrayLike, hard: ArrayLike) -> Values:
    """Hard label recovery of every round, in [-1, 1]; raises ValueError unless all are fractions.

    Args:
        real: accuracies of networks trained on the whole training set, [rounds].
        hard: the same on the synthetic images with hard labels.
    """
    return _fractions(real, "real") - _fractions(hard, "hard")


def ior(own: ArrayLike, random: ArrayLike) -> Values:
    """Improvement over random of every round, in [-1, 1]; raises ValueError as ``hlr``.

    Args:
        own: accuracies of networks trained on the set under its protocol, [rounds].
        random: the same on as many random real images under the same protocol.
    """
    return _fractions(own, "own") - _fractions(random, "random")


def lrs(improvement: ArrayLike, recovery: ArrayLike, w: float = 0.5, *,
        percent_bug: bool = False) -> Values:  # fmt: skip
    """Label robust score of every round, in [0, 1].

    Args:
        improvement: IOR as fractions, [rounds].
        recovery: HLR as fractions, [rounds].
        w: weight of the improvement, in [0, 1].
        percent_bug: put percentages into the exponential, as the reference does; only to check a
            printed number (it can be far outside of [0, 1]).

    Raises:
        ValueError: a difference outside of [-1, 1], or a weight outside of [0, 1].
    """
    gaps = _gaps(improvement, "improvement"), _gaps(recovery, "recovery")
    return _score(_weight(w) * gaps[0] - (1 - w) * gaps[1], percent_bug)


def ars(augmented: ArrayLike, plain: ArrayLike, g: float = 0.5, *,
        percent_bug: bool = False) -> Values:  # fmt: skip
    """Augmentation robust score of every round, in [0, 1]; arguments and errors as ``lrs``.

    Args:
        augmented: IOR with the protocol's augmentation, [rounds].
        plain: IOR without any.
        g: weight of the first.
        percent_bug: as in ``lrs``.
    """
    gaps = _gaps(augmented, "augmented"), _gaps(plain, "plain")
    return _score(_weight(g) * gaps[0] + (1 - g) * gaps[1], percent_bug)


def _score(exponent: Values, percent_bug: bool) -> Values:
    scale = 100.0 if percent_bug else 1.0
    low, high = np.exp(-1.0), np.exp(1.0)
    values: Values = (np.exp(scale * exponent) - low) / (high - low)
    return values


def _fractions(values: ArrayLike, name: str) -> Values:
    return _within(values, name, 0.0, "accuracies are fractions from 0 to 1, not percentages")


def _gaps(values: ArrayLike, name: str) -> Values:
    return _within(values, name, -1.0, "differences of fractions are from -1 to 1")


def _within(values: ArrayLike, name: str, low: float, rule: str) -> Values:
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    outside = ~((array >= low) & (array <= 1))  # also where it is not a number
    if outside.any():
        raise ValueError(f"{name} has {array[outside][0]:g}; {rule}")
    return array


def _weight(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"the weight is {value:g}; it is from 0 to 1")
    return value


# --- of stored scores ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Score:
    """One score per round, with its mean and population standard deviation.

    Attributes:
        rounds: float64 [rounds].
        seeds: the seed of the set of every round, [rounds]; empty: all are of one set.
    """

    rounds: Values
    seeds: Sequence[int] = ()

    @property
    def mean(self) -> float:
        """Mean over the rounds."""
        return float(self.rounds.mean())

    @property
    def std(self) -> float:
        """Standard deviation over the rounds, ddof 0 as DD-Ranking."""
        return float(self.rounds.std())

    @property
    def by_set(self) -> list[list[float]]:
        """The rounds of every set."""
        sets: dict[int, list[float]] = {}
        for seed, value in zip(self.seeds or [0] * len(self.rounds), self.rounds, strict=True):
            sets.setdefault(seed, []).append(float(value))
        return list(sets.values())

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of the mean (``statistics.interval_of``); None for a single round."""
        return interval_of(self.by_set)

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.std:.3f}"


@dataclass(frozen=True, eq=False)
class Ranking:
    """DD-Ranking's scores of one set and network; None where a role has not been trained."""

    hlr: Score | None = None
    ior: Score | None = None
    lrs: Score | None = None
    ars: Score | None = None


Variant = Literal["final", "max_over_eval"]
VARIANTS: Mapping[Variant, str] = {"final": "accuracy", "max_over_eval": "best_accuracy"}
"""Rank by ``final``; ``max_over_eval`` is selected on the test set, as the reference's numbers."""


def ranking_of(
    sets: Mapping[int, Sequence[Scored]],
    *,
    w: float = 0.5,
    g: float = 0.5,
    used_features: bool = False,
    percent_bug: bool = False,
) -> dict[Variant, Ranking]:
    """The scores of the sets of one recipe in one (protocol, network) group, by their roles.

    A round is a set and the number of a network of it. Each score takes the rounds for which all
    its roles have a record; the full data may have fewer networks, whose mean of the same set then
    stands in (DD-Ranking has one A_real for all rounds). Ensembles take no part.

    A_hard is role ``set_hard``; where the protocol has no such role it trains on hard labels
    itself, and role ``set`` serves. Either way it is of networks without F: where a set was only
    trained with F (``features.use: with``) by a protocol without ``set_hard``, there are neither
    HLR nor LRS.

    Args:
        sets: the records of every set by the set's seed, with the keys that belong together.
        w, g: weights of LRS and ARS.
        used_features: rank the networks that were trained with F; baselines never have it.
        percent_bug: see ``lrs``.

    Returns:
        Rankings by ``VARIANTS``; scores by the best accuracy over training are None where it was
        not tracked.

    Raises:
        BadInput: a protocol that is not known.
        ValueError: records of more than one protocol or network, two of one round and role, or
            accuracies that are no fractions.
    """
    for name in ("protocol", "network"):
        found = sorted({getattr(record, name) for records in sets.values() for record in records})
        if len(found) > 1:
            raise ValueError(f"scores of several {name}s cannot be ranked as one: {found}")
    return {
        variant: _ranking(_compared(sets, column, used_features), w, g, percent_bug)
        for variant, column in VARIANTS.items()
    }


def lacking(
    sets: Mapping[int, Sequence[Scored]],
    *,
    used_features: bool = False,
    variant: Variant = "final",
) -> dict[Name, tuple[str, ...]]:
    """Per score, the roles without any network, because of which it is None.

    A score of which every role is there is None, too, where no round has all of them.

    Args:
        sets, used_features: as in ``ranking_of``.
        variant: the accuracies that count.

    Raises:
        BadInput, ValueError: as ``ranking_of``.
    """
    compared = _compared(sets, VARIANTS[variant], used_features)
    named = {"hard": _hard_role(sets)}
    return {
        name: tuple(named.get(role, role) for role in needed if not compared[role])
        for name, needed in NEEDS.items()
    }


def _hard_role(sets: Mapping[int, Sequence[Scored]]) -> str:
    """The role that trains on hard labels: the set's own where the protocol has no other."""
    protocols = {record.protocol for records in sets.values() for record in records}
    return "set_hard" if any("set_hard" in roles_of(name) for name in protocols) else "set"


def _compared(
    sets: Mapping[int, Sequence[Scored]], column: str, used_features: bool
) -> dict[str, _Rounds]:
    """The accuracies of every role in ``NEEDS``, by round."""
    found = _accuracies(sets, column)
    own = {role: found.get((role, used_features), {}) for role in ("set", "set_plain")}
    baselines = {role: found.get((role, False), {}) for role in ("random", "random_plain")}
    hard = found.get((_hard_role(sets), False), {})
    real = _for_every_round(found.get(("real", False), {}), hard)
    return {**own, **baselines, "hard": hard, "real": real}


def _accuracies(sets: Mapping[int, Sequence[Scored]], column: str) -> dict[_Trained, _Rounds]:
    """Accuracies of the networks that were trained alike, by round."""
    found: dict[_Trained, _Rounds] = {}
    for seed, records in sets.items():
        for record in records:
            value = float(getattr(record, column))
            if record.network_seed < 0 or np.isnan(value):
                continue
            rounds = found.setdefault((record.role, record.used_features), {})
            if (seed, record.network_seed) in rounds:
                raise ValueError(
                    f"set {seed} has two scores of network {record.network_seed}, {record.role}"
                )
            rounds[seed, record.network_seed] = value
    return found


def _ranking(compared: dict[str, _Rounds], w: float, g: float, percent_bug: bool) -> Ranking:
    def label_robust(own: Values, random: Values, real: Values, hard: Values) -> Values:
        return lrs(ior(own, random), hlr(real, hard), w, percent_bug=percent_bug)

    def augmentation_robust(
        own: Values, random: Values, own_plain: Values, random_plain: Values
    ) -> Values:
        return ars(ior(own, random), ior(own_plain, random_plain), g, percent_bug=percent_bug)

    formulas: dict[Name, Callable[..., Values]] = {
        "hlr": hlr, "ior": ior, "lrs": label_robust, "ars": augmentation_robust
    }  # fmt: skip
    found: dict[str, Score] = {}
    for name, needed in NEEDS.items():
        rounds = sorted(set.intersection(*(set(compared[role]) for role in needed)))
        if rounds:
            values = ([compared[role][each] for each in rounds] for role in needed)
            found[name] = Score(formulas[name](*values), tuple(seed for seed, _ in rounds))
    return Ranking(**found)


def _for_every_round(real: _Rounds, rounds: Iterable[Round]) -> _Rounds:
    """``real`` with the mean of its networks of the same set for the rounds that it lacks."""
    filled = dict(real)
    for seed, member in rounds:
        of_set = [value for (other, _), value in real.items() if other == seed]
        if of_set:
            filled.setdefault((seed, member), sum(of_set) / len(of_set))
    return filled


def lines(sets: Mapping[int, Sequence[Scored]]) -> Iterator[str]:
    """The scores that records of one network allow, as text: one line per protocol and use of F.

    A line says which of the networks that it compares owe something to the test set.

    Args:
        sets: the records of every set of one recipe, by the set's seed.

    Raises:
        BadInput, ValueError: see ``ranking_of``.
    """
    every = [record for records in sets.values() for record in records]
    kinds = {(r.protocol, r.used_features): None for r in every if r.role == "set"}
    for protocol, features in kinds:
        group = {
            seed: [record for record in records if record.protocol == protocol]
            for seed, records in sets.items()
        }
        ranking = ranking_of(group, used_features=features)["final"]
        scores = {each.name.upper(): getattr(ranking, each.name) for each in fields(ranking)}
        known = {name: score for name, score in scores.items() if score is not None}
        if known:
            text = ", ".join(f"{name} {score}" for name, score in known.items())
            rounds = min(len(score.rounds) for score in known.values())
            chosen = _test_selected(group, features)
            yield f"{protocol}{' with F' if features else ''}: {text} ({rounds} rounds){chosen}"


def _test_selected(sets: Mapping[int, Sequence[Scored]], features: bool) -> str:
    """A note on roles of which a set or a rate was chosen by test accuracy; empty without any."""
    roles = {
        record.role
        for records in sets.values()
        for record in records
        if record.selection == TEST_SELECTED and record.used_features in (False, features)
    }
    if not roles:
        return ""
    named = ", ".join(sorted(roles))
    return f" {DAGGER} chosen on the test set, not comparable with others: {named}"
