"""Trackers show a run elsewhere while it goes on. One public file each, found by location.

``DDBENCH_TRACK=tensorboard,wandb`` asks for them; otherwise nothing of them is imported. They are
told what the log has at every checkpoint and decide nothing: one that fails is left out with a
warning, and the run goes on. Torch-free at the top.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from ddbench import plugins
from ddbench.arms import ENSEMBLE, OWN, recipe_arms
from ddbench.errors import BadInput, unknown
from ddbench.scalars import ScalarLog, stage_of

if TYPE_CHECKING:
    from ddbench.job import Job
    from ddbench.recipe import Recipe
    from ddbench.scalars import Row
    from ddbench.store import EvaluationRecord

VARIABLE = "DDBENCH_TRACK"
FOLDER = ".tracking"
"""Below the results folder; a folder per tracker and run is in it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What a tracker is told of a run.

    Attributes:
        id: key and seed: the same for all processes that work on it.
        name, group: recipe and seed; the recipe with its key, which all seeds have in common.
        folder: the tracker's own for this run; exists.
        config: the resolved recipe as plain data, with key and seed.
        recipe: the resolved recipe as YAML.
    """

    id: str
    name: str
    group: str
    folder: Path
    config: Mapping[str, Any]
    recipe: str


class Tracker(Protocol):
    """What a tracker's module gives as ``start(run)``.

    The module has ``PACKAGE``, too: what must be importable. The extra that installs it is named
    like the module. Any method may raise: the tracker is then told nothing more.
    """

    def rows(self, rows: Iterable[Row]) -> None:
        """Show further iterations.

        The first may be one that a process had shown before it was killed; then it and all after
        it come again, with the same values.
        """

    def summary(self, values: Mapping[str, float], iteration: int) -> None:
        """Show numbers of the finished run, which had ``iteration`` iterations."""

    def close(self, *, failed: bool) -> None:
        """This process tells no more; ``failed``: the run was cut off or could not go on."""


def asked() -> tuple[str, ...]:
    """The trackers that ``DDBENCH_TRACK`` names, each once.

    Raises:
        BadInput: an unknown one, or one whose package is not installed.
    """
    known = plugins.names(__name__)
    named = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    wanted = tuple(dict.fromkeys(name for name in named if name))
    for name in wanted:
        if name not in known:
            raise unknown("tracker", name, known, field=VARIABLE)
        package = plugins.load(__name__, name).PACKAGE
        if importlib.util.find_spec(package) is None:
            raise BadInput(f"'{name}' needs the package {package}, which is not installed",
                           field=VARIABLE, allowed=f"pip install 'ddbench[{name}]'")  # fmt: skip
    return wanted


class Trackers:
    """The trackers of a job, each started when there is something to tell; a context manager.

    Args:
        scalars: what is told; what it holds already was told by earlier processes, but not to a
            tracker that is new to the run.

    Raises:
        BadInput: see ``asked``.
    """

    def __init__(self, job: Job, scalars: ScalarLog) -> None:
        self._job, self._scalars, self._resumed_at = job, scalars, len(scalars)
        self._left = list(asked())
        self._started: dict[str, Tracker] = {}
        self._told: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for name in list(self._started):
            self._do(name, lambda tracker: tracker.close(failed=kind is not None))

    def tell(self) -> None:
        """Hand over the iterations since the last time."""
        for name in list(self._left):
            if len(self._scalars) > self._told.get(name, self._resumed_at):
                self._do(name, partial(self._hand_over, name))

    def summary(self, values: Mapping[str, float], iteration: int) -> None:
        """Hand over numbers of the finished run."""
        for name in list(self._left):
            self._do(name, lambda tracker: tracker.summary(values, iteration))

    def _hand_over(self, name: str, tracker: Tracker) -> None:
        tracker.rows(self._scalars.rows(self._told[name]))
        self._told[name] = len(self._scalars)
        self._note(name).write_text(str(self._told[name]))

    def _do(self, name: str, act: Callable[[Tracker], None]) -> None:
        """``act`` on a tracker, which is given up if it fails."""
        try:
            if name not in self._started:
                self._start(name)
            act(self._started[name])
        except Exception as error:  # others' code, disks and networks: any kind of mistake
            self._left.remove(name)
            self._started.pop(name, None)
            text = " ".join(f"{type(error).__name__}: {error}".split())
            log.warning("%s: no more tracking by %s (%s); the run goes on",
                        self._job.title, name, text)  # fmt: skip

    def _start(self, name: str) -> None:
        recipe, path, seed = self._job.recipe, self._job.path, self._job.seed
        folder, note = self._folder(name), self._note(name)
        told = int(note.read_text()) if note.is_file() else 0
        self._told[name] = min(told, self._resumed_at)
        folder.mkdir(parents=True, exist_ok=True)
        config = {**recipe.to_data(), "key": recipe.key, "seed": seed}
        run = Run(path.stem, f"{recipe.name} seed {seed}", f"{recipe.name} {recipe.key}", folder,
                  config, recipe.to_yaml())  # fmt: skip
        self._started[name] = plugins.load(__name__, name).start(run)

    def _folder(self, name: str) -> Path:
        path = self._job.path
        return path.parents[2] / FOLDER / name / f"{self._job.recipe.name}-{path.stem}"

    def _note(self, name: str) -> Path:
        """Where it is noted how many iterations a tracker has been told."""
        return self._folder(name) / "told"


def tag(name: str) -> str:
    """``loss/stage_3`` of ``loss_stage_3``: trackers group by what is before the stroke."""
    staged = stage_of(name)
    return f"{staged[0]}/stage_{staged[1]}" if staged else name


def summarise(job: Job, records: Iterable[EvaluationRecord]) -> None:
    """Tell the trackers the accuracies of a finished run.

    Raises:
        BadInput: see ``asked``.
    """
    with Trackers(job, ScalarLog()) as trackers:
        iteration = job.recipe.method.iterations_of(job.recipe.ipc)
        trackers.summary(accuracies(job.recipe, records), iteration)


def accuracies(recipe: Recipe, records: Iterable[EvaluationRecord]) -> dict[str, float]:
    """Final-epoch accuracies of the set, fractions: means over the networks of each arm.

    Named ``accuracy/NETWORK/PROTOCOL``, with ``+F`` after a network that trains with F.
    """
    keys = {arm.key for arm in recipe_arms(recipe) if arm.role == OWN}
    found: dict[str, list[float]] = {}
    for record in records:
        if record.evaluation_key in keys and record.network_seed != ENSEMBLE:
            network = f"{record.network}{'+F' if record.used_features else ''}"
            found.setdefault(f"accuracy/{network}/{record.protocol}", []).append(record.accuracy)
    return {name: sum(values) / len(values) for name, values in found.items()}
