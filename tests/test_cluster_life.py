"""Interrupted jobs: warned, preempted, killed and queued again, they end with the same bits."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slurm_cluster import Cluster
from submitted import LONG, SMALL, Site

from ddbench.cluster.survey import LIVE
from ddbench.cluster.worker import IDLE_STARTS

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]
SLOW = pytest.mark.slow
ALONE = {**LONG, "name": "alone", "seeds": [0]}


@pytest.fixture
def site(tmp_path: Path, slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "cache"))
    with Site(tmp_path) as site:
        yield site


def checkpoints(site: Site) -> set[str]:
    return {path.name for path in site.results.rglob("*.pt")}


def further(site: Site) -> None:
    """Wait until the distillation has saved something new in its present start."""
    before = checkpoints(site)
    site.wait(lambda: bool(site.running() and checkpoints(site) - before))


def test_warned_and_preempted_it_ends_as_if_never_interrupted(site: Site, slurm: Cluster) -> None:
    site.submit(site.recipe(ALONE))
    site.begin_here(ALONE)
    further(site)
    slurm.signal(site.job(), "USR2")  # as before a time limit
    site.wait(lambda: "cut off" in site.states("distill"))
    further(site)
    slurm.preempt()  # a job of higher priority takes all processors
    further(site)
    slurm.requeue(site.job())  # an operator, or Slurm after a node failed: no warning
    site.wait()
    assert set(site.states()) == {"done"}
    distilled = site.tasks("distill")[0]
    assert distilled.restarts == 3
    attrs = site.result(ALONE).attrs
    assert attrs["restarts"] == 3
    assert attrs["job"] == f"{site.job()}+3 {site.job('evaluate')}"
    log = distilled.submission.log(distilled.task.number).read_text()
    assert log.count("resumed at iteration") == 3
    site.check_same_as_here(ALONE, 0)
    assert not list(site.results.rglob("*.ckpt"))
    assert not list(site.results.rglob("*.lock"))


def test_the_evaluation_resumes_too(site: Site, slurm: Cluster) -> None:
    many = {
        **ALONE, "name": "many", "method": {"name": "random"}, "init": None,
        "features": {**LONG["features"], "source": "init"},
        "evaluation": {"epochs": 300, "repeats": 2, "protocol": "dsa"},
    }  # fmt: skip
    site.submit(site.recipe(many))
    site.wait(lambda: "running" in site.states("evaluate") and _arms(site, many) == 1)
    slurm.signal(site.job("evaluate"), "USR2")
    site.wait()
    assert set(site.states()) == {"done"}
    assert site.tasks("evaluate")[0].restarts == 1
    assert site.result(many).attrs["job"].endswith(f"{site.job('evaluate')}+1")
    site.check_same_as_here(many, 0)


def _arms(site: Site, fields: dict[str, Any]) -> int:
    """How many arms, with F and without, have been scored."""
    return len({row.used_features for row in site.result(fields).evaluations})


def test_a_run_that_never_gets_further_is_given_up(site: Site, slurm: Cluster) -> None:
    """Warned again and again before it can save anything."""
    slow = {**ALONE, "name": "slow", "method": {**ALONE["method"], "outer_loop": 2000}}
    site.submit(site.recipe(slow))
    for start in range(IDLE_STARTS):
        site.wait(lambda start=start: _started(site, start))
        slurm.signal(site.job(), "USR2")
        if start < IDLE_STARTS - 1:
            site.wait(lambda: "cut off" in site.states("distill"))
    site.wait()
    failed = site.tasks("distill")[0]
    assert (failed.state, failed.kind) == ("failed", "no progress")
    assert "time limit" in failed.advice
    assert site.states("evaluate") == ["cancelled"]


def _started(site: Site, restarts: int) -> bool:
    task = site.tasks("distill")[0]
    return task.state == "running" and task.restarts == restarts and task.updated != ""


@pytest.mark.parametrize(("seeds", "number"), [(4, 8), pytest.param(10, 20, marks=SLOW)])
def test_nothing_is_lost_or_done_twice_under_accidents(
    site: Site, slurm: Cluster, seeds: int, number: int
) -> None:
    runs = {
        **LONG, "name": "hit", "seeds": list(range(seeds)), "features": None,
        "method": {**LONG["method"], "iterations": 100}, "evaluation": SMALL["evaluation"],
    }  # fmt: skip
    site.submit(site.recipe(runs))
    moments = random.Random(0)
    accidents = 0
    while accidents < number:
        time.sleep(moments.uniform(0.2, 2.0))
        live = [job.id for job in slurm.jobs().values() if job.state == "RUNNING"]
        if not live:
            if not set(site.states()) & set(LIVE):
                site.ddbench("retry")
            continue
        victim, accidents = moments.choice(live), accidents + 1
        if moments.random() < 0.5:
            slurm.run("scancel", "--signal=KILL", victim)
        else:
            slurm.run("scontrol", "requeue", victim)
    site.wait()
    while set(site.states()) != {"done"}:
        site.ddbench("retry", "--wait")
    hit = [seed for seed in range(seeds) if site.result(runs, seed).attrs["restarts"]]
    site.check_same_as_here(runs, *hit[:2])
    files = [path for path in site.results.rglob("*.h5") if ".submissions" not in path.parts]
    assert len(files) == seeds
    assert not list(site.results.rglob("*.ckpt"))
    for seed in range(seeds):
        rows = site.result(runs, seed).evaluations
        assert len(rows) == len({row.network_seed for row in rows}) == 2


@SLOW
def test_a_real_time_limit(tmp_path: Path, slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    limited = Site(tmp_path, time=3, signal_delay=60)
    longer = {**ALONE, "method": {**ALONE["method"], "iterations": 2000}}
    limited.submit(limited.recipe(longer))
    limited.wait(timeout=1500)
    assert set(limited.states()) == {"done"}
    assert limited.tasks("distill")[0].restarts >= 1
    limited.check_same_as_here(longer, 0)
