"""A run killed at random moments and resumed equals an uninterrupted one, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddbench import store
from ddbench.recipe import Recipe
from ddbench.runner import result_file, run
from ddbench.verification import differences

RECIPE = {
    "name": "killed",
    "dataset": "digits",
    "network": {"name": "ConvNetD2", "width": 8},
    "ipc": 2,
    "init": {"from": "real"},
    "method": {"name": "dc", "iterations": 40, "outer_loop": 2, "inner_loop": 2},
    "features": {
        "item": "full",
        "n_feat": 2,
        "use": "random",
        "lambda_reg": 1.0,
        "lambda_task": 0.1,
        "momentum": 0.5,
    },
    "evaluation": {"epochs": 20, "repeats": 4, "snapshots": [10, 30], "protocol": "dsa"},
}
KILLS = int(os.environ.get("DDBENCH_KILLS", "2"))


def start(recipe: Path, results: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"DDBENCH_CHECKPOINT_SECONDS": "0", "DDBENCH_RESULTS": str(results)}
    command = [sys.executable, "-m", "ddbench", "run", str(recipe), "--device", "cpu", *words]
    pipe = subprocess.PIPE if words else subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe)


def checkpointed(results: Path) -> bool:
    return any(results.rglob("*.pt"))


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    recipe = Recipe.parse(RECIPE)
    file = tmp_path / "killed.yaml"
    file.write_text(recipe.to_yaml())
    uninterrupted = start(file, tmp_path / "whole")  # meanwhile

    moments = random.Random(0)
    cut = tmp_path / "cut"
    killed = 0
    while killed < KILLS:
        process = start(file, cut)
        deadline = time.monotonic() + 60
        # at least one iteration must be done, so that there is something to resume
        while not checkpointed(cut) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(moments.uniform(0.0, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
    assert start(file, cut).wait() == 0

    assert uninterrupted.wait() == 0
    whole = store.read(result_file(recipe, 0, tmp_path / "whole"))
    resumed = store.read(result_file(recipe, 0, cut))
    assert differences(whole, resumed) == []
    assert resumed.attrs["status"] == "done"
    assert not list(cut.rglob("*.ckpt")), "a finished run leaves no checkpoint"


def test_a_stopped_run_exits_75_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    recipe = Recipe.parse(RECIPE | {"method": RECIPE["method"] | {"iterations": 100_000}})
    file = tmp_path / "killed.yaml"
    file.write_text(recipe.to_yaml())
    asked = {tmp_path / number.name: number for number in (signal.SIGTERM, signal.SIGUSR2)}
    running = {results: start(file, results, "--json", "--seeds", "0,1") for results in asked}
    deadline = time.monotonic() + 60
    while not all(map(checkpointed, asked)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for results, process in running.items():
        process.send_signal(asked[results])
    for results, process in running.items():
        printed, said = process.communicate(timeout=60)
        assert process.returncode == 75
        assert checkpointed(results)
        assert not result_file(recipe, 0, results).exists()
        (told,) = json.loads(printed)  # the second seed was not begun
        assert (told["seed"], told["state"]) == (0, "cut off")
        assert told["reason"] == "stopped; the same command resumes it"
        assert b"killed seed 0: cut off: stopped" in said.splitlines()[-1]


@pytest.mark.parametrize("name", ["lock"])
def test_a_second_writer_is_refused(tmp_path: Path, name: str) -> None:
    recipe = Recipe.parse(RECIPE)
    path = result_file(recipe, 0, tmp_path)
    with store.writer_lock(path), pytest.raises(store.Locked, match=str(os.getpid())):
        run(recipe, 0, tmp_path, device="cpu")
