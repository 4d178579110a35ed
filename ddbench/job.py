"""One job: a recipe with a seed on a device, and what its stages share."""

from __future__ import annotations

import math
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from ddbench import data as real_data
from ddbench import provenance, scheduled, store
from ddbench.data import RealData
from ddbench.engine import Engine, choose, configure
from ddbench.errors import BadInput, CutOff
from ddbench.randomness import Streams
from ddbench.recipe import Recipe
from ddbench.standing import WHOLE, Shard
from ddbench.store import Result

_PUBLISH_WAIT = 300.0
"""Seconds that a shard waits for others to write the file; a write takes seconds at most."""


class Job:
    """Recipe, seed, file, device, settings, data and streams of one job.

    Args:
        download: fetch missing public data.
        engine: settings; None = those it was started with, else new ones.
        stopped: fills when the process is asked to stop.
        shard: of the evaluation; one that is not all of it has its own lock and checkpoints, and
            takes the file's lock only to write.

    Attributes:
        jobs: the scheduler's jobs that worked on what this one continues, and its own.
    """

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        path: Path,
        device: torch.device,
        download: bool,
        engine: Engine | None,
        stopped: list[int],
        shard: Shard = WHOLE,
    ) -> None:
        self.recipe, self.seed, self.path, self.shard = recipe, seed, path, shard
        self.checkpoints = checkpoints_of(path, shard)
        self.jobs = str(scheduled.current() or "")
        self.device, self._download = device, download
        self.engine = engine or self._stored_engine() or self._new_engine()
        configure(self.engine)
        self.streams = Streams(seed, device)
        self.stopped = stopped
        self._data: RealData | None = None

    @property
    def title(self) -> str:
        """How progress lines name this run."""
        shard = "" if self.shard.whole else f" shard {self.shard}"
        return f"{self.recipe.name} seed {self.seed}{shard}"

    @property
    def has_data(self) -> bool:
        """Whether the real data were needed so far."""
        return self._data is not None

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

    def stop_if_asked(self) -> None:
        """Raise ``CutOff`` if the process is asked to stop; what is worth keeping is saved."""
        if self.stopped:
            raise CutOff("stopped; the same command resumes it")

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint."""
        state = {**state, "jobs": self.jobs}
        store.checkpoint.save(self.checkpoints, state, self.engine.as_dict())

    def saved(self) -> dict[str, Any]:
        """The state of the newest checkpoint; empty without one."""
        state = (store.checkpoint.load(self.checkpoints) or ({}, {}))[0]
        self.jobs = scheduled.joined(state.get("jobs", ""), self.jobs)
        return state

    def writing(self) -> AbstractContextManager[None]:
        """Hold the file's lock, which all but shards do from their start to their end.

        Raises:
            Locked: others held it for minutes.
            CutOff: the process was asked to stop while it waited.
        """
        if self.shard.whole:
            return nullcontext()
        return store.writer_lock(self.path, _PUBLISH_WAIT, self.stop_if_asked)

    def publish(self, result: Result) -> None:
        """Write the file; what was there before stays until the new one is whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        store.write(self.path, result)

    def attributes(
        self, status: str, seconds: float, started: str, restarts: int
    ) -> dict[str, Any]:
        """Attributes of the result file; ``restarts``: how often its checkpoint was resumed."""
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
            "job": self.jobs,
            "restarts": max(restarts, scheduled.restarts_of(self.jobs)),
            "started": started,
            "finished": provenance.now(),
            "seconds": seconds,
            "peak_memory_bytes": provenance.peak_memory(self.device),
            "dataset_sha256": self.data.sha256,
        }


def lock_of(path: Path, shard: Shard) -> Path:
    """What a process locks that works on a result, or on a shard of its evaluation."""
    return path if shard.whole else path.with_suffix(f".{shard.name}")


def checkpoints_of(path: Path, shard: Shard) -> Path:
    """Where it keeps its checkpoints."""
    folder = store.checkpoint_directory(path)
    return folder if shard.whole else folder / shard.name


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
