"""One job: a recipe with a seed on a device, and what its stages share."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch

from ddbench import data as real_data
from ddbench import datasets, provenance, store
from ddbench.data import RealData
from ddbench.engine import Engine, choose, configure
from ddbench.errors import BadInput, CutOff
from ddbench.randomness import Streams
from ddbench.recipe import Recipe
from ddbench.store import Result


def result_file(recipe: Recipe, seed: int, results: Path) -> Path:
    """Where the result of a recipe and seed lies."""
    return store.result_path(results, datasets.label(recipe.dataset), recipe.name, recipe.key, seed)


class Job:
    """Recipe, seed, file, device, settings, data and streams of one job.

    Args:
        download: fetch missing public data.
        engine: settings; None = those it was started with, else new ones.
        stopped: fills when the process is asked to stop.
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
    ) -> None:
        self.recipe, self.seed, self.path = recipe, seed, path
        self.checkpoints = store.checkpoint_directory(path)
        self.device, self._download = device, download
        self.engine = engine or self._stored_engine() or self._new_engine()
        configure(self.engine)
        self.streams = Streams(seed, device)
        self.stopped = stopped
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

    def stop_if_asked(self) -> None:
        """Raise ``CutOff`` if the process is asked to stop; what is worth keeping is saved."""
        if self.stopped:
            raise CutOff(f"{self.title}: stopped; the same command resumes it")

    def publish(self, result: Result) -> None:
        """Write the file; what was there before stays until the new one is whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        store.write(self.path, result)

    def attributes(
        self, status: str, seconds: float, started: str, restarts: int
    ) -> dict[str, Any]:
        """Attributes of the result file."""
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
