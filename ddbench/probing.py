"""Which dataset and value space is a foreign set of? A small network is asked.

A set in the wrong space trains to chance level, so a few hundred steps decide what statistics of
the pixels cannot. The answer is a proposal for the user's options, never taken by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ddbench import data as real_data
from ddbench import datasets, networks
from ddbench.arms import Arm
from ddbench.data import RealData
from ddbench.datasets import DatasetSpec
from ddbench.engine import choose, configure, resolve_device
from ddbench.errors import BadInput
from ddbench.evaluation import Target, score
from ddbench.importers import Found, Options
from ddbench.importers._detect import read
from ddbench.importers._settle import settle
from ddbench.protocols import Plan
from ddbench.randomness import Streams

log = logging.getLogger(__name__)

_STEPS, _BATCH, _TEST_IMAGES = 300, 256, 2000


@dataclass(frozen=True)
class Probe:
    """One candidate: accuracy (fraction of some test images) if that is what the set is.

    Attributes:
        accuracy: None where it could not be tried.
        reason: why not, else empty.
        images: test images that it was measured on.
    """

    dataset: str
    space: str
    constants: str | None
    accuracy: float | None
    reason: str = ""
    images: int = 0

    def __str__(self) -> str:
        family = f" {self.constants}" if self.constants else ""
        return f"{self.dataset}, {self.space}{family}"

    @property
    def outcome(self) -> str:
        """The accuracy in percent with its standard error, or why there is none."""
        if self.accuracy is None:
            return self.reason
        error = (self.accuracy * (1 - self.accuracy) / self.images) ** 0.5
        return f"{100 * self.accuracy:.1f} % \N{PLUS-MINUS SIGN} {100 * error:.1f}"


def probe(path: Path, options: Options | None = None, *, device: str = "auto") -> list[Probe]:
    """Every dataset of the set's shape and space it could be in, best first.

    Raises:
        BadInput: the file is no set, or there is no dataset of its shape.
    """
    options = options or Options()
    found = read(path, options).sets[0]
    if found.y is None:
        raise BadInput("has no labels to train on", file=path, allowed="--labels FILE")
    classes = int(found.y.max()) + 1 if found.y.dim() == 1 else found.y.shape[1]
    names = _candidates(tuple(found.x.shape[1:]), classes)  # type: ignore[arg-type]
    if not names:
        raise BadInput(f"no dataset has images {list(found.x.shape[1:])} of {classes} classes",
                       file=path)  # fmt: skip
    tried = [result for name in names for result in _spaces(found, options, name, path, device)]
    return sorted(
        tried, key=lambda one: -1.0 if one.accuracy is None else one.accuracy, reverse=True
    )


def _candidates(shape: tuple[int, int, int], classes: int) -> list[str]:
    known = [datasets.facts(n) for n in datasets.names() if n not in datasets.generic_names()]
    return [f.name for f in known if f.shape == shape and f.num_classes == classes]


def _spaces(found: Found, options: Options, name: str, path: Path, device: str) -> Iterator[Probe]:
    """Candidates of one dataset: pixels as they are, normalised by each family, whitened."""
    families = list(datasets.facts(name).constants)
    spaces: list[tuple[str, str | None]] = [("unit", None)]
    spaces += [("meanstd", family) for family in families]
    spaces += [("zca", None)] if found.x.dtype != torch.uint8 else []
    where, seen = resolve_device(device), set()
    for space, family in spaces:
        fields = {"zca": space == "zca", **({"constants": family} if family else {})}
        spec = DatasetSpec.parse({"name": name, **fields})
        constants = datasets.facts(name).constants.get(family or "")
        identity = (space, constants and (constants.mean, constants.std))
        if identity in seen:
            continue  # families that agree
        seen.add(identity)
        try:
            data = real_data.load(spec, where)
            accuracy = _accuracy(found, options, space, family, data, name, path)
        except BadInput as error:
            yield Probe(name, space, family, None, error.problem)
            continue
        count = min(_TEST_IMAGES, len(data.x_test))
        found_so = Probe(name, space, family, accuracy, images=count)
        log.info("%s: %s", found_so, found_so.outcome)
        yield found_so


def _accuracy(
    found: Found, options: Options, space: str, family: str | None, data: RealData, name: str,
    path: Path,
) -> float:  # fmt: skip
    answers = options.model_copy(update={"space": space, "constants": family})
    facts = datasets.facts(name)
    data_set = settle(found, answers, facts, data.space, file=path).data_set
    where = data.x_test.device
    network = networks.resolve({**facts.network.model_dump(exclude_none=True), "width": 32})
    epochs = max(1, _STEPS // -(-len(data_set) // _BATCH))
    plan = Plan.parse({"protocol": "probe", "repeats": 1, "epochs": epochs, "lr": 0.01})
    engine = choose(where, [network], data.shape, min(_BATCH, len(data_set)))
    configure(engine)
    target = Target(data.x_test[:_TEST_IMAGES], data.y_test[:_TEST_IMAGES])
    (record,) = score(
        data_set.to(where), Arm(network, plan), data, target, [0], Streams(0, where), engine,
        iteration=0,
    )  # fmt: skip
    return record.accuracy
