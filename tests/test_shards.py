"""An evaluation in shards, by several processes, killed and resumed, equals the whole one."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddbench import job as jobs
from ddbench import runner, scoring, store
from ddbench.cli import main
from ddbench.engine import Engine
from ddbench.errors import BadInput, CutOff
from ddbench.job import checkpoints_of, lock_of
from ddbench.recipe import Recipe
from ddbench.runner import run
from ddbench.standing import (
    WHOLE,
    Shard,
    arm_row,
    is_done,
    missing_rows,
    result_file,
    row_of,
)
from ddbench.store import Result, lock
from ddbench.verification import differences

NETWORKS = [{"name": "ConvNetD2", "width": 4}, {"name": "ConvNetD1", "width": 8}, {"name": "MLP"}]
BASE: dict[str, Any] = {
    "name": "cut",
    "dataset": "digits",
    "network": {"name": "ConvNetD2", "width": 4},
    "ipc": 2,
    "method": "random",
    "evaluation": {"epochs": 3, "repeats": 3, "networks": NETWORKS, "ensemble": True},
}
ROLES = BASE | {
    "evaluation": {
        "protocol": "ddranking-hard", "max_epochs": 2, "repeats": 2, "networks": NETWORKS[:2],
        "batch_size": 256,
    },
}  # fmt: skip
SELECTED = BASE | {
    "init": {"from": "real"},
    "method": {"name": "dc", "iterations": 5},
    "features": {"item": "full", "lambda_reg": 1.0},
    "evaluation": {
        "epochs": 2, "repeats": 2, "networks": NETWORKS, "snapshots": [0, 3],
        "selection": "best_on_real_train", "features": {"use": "both"},
    },
}  # fmt: skip
ALL = [Shard(index, 3) for index in (1, 2, 3)]


def distilled(fields: dict[str, Any], *folders: Path) -> Recipe:
    """The recipe, with the same distilled file in all folders; networks are stacked by two."""
    recipe, stages = Recipe.parse(fields), ("experts", "distill")
    engine = Engine("cpu", threads=1, stack=2, microbatch=100)
    first = run(recipe, 0, folders[0], device="cpu", stages=stages, engine=engine).path
    for folder in folders[1:]:
        target = result_file(recipe, 0, folder)
        target.parent.mkdir(parents=True)
        shutil.copy(first, target)
    return recipe


def evaluated(recipe: Recipe, folder: Path, shard: Shard = WHOLE) -> Result:
    return store.read(run(recipe, 0, folder, device="cpu", stages=("evaluate",), shard=shard).path)


def same(ours: Result, theirs: Result) -> None:
    assert differences(ours, theirs) == []
    assert ours.attrs["status"] == theirs.attrs["status"] == "done"
    for a, b in zip(ours.evaluations, theirs.evaluations, strict=True):
        assert row_of(a) == row_of(b)
        np.testing.assert_array_equal(a.correct, b.correct)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The architecture of every network that is trained on the set, as it goes."""
    seen: list[str] = []
    original = scoring.score

    def counted(*args: Any, **named: Any) -> Iterator[Any]:
        for record in original(*args, **named):
            seen.append(record.network)
            yield record

    monkeypatch.setattr(scoring, "score", counted)
    return seen


# --- the same bits ---------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [BASE, ROLES, SELECTED], ids=["ensemble", "roles", "selected"])
def test_shards_in_any_order_make_the_whole(tmp_path: Path, fields: dict[str, Any]) -> None:
    recipe = distilled(fields, tmp_path / "whole", tmp_path / "cut")
    whole = evaluated(recipe, tmp_path / "whole")
    count = len(recipe.evaluated_networks)
    for index in range(count, 0, -1):
        assert not is_done(recipe, 0, tmp_path / "cut")
        part = evaluated(recipe, tmp_path / "cut", Shard(index, count))
        assert part.attrs["status"] == ("done" if index == 1 else "distilled")
        assert is_done(recipe, 0, tmp_path / "cut", Shard(index, count))
    same(whole, part)
    assert files(tmp_path / "cut") == [result_file(recipe, 0, tmp_path).name]


def test_shards_and_the_whole_share_the_work(tmp_path: Path, trained: list[str]) -> None:
    recipe = distilled(BASE, tmp_path / "whole", tmp_path / "cut")
    whole = evaluated(recipe, tmp_path / "whole")
    trained.clear()
    evaluated(recipe, tmp_path / "cut", Shard(2, 2))
    same(whole, evaluated(recipe, tmp_path / "cut"))
    labels = [network.label for network in recipe.evaluated_networks]
    assert [trained.count(label) for label in labels] == [4, 4, 4]  # each once, and its ensemble
    for shard in ALL:
        assert not run(recipe, 0, tmp_path / "cut", stages=("evaluate",), shard=shard).fresh
    assert len(trained) == 12


def start(recipe: Path, results: Path, shard: Shard) -> subprocess.Popen[bytes]:
    environment = os.environ | {"DDBENCH_CHECKPOINT_SECONDS": "0", "DDBENCH_RESULTS": str(results)}
    words = [sys.executable, "-m", "ddbench", "run", str(recipe), "--device", "cpu"]
    words += ["--stages", "evaluate", "--shard", str(shard)]
    return subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)


def test_processes_at_once_killed_and_resumed(tmp_path: Path) -> None:
    """Three at a time; some are killed at random moments, some asked to stop, and start again."""
    evaluation = BASE["evaluation"] | {"epochs": 40, "repeats": 8, "ensemble": False}
    recipe = distilled(BASE | {"evaluation": evaluation}, tmp_path / "whole", tmp_path / "cut")
    whole = evaluated(recipe, tmp_path / "whole")
    file, cut = tmp_path / "cut.yaml", tmp_path / "cut"
    file.write_text(recipe.to_yaml())
    moments, kinds = random.Random(0), [signal.SIGUSR2, signal.SIGKILL]
    working = {shard: start(file, cut, shard) for shard in ALL}
    deadline = time.monotonic() + 300
    while working and time.monotonic() < deadline:
        time.sleep(moments.uniform(0.0, 0.5))
        if kinds and any(cut.rglob("*.pt")):
            victim = moments.choice(sorted(working, key=str))
            working[victim].send_signal(kinds.pop())
        for shard, process in list(working.items()):
            code = process.poll()
            if code == 0:
                del working[shard]
            elif code is not None:
                assert code in (75, -signal.SIGKILL, -signal.SIGUSR2)
                working[shard] = start(file, cut, shard)
    assert not working and not kinds
    same(whole, store.read(result_file(recipe, 0, cut)))
    assert files(cut) == [result_file(recipe, 0, tmp_path).name]


# --- the lock of the file ----------------------------------------------------------------------


def held(path: Path, until: threading.Event) -> threading.Thread:
    """A thread that holds the lock of a result."""
    ready = threading.Event()

    def hold() -> None:
        with store.writer_lock(path):
            ready.set()
            until.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait(60)
    return thread


def test_a_shard_waits_to_publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = distilled(BASE, tmp_path)
    path, until, waiting = result_file(recipe, 0, tmp_path), threading.Event(), []
    thread = held(path, until)
    ask = jobs.Job.stop_if_asked

    def let_go(job: jobs.Job) -> None:
        """The first time that it waits and not trains."""
        ask(job)
        if "writer_lock" in {frame.name for frame in traceback.extract_stack()}:
            waiting.append(store.read_header(path).evaluations)
            until.set()

    monkeypatch.setattr(jobs.Job, "stop_if_asked", let_go)
    part = evaluated(recipe, tmp_path, ALL[0])
    thread.join()
    assert waiting[0] == () and len(part.evaluations) == 4


def test_scores_that_cannot_be_published_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str]
) -> None:
    recipe = distilled(BASE, tmp_path)
    path, until = result_file(recipe, 0, tmp_path), threading.Event()
    thread = held(path, until)
    monkeypatch.setattr(jobs, "_PUBLISH_WAIT", 0.2)
    monkeypatch.setattr(runner, "_exclude_others", lambda _: None)  # the other began later
    with pytest.raises(store.Locked, match=str(os.getpid())):
        evaluated(recipe, tmp_path, ALL[0])
    monkeypatch.undo()
    assert list(checkpoints_of(path, ALL[0]).glob("*.pt")) and len(trained) == 4
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR2))
    timer.start()
    with pytest.raises(CutOff):  # asked to stop while it waits for the lock
        evaluated(recipe, tmp_path, ALL[0])
    until.set()
    thread.join()
    assert len(evaluated(recipe, tmp_path, ALL[0]).evaluations) == 4
    assert len(trained) == 4


def test_publishing_at_once_under_kills_loses_nothing(tmp_path: Path) -> None:
    """Processes that add one score after another to a file, killed at any moment."""
    recipe = distilled(BASE, tmp_path / "whole", tmp_path / "cut")
    whole = evaluated(recipe, tmp_path / "whole")
    path = result_file(recipe, 0, tmp_path / "cut")

    def publish(shard: Shard) -> None:
        labels = {arm.network.label for arm in shard.arms(recipe)}
        mine = [record for record in whole.evaluations if record.network in labels]
        with store.writer_lock(lock_of(path, shard)):
            job = jobs.Job(recipe, 0, path, torch.device("cpu"), False, None, [], shard)
            while missing := missing_rows(recipe, store.read_header(path).evaluations, shard):
                rows = {arm_row(arm, member) for arm, members in missing for member in members}
                scoring._published(job, [r for r in mine if row_of(r) in rows][:1])

    def child(shard: Shard) -> int:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                publish(shard)
                code = 0
            finally:
                os._exit(code)
        return pid

    moments, kills = random.Random(1), 0
    working = {child(shard): shard for shard in ALL}
    while working:
        time.sleep(moments.uniform(0.0, 0.03))
        if kills < 12:
            os.kill(moments.choice(sorted(working)), signal.SIGKILL)
            kills += 1
        for pid, shard in list(working.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del working[pid]
                assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
                if status:
                    working[child(shard)] = shard
    same(whole, store.read(path))


def test_a_shard_is_one_process_at_a_time(tmp_path: Path) -> None:
    recipe = distilled(BASE, tmp_path)
    path = result_file(recipe, 0, tmp_path)
    with store.writer_lock(lock_of(path, ALL[0])):
        with pytest.raises(store.Locked):
            evaluated(recipe, tmp_path, ALL[0])
        assert len(evaluated(recipe, tmp_path, ALL[1]).evaluations) == 4


def test_leftovers_of_other_cuts_go_when_all_is_done(tmp_path: Path) -> None:
    recipe = distilled(BASE, tmp_path)
    path = result_file(recipe, 0, tmp_path)
    left, live = Shard(1, 5), Shard(2, 5)
    for shard in (left, live):
        store.checkpoint.save(checkpoints_of(path, shard), {"arm": "?"}, {})
    store.checkpoint.save(checkpoints_of(path, WHOLE), {"arm": "?"}, {"device": "cpu",
        "threads": 1, "stack": 1000, "microbatch": 1000})  # fmt: skip
    with store.writer_lock(lock_of(path, live)):
        for shard in ALL:
            assert checkpoints_of(path, left).exists()
            evaluated(recipe, tmp_path, shard)
        folder = checkpoints_of(path, WHOLE)
        assert [part.name for part in folder.iterdir()] == [live.name]
    evaluated(recipe, tmp_path)
    assert files(tmp_path) == [path.name] and not folder.exists()


# --- a scheduler's jobs ------------------------------------------------------------------------


def as_job(monkeypatch: pytest.MonkeyPatch, number: str, restarts: int, image: str = "") -> None:
    monkeypatch.setenv("DDBENCH_JOB", number)
    monkeypatch.setenv("DDBENCH_RESTARTS", str(restarts))
    monkeypatch.setenv("DDBENCH_IMAGE", image)


def test_a_file_names_all_jobs_and_counts_their_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_job(monkeypatch, "12_0", 2, "a.sif sha256:1")
    recipe = distilled(BASE | {"evaluation": ROLES["evaluation"]}, tmp_path)
    attrs = store.read_header(result_file(recipe, 0, tmp_path)).attrs
    assert (attrs["job"], attrs["restarts"]) == ("12_0+2", 2)
    as_job(monkeypatch, "13_0", 0, "a.sif sha256:1")
    attrs = evaluated(recipe, tmp_path, Shard(1, 2)).attrs  # publishes arm after arm
    assert (attrs["job"], attrs["restarts"]) == ("12_0+2 13_0", 2)
    as_job(monkeypatch, "14_0", 3, "b.sif sha256:2")
    attrs = evaluated(recipe, tmp_path, Shard(2, 2)).attrs
    assert (attrs["job"], attrs["restarts"]) == ("12_0+2 13_0 14_0+3", 5)
    assert attrs["image"] == "a.sif sha256:1; b.sif sha256:2"


def test_jobs_that_were_cut_off_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDBENCH_CHECKPOINT_SECONDS", "0")
    fields = {"init": {"from": "real"}, "method": {"name": "dc", "iterations": 4}}
    recipe = Recipe.parse(BASE | fields)
    for restarts in (0, 1):
        as_job(monkeypatch, "12", restarts)
        with monkeypatch.context() as patch, pytest.raises(CutOff):
            patch.setattr(jobs.Job, "save", saved_and_stopped)
            run(recipe, 0, tmp_path, device="cpu")
    as_job(monkeypatch, "15", 0)
    attrs = store.read_header(run(recipe, 0, tmp_path, device="cpu").path).attrs
    assert attrs["job"] == "12+1 15"
    assert attrs["restarts"] == 2  # resumed from a checkpoint twice


def saved_and_stopped(job: jobs.Job, state: dict[str, Any], save: Any = jobs.Job.save) -> None:
    save(job, state)
    job.stopped.append(signal.SIGUSR2)


def test_a_requeued_job_takes_its_shard_over_from_another_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = distilled(BASE, tmp_path)
    path = lock_of(result_file(recipe, 0, tmp_path), ALL[0])
    as_job(monkeypatch, "12_3", 0)
    holder = replace(lock.Holder.current(), host="node17")
    path.with_name(f"{path.name}.lock").write_text(json.dumps(holder.__dict__))
    with pytest.raises(store.Locked, match="of job 12_3 on node17"):
        evaluated(recipe, tmp_path, ALL[0])
    as_job(monkeypatch, "12_3", 1)
    assert len(evaluated(recipe, tmp_path, ALL[0]).evaluations) == 4


# --- the command line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shard", "4/3", "--stages", "evaluate"], "--shard: found '4/3'"),
        (["--shard", "0/3", "--stages", "evaluate"], "K/N with K from 1 to N"),
        (["--shard", "x", "--stages", "evaluate"], "--shard"),
        (["--shard", "2/3"], "--stages: found experts,distill,label,evaluate for shard 2/3"),
        (["--shard", "2/3", "--stages", "experts"], "allowed: evaluate"),
        (["--shard", "2/3", "--stages", "distill,evaluate"], "allowed: evaluate"),
        (["--shard", "1/1", "--verify"], "a run is verified as a whole"),
    ],
)
def test_shards_that_make_no_sense(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "digits_random_ipc2", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_shard_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = distilled(BASE, tmp_path)
    (tmp_path / "cut.yaml").write_text(recipe.to_yaml())
    words = ["run", str(tmp_path / "cut.yaml"), "--results", str(tmp_path), "--device", "cpu"]
    states = []
    for shard in ("1/2", "1/2", "2/2", "3/4"):
        assert main([*words, "--stages", "evaluate", "--shard", shard, "--json"]) == 0
        states += [entry["state"] for entry in json.loads(capsys.readouterr().out)]
    assert states == ["stages done", "found", "done", "found"]


def test_a_shard_needs_a_set(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no distilled set"):
        evaluated(Recipe.parse(BASE), tmp_path, ALL[0])
    assert list(tmp_path.iterdir()) == []
