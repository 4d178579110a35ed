"""Where a run stands: what is done of a recipe and seed, and what is left. Torch-free.

Told from the recipe and the header of the result file alone. An evaluation can be cut into shards
by architecture: shard k of n has every n-th of the recipe's networks with all their arms. Arms of
one network are never apart, as some take over scores or the choice of a snapshot from others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ddbench import datasets, experts, store
from ddbench.arms import ENSEMBLE, OWN, Arm, recipe_arms
from ddbench.errors import BadInput
from ddbench.protocols import TrainedOn
from ddbench.recipe import Recipe

if TYPE_CHECKING:
    from ddbench.store import EvaluationRecord, Header

Row = tuple[str, str, bool, int]
Missing = list[tuple[Arm, list[int]]]
"""Per arm, the numbers of its networks."""


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 1) of ``count`` of an evaluation; by default all of it."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str, field: str = "--shard") -> Shard:
        """``2/3``; raises ``BadInput``."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        index, count = map(int, match.groups()) if match else (0, 0)
        if not 1 <= index <= count:
            raise BadInput(f"found '{text}'", field=field, allowed="K/N with K from 1 to N")
        return cls(index, count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def whole(self) -> bool:
        """Whether there is nothing else."""
        return self.count == 1

    @property
    def name(self) -> str:
        """How its lock and its checkpoints are named."""
        return f"shard-{self.index}-of-{self.count}"

    def check(self, stages: Sequence[str]) -> None:
        """Raise ``BadInput`` for stages that cannot be done in shards."""
        if not self.whole and set(stages) != {"evaluate"}:
            raise BadInput(f"found {','.join(stages)} for shard {self}, but only an evaluation can "
                           "be cut", field="--stages", allowed="evaluate")  # fmt: skip

    def arms(self, recipe: Recipe) -> list[Arm]:
        """Its arms, in the order in which the whole evaluation has them."""
        mine = recipe.evaluated_networks[self.index - 1 :: self.count]
        return [arm for arm in recipe_arms(recipe) if arm.network in mine]


WHOLE = Shard()


def shards_left(recipe: Recipe, seed: int, results: Path) -> list[Shard]:
    """The shards of one architecture each that have scores to be made; whole if there is one.

    Raises:
        BadInput: the file cannot be read.
    """
    count = len(recipe.evaluated_networks)
    every = [Shard(index, count) for index in range(1, count + 1)]
    header = _header(recipe, seed, results)
    if header is None:
        return every
    # a file with all scores that is not called finished needs one more look
    return [s for s in every if missing_rows(recipe, header.evaluations, s)] or [WHOLE]


def result_file(recipe: Recipe, seed: int, results: Path) -> Path:
    """Where the result of a recipe and seed lies."""
    return store.result_path(results, datasets.label(recipe.dataset), recipe.name, recipe.key, seed)


# --- rows ----------------------------------------------------------------------------------------


def row_of(record: EvaluationRecord) -> Row:
    """What makes a row of the table of scores unique."""
    return record.evaluation_key, record.network, record.used_features, record.network_seed


def arm_row(arm: Arm, member: int) -> Row:
    """The row that one network of an arm, or its ensemble, fills."""
    key = arm.ensemble_key if member == ENSEMBLE else arm.key
    return key, arm.network.label, arm.features is not None, member


def missing_rows(
    recipe: Recipe, records: Iterable[EvaluationRecord], shard: Shard = WHOLE
) -> Missing:
    """Per arm of a shard, the networks that have no score yet; see ``serves``."""
    how = recipe.evaluation
    have = {row_of(record) for record in records if serves(record, how.test_every)}
    missing = []
    for arm in shard.arms(recipe):
        wanted = list(range(arm.plan.repeats))
        if how.ensemble and arm.role == OWN:
            wanted.append(ENSEMBLE)
        absent = [e for e in wanted if arm_row(arm, e) not in have]
        if absent:
            missing.append((arm, absent))
    return missing


def serves(record: EvaluationRecord, test_every: int) -> bool:
    """Whether a score has what is asked for: its best over as many tests, where that is tracked.

    Files of earlier releases do not say over how many; what they have counts.
    """
    if not test_every or record.network_seed == ENSEMBLE:
        return True
    return not math.isnan(record.best_accuracy) and record.test_every in (test_every, 0)


# --- what is done --------------------------------------------------------------------------------


def is_done(recipe: Recipe, seed: int, results: Path, shard: Shard = WHOLE) -> bool:
    """Whether the file has every score that the recipe asks for, and is finished.

    Args:
        shard: only its scores are looked at; a file may then be unfinished.

    Raises:
        BadInput: the file cannot be read.
    """
    header = _header(recipe, seed, results)
    if header is None:
        return False
    finished = header.attrs["status"] == "done" or not shard.whole
    return finished and not missing_rows(recipe, header.evaluations, shard)


def stages_left(recipe: Recipe, seed: int, results: Path) -> tuple[str, ...]:
    """Of ``experts``, ``distill`` and ``evaluate`` what is left to do, in order.

    ``experts`` where a network that the others need is not known to be in the cache.

    Raises:
        BadInput: the file cannot be read.
    """
    header = _header(recipe, seed, results)
    records = header.evaluations if header else ()
    missing = missing_rows(recipe, records)
    left = []
    if header is None:
        left.append("distill")
    if missing or header is None or header.attrs["status"] != "done":
        left.append("evaluate")
    needed = _networks_needed(recipe, distill=header is None, missing=missing)
    keys = (experts.expert_key(recipe.dataset, spec, seed) for spec in needed)
    if not all(map(experts.known, keys)):
        left.insert(0, "experts")
    return tuple(left)


def _networks_needed(recipe: Recipe, *, distill: bool, missing: Missing) -> list[TrainedOn]:
    """The networks that what is left needs: all, or those of the evaluation that is missing."""
    if distill:
        return recipe.networks_needed()
    return [spec for arm, _ in missing for spec in arm.plan.networks_needed()]


def _header(recipe: Recipe, seed: int, results: Path) -> Header | None:
    """The file's attributes and scores; None without a file."""
    path = result_file(recipe, seed, results)
    if not path.is_file():
        return None
    try:
        return store.read_header(path)
    except BadInput as error:
        problem = f"{error.problem}; remove the file to make it again"
        raise BadInput(problem, file=path) from None
