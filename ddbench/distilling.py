"""Stage ``distill``: a method's iterations with log, snapshots, checkpoints, and F put in place."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import torch
from torch import Tensor

from ddbench import provenance, store, tracking
from ddbench.distilled import DistilledSet
from ddbench.engine import set_numerics
from ddbench.errors import BadInput, RunFailed
from ddbench.features import FeatureSpec
from ddbench.features.source import feature_term, initial_features, stored_settings
from ddbench.importing import imported
from ddbench.job import Job, checkpoint_period
from ddbench.methods import TrainedOn
from ddbench.progress import progress
from ddbench.scalars import ScalarLog
from ddbench.store import Result
from ddbench.synthetic import SyntheticVariables
from ddbench.task import Task

log = logging.getLogger(__name__)


def distill(job: Job) -> Result:
    """Make the set of a job, from its checkpoint if there is one; import a given one.

    Raises:
        CutOff: the process was asked to stop; a checkpoint was written.
        RunFailed: x or F are not finite.
    """
    if not job.recipe.method.has_set:
        return Result(job.attributes("distilled", 0.0, provenance.now(), 0))
    if job.recipe.method.given:
        result = imported(job)
        features = job.recipe.features
        if features is None or features.init.source == "file":
            return result
        assert result.synthetic is not None
        data_set = with_features(job, result.synthetic.to(job.device)).to("cpu")
        attrs = {name: value for name, value in result.attrs.items() if name != "set_bytes"}
        return replace(result, attrs=attrs, synthetic=_rounded(data_set, features))
    run = _Distillation(job, starting_task(job))
    run.resume()
    run.go_on()
    return run.result()


def starting_task(job: Job) -> Task:
    """The task with the variables as they start: x, and F where it is learned with it."""
    recipe, features = job.recipe, job.recipe.features
    _check_class_sizes(job)
    task = Task(recipe.ipc, job.data.without_tests(), recipe.net, job.streams, job.engine)
    labels = torch.arange(job.data.num_classes, device=job.device)
    start = DistilledSet(
        x=_initial_images(job, task).detach(), y=labels.repeat_interleave(recipe.ipc),
        space=job.data.space,
    )  # fmt: skip
    term = None
    if features is not None and recipe.feature_source == "matching":
        start = with_features(job, start)
        term = feature_term(features, recipe.net, job.data.shape)
    lr, momentum = recipe.method.pixel_sgd
    task.variables = SyntheticVariables(
        start, recipe.ipc, lr=lr, momentum=momentum,
        features=features if term else None, term=term,
    )  # fmt: skip
    set_numerics(allow_tf32=recipe.method.allow_tf32)
    return task


def _check_class_sizes(job: Job) -> None:
    """Real images per class after any validation split, which the recipe alone cannot tell."""
    fewest = int(job.data.class_count.min())
    if job.recipe.takes_real_images and job.recipe.ipc > fewest:
        raise BadInput(
            f"found {job.recipe.ipc}, but the smallest class has {fewest} training images",
            field="ipc", allowed=f"1 to {fewest}",
        )  # fmt: skip


def _initial_images(job: Job, task: Task) -> Tensor:
    if job.recipe.init_name == "noise":
        return task.noise_images()
    if job.recipe.init_name == "real":
        return task.random_real_images()
    return job.recipe.method.images(task)


def with_features(job: Job, data_set: DistilledSet) -> DistilledSet:
    """The set with F as its ``init`` says, computed on the set's x."""
    recipe, features, shape = job.recipe, job.recipe.features, job.data.shape
    assert features is not None
    network = recipe.feature_network
    F = initial_features(
        features, network, _source_network(job), data_set.x, job.data, job.streams,
        job.engine.microbatch,
    )  # fmt: skip
    settings = stored_settings(
        features, network, shape, str(recipe.feature_source), recipe.fixed_images
    )
    return replace(data_set, F=F, features=settings)


def _rounded(data_set: DistilledSet, features: FeatureSpec) -> DistilledSet:
    """The set with F at its stored dtype."""
    assert data_set.F is not None
    return replace(data_set, F=store.round_features(data_set.F, features.dtype))


def _source_network(job: Job) -> TrainedOn | None:
    assert job.recipe.features is not None
    from_network = job.recipe.features.init.source == "network"
    return job.recipe.networks_needed()[-1] if from_network else None


class _Distillation:
    """A set being made: the method's iterations with log, snapshots and checkpoints."""

    def __init__(self, job: Job, task: Task) -> None:
        self._job, self._task = job, task
        self._log = ScalarLog()
        self._snapshots: dict[int, DistilledSet] = {}
        self._before = 0.0
        self._began = time.monotonic()
        self._started = provenance.now()
        self._restarts = 0

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one."""
        state = self._job.saved()
        if "variables" not in state:  # none, or scores of a file that was deleted since
            return
        self._task.variables.load_state_dict(state["variables"])
        self._task.start = state["iteration"]
        self._log.load_state_dict(state)
        self._snapshots = {
            int(iteration): replace(self._task.variables.current(), **part)
            for iteration, part in state["snapshots"].items()
        }
        self._before, self._started = state["seconds"], state["started"]
        self._restarts = state["restarts"] + 1
        log.info("%s: resumed at iteration %d", self._job.title, self._task.start)

    def go_on(self) -> None:
        """Run the method to its end, or to a checkpoint when the process is asked to stop."""
        recipe = self._job.recipe
        total = recipe.method.iterations_of(recipe.ipc)
        saved, period = time.monotonic(), checkpoint_period()
        title = f"{self._job.title}: distilling"
        trackers = tracking.Trackers(self._job, self._log)
        with trackers, progress(title, total, self._task.start) as bar:
            for step in recipe.method.distill(self._task):
                self._log.note(step)
                bar.advance()
                if step.iteration in recipe.evaluation.snapshots:
                    self._snapshots[step.iteration] = self._finished(self._task.variables.current())
                if step.iteration + 1 == total:
                    break  # nothing is left to be resumed: the set is published at once
                if self._job.stopped or time.monotonic() - saved >= period:
                    trackers.tell()
                    self._save(step.iteration + 1)
                    saved = time.monotonic()
                self._job.stop_if_asked()
            trackers.tell()

    def _save(self, iteration: int) -> None:
        self._check_finite(iteration)
        state = {
            "variables": self._task.variables.state_dict(),
            "iteration": iteration,
            **self._log.state_dict(),
            "snapshots": {
                str(number): {"x": part.x, "F": part.F, "features": part.features}
                for number, part in self._snapshots.items()
            },
            "seconds": self._seconds(),
            "started": self._started,
            "restarts": self._restarts,
        }
        self._job.save(state)

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def _check_finite(self, iteration: int) -> None:
        for name, tensors in (("x", [self._task.variables.x]), ("F", self._task.variables.F)):
            for tensor in tensors:
                if not bool(torch.isfinite(tensor).all()):
                    raise RunFailed(
                        f"{self._job.title}: {name} is not finite at iteration {iteration}; lower "
                        f"{'method.lr_img or method.lr_net' if name == 'x' else 'features.lr'}"
                    )

    def _finished(self, data_set: DistilledSet) -> DistilledSet:
        """The set as it is published: F computed where it is not learned, at its stored dtype."""
        features = self._job.recipe.features
        if features is None:
            return data_set
        if data_set.F is None:
            data_set = with_features(self._job, data_set)
        if features.use == "best":
            best = {"best_feature_set": self._task.variables.best}
            data_set = replace(data_set, features={**data_set.features, **best})
        return _rounded(data_set, features)

    def result(self) -> Result:
        """The finished set with its log, on the CPU."""
        self._check_finite(self._job.recipe.method.iterations_of(self._job.recipe.ipc))
        return Result(
            attrs=self._job.attributes("distilled", self._seconds(), self._started, self._restarts),
            synthetic=self._finished(self._task.variables.current()).to("cpu"),
            snapshots={number: part.to("cpu") for number, part in self._snapshots.items()},
            log=self._log.columns(),
        )
