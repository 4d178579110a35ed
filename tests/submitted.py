"""What tests of submitted runs share: a site, small recipes, waiting, reading results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from ddbench import recipe_files, store
from ddbench.cluster.survey import LIVE, TaskState, survey
from ddbench.recipe import Recipe
from ddbench.runner import run
from ddbench.standing import result_file
from ddbench.store import Result
from ddbench.verification import differences

SITE: dict[str, Any] = {
    "partition": "gpu", "gres": "gpu:fake:1", "device": "cpu", "cpus": 1, "memory": "2G",
    "time": 20, "signal_delay": 60,
}  # fmt: skip
SMALL: dict[str, Any] = {
    "name": "small",
    "dataset": "digits",
    "network": {"name": "ConvNetD2", "width": 8},
    "ipc": 1,
    "method": {"name": "random"},
    "evaluation": {"epochs": 5, "repeats": 2, "protocol": "dc"},
    "seeds": [0, 1, 2],
}
LONG: dict[str, Any] = {
    "name": "long",
    "dataset": "digits",
    "network": {"name": "ConvNetD2", "width": 8},
    "ipc": 2,
    "init": {"from": "real"},
    "method": {"name": "dc", "iterations": 200, "outer_loop": 2, "inner_loop": 2},
    "features": {
        "item": "full", "lambda_reg": 1.0, "lambda_task": 0.1, "momentum": 0.5,
        "init": {"source": "noise"},
    },
    "evaluation": {"epochs": 20, "repeats": 2, "protocol": "dsa", "snapshots": [100]},
}  # fmt: skip
"""About 15 s on one processor, and more with every restart."""


@cache
def digits() -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an npz file of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    stored = load_digits()
    x, y = (stored.images * 15).astype(np.uint8)[..., None], stored.target.astype(np.int64)
    return {"x_train": x[360:], "y_train": y[360:], "x_test": x[:360], "y_test": y[:360]}


class Site:
    """A folder of results, a profile and the command line of ddbench; a context manager.

    Runs take one thread, here as there, so that their bits can be compared.
    """

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.folder, self.results = folder, folder / "results"
        self.profile = folder / "site.yaml"
        self.profile.write_text(json.dumps(SITE | fields))
        self.environment = os.environ | {
            "OMP_NUM_THREADS": "1", "DDBENCH_RESULTS": str(self.results),
            "DDBENCH_CACHE": str(folder / "cache"), "DDBENCH_DATA": str(folder / "data"),
            "DDBENCH_CHECKPOINT_SECONDS": "0.5", "NO_COLOR": "1",
        }  # fmt: skip
        self._beside: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._beside is not None:
            self._beside.kill()
            self._beside.wait()

    def recipe(self, fields: Mapping[str, Any]) -> Path:
        """A recipe file."""
        path = self.folder / f"{fields['name']}.yaml"
        path.write_text(self._parsed(fields).to_yaml())
        return path

    def _parsed(self, fields: Mapping[str, Any]) -> Recipe:
        """A recipe; digits come from a file, as importing scikit-learn takes a run a second."""
        if fields["dataset"] != "digits":
            return Recipe.parse(dict(fields))
        path = self.folder / "data" / "digits.npz"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            np.savez(path, **digits())
        return Recipe.parse({**fields, "dataset": {"name": "npz", "path": str(path)}})

    def ddbench(
        self, *words: object, code: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """A command, which must end with ``code``."""
        done = subprocess.run(
            [sys.executable, "-m", "ddbench", *map(str, words)], env=self.environment | variables,
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def submit(self, *recipes: object, code: int = 0) -> str:
        """``ddbench submit``; what it printed."""
        done = self.ddbench("submit", *recipes, "--cluster", self.profile, code=code)
        return done.stdout + done.stderr

    def tasks(self, stage: str = "") -> list[TaskState]:
        """Where the tasks stand, of one stage or all."""
        return [s for s in survey(self.results).tasks if stage in ("", *s.task.stages)]

    def states(self, stage: str = "") -> list[str]:
        """The states of ``tasks``."""
        return [state.state for state in self.tasks(stage)]

    def wait(self, condition: Callable[[], bool] | None = None, timeout: float = 400) -> None:
        """Until a condition holds, else until nothing lives any more."""
        end = time.monotonic() + timeout
        while not (condition or self._over)():
            stuck = time.monotonic() > end or (condition and self._over() and not condition())
            assert not stuck, [(s.task.title, s.state, s.kind, s.detail) for s in self.tasks()]
            time.sleep(0.3)

    def _over(self) -> bool:
        return not set(self.states()) & set(LIVE)

    def running(self, stage: str = "distill") -> bool:
        """Whether a run of a stage has saved something in this start of its job."""
        begun = any(state.state == "running" and state.updated for state in self.tasks(stage))
        return begun and bool(list(self.results.rglob("*.pt")))

    def job(self, stage: str = "distill") -> str:
        """The job of the first task of a stage."""
        return self.tasks(stage)[0].job

    def result(self, fields: Mapping[str, Any], seed: int = 0) -> Result:
        """A stored result."""
        return store.read(result_file(self._parsed(fields), seed, self.results))

    def begin_here(self, fields: Mapping[str, Any]) -> None:
        """Start the recipe here, too, with nothing shared, while its job waits and is disturbed."""
        words = ["run", str(self.recipe(fields)), "--results", str(self.folder / "here")]
        variables = self.environment | {"DDBENCH_CACHE": str(self.folder / "here-cache")}
        with (self.folder / "here.log").open("wb") as log:
            self._beside = subprocess.Popen(
                [sys.executable, "-m", "ddbench", *words, "--device", "cpu"], env=variables,
                stdout=log, stderr=log,
            )  # fmt: skip

    def check_same_as_here(self, fields: Mapping[str, Any], *seeds: int) -> None:
        """The submitted results have the bits of the same runs done here."""
        if self._beside is not None:
            assert self._beside.wait(timeout=600) == 0, (self.folder / "here.log").read_text()
        recipe = recipe_files.read(self.recipe(fields))
        for seed in seeds:
            here = store.read(run(recipe, seed, self.folder / "here", device="cpu").path)
            assert differences(here, self.result(fields, seed)) == []
