"""One run: a recipe and a seed become one result file, stage by stage.

What is stored is what is scored: the evaluation reads the set back from the file. A run that was
cut off continues from its checkpoint; finished scores are never computed again.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddbench import data as real_data
from ddbench import datasets, provenance, store
from ddbench.arms import Arm, recipe_arms
from ddbench.data import RealData
from ddbench.distilled import DistilledSet
from ddbench.engine import Engine, choose, configure, resolve_device, set_numerics
from ddbench.errors import BadInput, CutOff, RunFailed
from ddbench.evaluation import ENSEMBLE, Target, score
from ddbench.features.source import feature_term, initial_features, stored_settings
from ddbench.methods import Step, TrainedOn
from ddbench.progress import progress
from ddbench.randomness import Streams
from ddbench.recipe import Recipe
from ddbench.store import EvaluationRecord, Result
from ddbench.synthetic import SyntheticVariables
from ddbench.task import Task
from ddbench.trained import cache_file, trained

log = logging.getLogger(__name__)

STAGES = ("experts", "distill", "label", "evaluate")
_PUBLISH_EVERY = 30.0  # seconds between rewrites of a file that scores are added to


@dataclass(frozen=True)
class Outcome:
    """What a run left: its file, and whether there was anything to do."""

    path: Path
    fresh: bool


def result_file(recipe: Recipe, seed: int, results: Path) -> Path:
    """Where the result of a recipe and seed lies."""
    return store.result_path(results, datasets.label(recipe.dataset), recipe.name, recipe.key, seed)


def missing_rows(
    recipe: Recipe, records: Sequence[EvaluationRecord]
) -> list[tuple[Arm, list[int]]]:
    """Per arm, the networks that have no score yet."""
    have = {(r.evaluation_key, r.network, r.used_features, r.network_seed) for r in records}
    missing = []
    for arm in recipe_arms(recipe):
        wanted = list(range(arm.plan.repeats)) + [ENSEMBLE] * recipe.evaluation.ensemble
        used = arm.features is not None
        absent = [e for e in wanted if (arm.key, arm.network.label, used, e) not in have]
        if absent:
            missing.append((arm, absent))
    return missing


def is_done(recipe: Recipe, seed: int, results: Path) -> bool:
    """Whether the file exists with every score that the recipe asks for."""
    path = result_file(recipe, seed, results)
    return path.is_file() and not missing_rows(recipe, store.read_header(path).evaluations)


def run(
    recipe: Recipe,
    seed: int,
    results: Path,
    *,
    device: str = "auto",
    stages: Sequence[str] = STAGES,
    download: bool = False,
    engine: Engine | None = None,
) -> Outcome:
    """Do what is missing of one recipe and seed.

    Args:
        results: folder of all results; the file's place in it follows from the recipe.
        stages: which of ``STAGES`` to do.
        engine: device, threads, stack and micro-batch; None chooses them.

    Raises:
        BadInput: data missing, or an impossible device.
        Locked: another process is writing this result.
        CutOff: the process was asked to stop; a checkpoint was written.
        RunFailed: numbers that are not finite.
    """
    path = result_file(recipe, seed, results)
    with store.writer_lock(path):
        if "evaluate" in stages and is_done(recipe, seed, results):
            return Outcome(path, fresh=False)
        work = _Run(recipe, seed, path, resolve_device(device), download, engine)
        if "experts" in stages:
            work.train_experts()
        if "distill" in stages:
            work.distill()
        if "evaluate" in stages:
            work.evaluate()
    return Outcome(path, fresh=True)


class _Run:
    """State shared by the stages of one run: settings, data, streams."""

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        path: Path,
        device: torch.device,
        download: bool,
        engine: Engine | None,
    ) -> None:
        self.recipe, self.seed, self.path = recipe, seed, path
        self.checkpoints = store.checkpoint_directory(path)
        self.device, self._download = device, download
        self.engine = engine or self._stored_engine() or self._new_engine()
        configure(self.engine)
        self.streams = Streams(seed, device)
        self._data: RealData | None = None

    @property
    def title(self) -> str:
        """How progress lines name this run."""
        return f"{self.recipe.name} seed {self.seed}"

    @property
    def data(self) -> RealData:
        """The real data, read when first needed."""
        if self._data is None:
            self._data = real_data.load(self.recipe.dataset, self.device, download=self._download)
        return self._data

    def _new_engine(self) -> Engine:
        facts = self.recipe.facts
        images = facts.num_classes * self.recipe.ipc if self.recipe.method.has_set else 10**9
        batch = min(images, max(plan.batch_size for _, plan in self.recipe.plans()))
        networks = [self.recipe.net, *self.recipe.evaluated_networks]
        return choose(self.device, networks, facts.shape, batch)

    def _stored_engine(self) -> Engine | None:
        """The settings that this run was started with, if they belong to this kind of device."""
        found: dict[str, Any] | None = None
        if (saved := store.checkpoint.load(self.checkpoints)) is not None:
            found = saved[1]
        elif self.path.is_file():
            attrs = store.read_header(self.path).attrs
            found = {key: attrs.get(key) for key in ("threads", "stack", "microbatch")}
            found["device"] = attrs.get("device_type")
        if found is None or str(found["device"]).split(":")[0] != self.device.type:
            return None
        return Engine(str(self.device), found["threads"], found["stack"], found["microbatch"])

    # --- experts ---------------------------------------------------------------------------

    def train_experts(self) -> None:
        """Train (or find) the networks on real data that later stages need."""
        for spec in self.recipe.networks_needed():
            if not cache_file(spec, self.data, self.streams).is_file():
                log.info("%s: training %d %s on the real data", self.title, spec.members,
                         spec.network.label)  # fmt: skip
            trained(spec, self.data, self.streams)

    # --- distill ---------------------------------------------------------------------------

    def distill(self) -> None:
        """Make the set and publish it, unless the file is there."""
        if self.path.is_file():
            return
        if not self.recipe.method.has_set:
            self._publish(Result(self._attributes("distilled", 0.0, provenance.now(), 0)))
            return
        with _stop_on_signals() as stopped:
            made = _Making(self, self._task())
            made.resume()
            made.make(stopped)
        self._publish(made.result())
        store.checkpoint.clear(self.checkpoints)

    def _task(self) -> Task:
        recipe = self.recipe
        task = Task(recipe.ipc, self.data, recipe.net, self.streams, self.engine)
        method, features = recipe.method, recipe.features
        set_numerics(allow_tf32=method.allow_tf32)
        start = self._set_of(self._initial_images(task))
        term = None
        if features is not None and recipe.feature_source == "matching":
            start = self.with_features(start)
            term = feature_term(features, recipe.net, self.data.shape)
        task.variables = SyntheticVariables(
            start, recipe.ipc,
            lr=method.pixel_sgd[0], momentum=method.pixel_sgd[1],
            features=features if term else None, term=term,
        )  # fmt: skip
        return task

    def _initial_images(self, task: Task) -> Tensor:
        if self.recipe.init_name == "noise":
            return task.noise_images()
        if self.recipe.init_name == "real":
            return task.random_real_images()
        return self.recipe.method.images(task)

    def _set_of(self, x: Tensor) -> DistilledSet:
        labels = torch.arange(self.data.num_classes, device=x.device)
        y = labels.repeat_interleave(self.recipe.ipc)
        return DistilledSet(x=x.detach(), y=y, space=self.data.space)

    def with_features(self, data_set: DistilledSet) -> DistilledSet:
        """The set with F as its ``init`` says, computed on the set's x."""
        recipe, features = self.recipe, self.recipe.features
        assert features is not None
        F = initial_features(
            features, recipe.feature_network, self._feature_source_network(), data_set.x,
            self.data, self.streams, self.engine.microbatch,
        )  # fmt: skip
        settings = stored_settings(
            features, recipe.feature_network, self.data.shape,
            str(recipe.feature_source), recipe.fixed_images,
        )  # fmt: skip
        return replace(data_set, F=F, features=settings)

    def _feature_source_network(self) -> TrainedOn | None:
        assert self.recipe.features is not None
        from_network = self.recipe.features.init.source == "network"
        return self.recipe.networks_needed()[-1] if from_network else None

    # --- evaluate --------------------------------------------------------------------------

    def evaluate(self) -> None:
        """Score the stored set: whatever the recipe asks for and the file lacks."""
        if not self.path.is_file():
            raise BadInput("there is no distilled set yet", file=self.path,
                           allowed="--stages distill,evaluate")  # fmt: skip
        result = store.read(self.path)
        records = list(result.evaluations)
        missing = missing_rows(self.recipe, records)
        total = sum(len(members) for _, members in missing)
        published = time.monotonic()
        with progress(f"{self.title}: evaluating", total) as bar:
            for arm, members in missing:
                iteration, data_set = self._chosen(result, arm)
                for record in self._scores(data_set, arm, members, iteration):
                    records.append(record)
                    bar.advance()
                    if time.monotonic() - published > _PUBLISH_EVERY:
                        result = self._with_records(result, records, "distilled")
                        published = time.monotonic()
        self._with_records(result, records, "done")

    def _scores(
        self, data_set: DistilledSet | None, arm: Arm, members: list[int], iteration: int
    ) -> Iterator[EvaluationRecord]:
        """Records of the missing members; networks are always trained in the same stacks."""
        everyone = range(arm.plan.repeats)
        ensemble = ENSEMBLE in members
        stacks = [
            everyone[first : first + self.engine.stack]
            for first in range(0, len(everyone), self.engine.stack)
        ]
        wanted = [e for part in stacks if ensemble or set(part) & set(members) for e in part]
        for record in score(
            data_set, arm, self.data, Target(self.data.x_test, self.data.y_test), wanted,
            self.streams, self.engine, iteration=iteration,
            test_every=self.recipe.evaluation.test_every, ensemble=ensemble,
        ):  # fmt: skip
            if record.network_seed in members:
                yield record

    def _chosen(self, result: Result, arm: Arm) -> tuple[int, DistilledSet | None]:
        """The set to be scored, by the selection rule, and its iteration."""
        last = self.recipe.method.iterations_of(self.recipe.ipc)
        if result.synthetic is None:
            return last, None
        candidates = {**result.snapshots, last: result.synthetic}
        if arm.plan.selection == "last":
            return last, result.synthetic.to(self.device)
        wanted = {*self.recipe.evaluation.snapshots, last}
        if absent := sorted(wanted - set(candidates)):
            raise BadInput(f"the file has no snapshots at {absent}; they are kept while distilling",
                           file=self.path, field="evaluation.snapshots",
                           allowed=sorted(candidates))  # fmt: skip
        target = self._selection_target(arm)
        means = {
            iteration: self._mean_accuracy(candidates[iteration].to(self.device), arm, target)
            for iteration in sorted(wanted)
        }
        best = max(means, key=lambda iteration: means[iteration])
        log.info("%s: %s takes iteration %d", self.title, arm.plan.selection, best)
        return best, candidates[best].to(self.device)

    def _selection_target(self, arm: Arm) -> Target:
        data = self.data
        if arm.plan.selection == "best_on_validation":
            assert data.x_val is not None and data.y_val is not None
            return Target(data.x_val, data.y_val)
        if arm.plan.selection == "best_on_real_train":
            return Target(data.x_train, data.y_train)
        return Target(data.x_test, data.y_test)

    def _mean_accuracy(self, data_set: DistilledSet, arm: Arm, target: Target) -> float:
        records = score(
            data_set, arm, self.data, target, range(arm.plan.repeats), self.streams, self.engine,
            iteration=0,
        )  # fmt: skip
        return float(np.mean([record.accuracy for record in records]))

    def _with_records(self, result: Result, records: list[EvaluationRecord], status: str) -> Result:
        """Publish the file with these records, in an order that does not tell of interruptions."""
        ordered = sorted(
            records,
            key=lambda r: (r.network, r.evaluation_key, not r.used_features, r.network_seed),
        )
        attrs = {**result.attrs, "status": status, "finished": provenance.now()}
        attrs["peak_memory_bytes"] = max(
            int(attrs.get("peak_memory_bytes", 0)), provenance.peak_memory(self.device)
        )
        updated = replace(result, attrs=attrs, evaluations=tuple(ordered))
        self._publish(updated)
        return updated

    # --- the file --------------------------------------------------------------------------

    def _publish(self, result: Result) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        store.write(self.path, result)

    def _attributes(
        self, status: str, seconds: float, started: str, restarts: int
    ) -> dict[str, Any]:
        return {
            "recipe": self.recipe.to_yaml(),
            "key": self.recipe.key,
            "seed": self.seed,
            "status": status,
            **provenance.environment(self.device),
            "device_type": self.device.type,
            "threads": self.engine.threads,
            "stack": self.engine.stack,
            "microbatch": self.engine.microbatch,
            "restarts": restarts,
            "started": started,
            "finished": provenance.now(),
            "seconds": seconds,
            "peak_memory_bytes": provenance.peak_memory(self.device),
            "dataset_sha256": self.data.sha256,
        }


class _Making:
    """A set being made: the method's iterations with log, snapshots and checkpoints."""

    def __init__(self, run_: _Run, task: Task) -> None:
        self._run, self._task = run_, task
        self._log: dict[str, list[Tensor]] = {}
        self._logged: dict[str, Any] = {}
        self._iterations: list[int] = []
        self._snapshots: dict[int, DistilledSet] = {}
        self._before = 0.0
        self._began = time.monotonic()
        self._started = provenance.now()
        self._restarts = 0

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one."""
        saved = store.checkpoint.load(self._run.checkpoints)
        if saved is None:
            return
        state, _ = saved
        self._task.variables.load_state_dict(state["variables"])
        self._task.start = state["iteration"]
        self._iterations = list(state["log_iterations"])
        self._log = {
            name: list(values.to(self._run.device).unbind())
            for name, values in state["log"].items()
        }
        self._snapshots = {
            int(iteration): replace(self._task.variables.current(), x=part["x"], F=part["F"])
            for iteration, part in state["snapshots"].items()
        }
        self._before, self._started = state["seconds"], state["started"]
        self._restarts = state["restarts"] + 1
        log.info("%s: resumed at iteration %d", self._run.title, self._task.start)

    def make(self, stopped: list[int]) -> None:
        """Run the method to its end; ``stopped`` fills when the process is asked to stop."""
        recipe, total = (
            self._run.recipe,
            self._run.recipe.method.iterations_of(self._run.recipe.ipc),
        )
        saved, period = time.monotonic(), checkpoint_period()
        title = f"{self._run.title}: distilling"
        with progress(title, total, self._task.start) as bar:
            for step in recipe.method.distill(self._task):
                self._note(step)
                bar.advance()
                if step.iteration in recipe.evaluation.snapshots:
                    self._snapshots[step.iteration] = self._finished(self._task.variables.current())
                due = time.monotonic() - saved >= period
                if (due or stopped) and step.iteration + 1 < total:
                    self._save(step.iteration + 1)
                    saved = time.monotonic()
                if stopped:
                    raise CutOff(f"{self._run.title}: stopped; the same command resumes it")

    def _note(self, step: Step) -> None:
        self._iterations.append(step.iteration)
        for name, value in step.scalars.items():
            self._log.setdefault(name, []).append(value.detach())

    def _save(self, iteration: int) -> None:
        self._check_finite(iteration)
        state = {
            "variables": self._task.variables.state_dict(),
            "iteration": iteration,
            "log_iterations": self._iterations,
            "log": {name: torch.stack(values) for name, values in self._log.items()},
            "snapshots": {
                str(number): {"x": part.x, "F": part.F} for number, part in self._snapshots.items()
            },
            "seconds": self._seconds(),
            "started": self._started,
            "restarts": self._restarts,
        }
        store.checkpoint.save(self._run.checkpoints, state, self._run.engine.as_dict())

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def _check_finite(self, iteration: int) -> None:
        for name, tensors in (("x", [self._task.variables.x]), ("F", self._task.variables.F)):
            for tensor in tensors:
                if not bool(torch.isfinite(tensor).all()):
                    raise RunFailed(
                        f"{self._run.title}: {name} is not finite at iteration {iteration}; lower "
                        f"{'method.lr_img or method.lr_net' if name == 'x' else 'features.lr'}"
                    )

    def _finished(self, data_set: DistilledSet) -> DistilledSet:
        """The set as it is published: F computed where it is not learned, at its stored dtype."""
        features = self._run.recipe.features
        if features is None:
            return data_set
        if data_set.F is None:
            data_set = self._run.with_features(data_set)
        assert data_set.F is not None
        settings = data_set.features
        if features.use == "best":
            settings = {**settings, "best_feature_set": self._task.variables.best}
        F = store.round_features(data_set.F, features.dtype)
        return replace(data_set, F=F, features=settings)

    def result(self) -> Result:
        """The finished set with its log, on the CPU."""
        self._check_finite(self._run.recipe.method.iterations_of(self._run.recipe.ipc))
        columns = {
            name: torch.stack(values).double().cpu().numpy() for name, values in self._log.items()
        }
        if columns:
            columns["iteration"] = np.asarray(self._iterations, dtype=np.int64)
        return Result(
            attrs=self._run._attributes(
                "distilled", self._seconds(), self._started, self._restarts
            ),
            synthetic=self._finished(self._task.variables.current()).to("cpu"),
            snapshots={number: part.to("cpu") for number, part in self._snapshots.items()},
            log=columns,
        )


def checkpoint_period() -> float:
    """Seconds between checkpoints: ``DDBENCH_CHECKPOINT_SECONDS``, default 60."""
    text = os.environ.get("DDBENCH_CHECKPOINT_SECONDS", "60")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise BadInput(
            f"found '{text}'", field="DDBENCH_CHECKPOINT_SECONDS", allowed="seconds >= 0"
        )
    return seconds


@contextmanager
def _stop_on_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGUSR1 (what schedulers send first) instead of dying of them."""
    received: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGUSR1)
    try:
        before = {
            number: signal.signal(number, lambda caught, _: received.append(caught))
            for number in numbers
        }
    except ValueError:  # not in the main thread: the caller handles signals
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
