"""Submitting where there is no Slurm: in the background here, or not at all, but never silently."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from submitted import LONG, SMALL, Site

from ddbench.cluster import local_jobs
from ddbench.cluster.records import submissions
from ddbench.content import code_digest

GOLDEN = Path(__file__).parent / "golden" / "cluster"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "cache"))
    with Site(tmp_path) as site:
        site.profile.write_text("scheduler: local\nconcurrency: 2\n")
        yield site


def without(*programs: str) -> str:
    """A PATH without the folders that hold these programs."""
    folders = os.environ["PATH"].split(":")
    return ":".join(f for f in folders if not any((Path(f) / name).exists() for name in programs))


def test_runs_in_the_background_and_the_terminal_is_free_at_once(site: Site) -> None:
    runs = {**SMALL, "seeds": [0, 1]}
    site.submit(site.recipe(runs))
    assert [len(group.elements) for group in submissions(site.results)[0].plan.groups] == [2]
    assert set(site.states()) <= {"pending", "running", "done"}
    site.wait()
    assert site.states() == ["done", "done"]
    site.check_same_as_here(runs, 0, 1)


def test_stopped_killed_and_retried_it_continues(site: Site) -> None:
    alone = {**LONG, "method": {**LONG["method"], "iterations": 120}}
    site.submit(site.recipe(alone))
    site.begin_here(alone)
    site.wait(site.running)
    assert "cancelled" in site.ddbench("cancel", "long:0").stdout
    site.wait()
    assert site.states() == ["cancelled"]
    site.ddbench("retry")
    site.wait(site.running)
    worker = site.tasks()[0]
    told = worker.submission.progress(worker.task.number)
    assert told is not None
    os.kill(int(worker.job), signal.SIGKILL)  # submitit's controller
    os.kill(told.pid, signal.SIGKILL)
    site.wait(lambda: not local_jobs.alive(int(worker.job), worker.submission.folder))
    assert site.states() == ["lost"]
    assert "retry" in site.tasks()[0].advice
    os.system(f"pkill -KILL -f {site.results}/.submissions")  # the orphaned run
    site.ddbench("retry", "--wait")
    assert site.states() == ["done"]
    site.check_same_as_here(alone, 0)


def test_without_sbatch_one_line_says_what_to_do_instead(site: Site) -> None:
    site.profile.write_text("partition: gpu\n")
    done = site.ddbench(
        "submit", site.recipe(SMALL), "--cluster", site.profile, code=2, PATH=without("sbatch")
    )
    assert len(done.stderr.strip().splitlines()) == 1
    for words in ("sbatch not found", "ddbench run", "slurm/up.sh"):
        assert words in done.stderr
    assert not site.results.exists()


def test_a_silent_controller_is_named(site: Site) -> None:
    site.profile.write_text("partition: gpu\n")
    tools = site.folder / "bin"
    tools.mkdir()
    for name, text in {
        "sbatch": "exit 1",
        "scontrol": "echo 'Slurmctld(primary) is DOWN'; exit 1",
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    done = site.ddbench(
        "submit", site.recipe(SMALL), "--cluster", site.profile, code=2,
        PATH=f"{tools}:{os.environ['PATH']}", SLURM_CONF="/etc/x.conf",
    )  # fmt: skip
    assert "is DOWN" in done.stderr
    assert "/etc/x.conf" in done.stderr


def test_without_a_runtime_a_local_run_in_a_container_is_refused(site: Site) -> None:
    (site.folder / "a.sif").write_bytes(b"")
    done = site.ddbench(
        "submit", site.recipe(SMALL), "--cluster", site.profile, "--image", site.folder / "a.sif",
        code=2, PATH=without("apptainer", "singularity"),
    )  # fmt: skip
    assert "neither apptainer nor singularity" in done.stderr
    assert not list(site.results.glob(".submissions/2*"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cluster", "single-gpo"], "did you mean 'single-gpu'"),
        (["--image", "/nowhere.sif"], "there is no image"),
    ],
)
def test_wrong_words(site: Site, words: list[str], told: str) -> None:
    done = site.ddbench("submit", site.recipe(SMALL), *words, "--dry-run", code=2)
    assert told in done.stderr


def test_a_run_that_cannot_fit_is_refused_with_the_numbers(site: Site) -> None:
    site.profile.write_text("memory: 256M\n")
    recipe = site.recipe(SMALL)
    done = site.ddbench("submit", recipe, "--cluster", site.profile, "--dry-run", code=2)
    assert re.search(
        r"memory: needs at least 0\.\d+ GiB of memory, the profile gives 0\.25 GiB", done.stderr
    )
    shown = site.ddbench("check", recipe, "--cluster", site.profile, code=2).stderr
    assert "small: needs at least" in shown
    site.ddbench("submit", recipe, "--cluster", site.profile, "--dry-run", "--no-check")


def test_check_tells_jobs_hours_and_disk(site: Site) -> None:
    data = json.loads(
        site.ddbench("check", site.recipe(SMALL), "--cluster", "single-gpu", "--json").stdout
    )
    told = data["cluster"]
    assert told["groups"] == [{"title": "distill", "jobs": 3}, {"title": "evaluate", "jobs": 3}]
    assert told["of"] == "GPU"
    assert 0 < told["hours"] < 1
    assert 0 < told["disk"] < told["free"]


def test_nothing_submitted_is_said(site: Site) -> None:
    assert "no submissions" in site.ddbench("status").stdout
    assert "nothing was submitted" in site.ddbench("logs", "x", code=2).stderr


@pytest.mark.parametrize("name", ["single-gpu", "multi-gpu", "container", "local"])
def test_dry_run_is_frozen(site: Site, name: str, request: pytest.FixtureRequest) -> None:
    """What would be run where no test can: GPUs, several nodes. Rewrite: DDBENCH_REWRITE=1."""
    words: list[object] = ["--cluster", name]
    if name == "container":
        image = site.folder / "image.sif"
        image.write_bytes(b"an image")
        site.profile.write_text(
            "gpus: 1\nmemory: 32G\naccount: lab\nqos: long\nconstraint: a100\nmail: me@x.org\n"
            "modules: [apptainer/1.4]\nenvironment: {HF_HUB_OFFLINE: '1'}\nwckey: dd\n"
            "extra: {nice: 100}\ntime: 1-00:00:00\n"
            "container: {image: image.sif, binds: ['/scratch:/scratch:ro']}\n"
        )
        words = ["--cluster", site.profile]
    recipe = site.recipe(
        {**SMALL, "evaluation": {**SMALL["evaluation"], "networks": ["MLP", "ConvNetD1"]}}
    )
    printed = site.ddbench("submit", recipe, *words, "--dry-run").stdout
    text = re.sub(r"\d{8}T\d{6}Z-[0-9a-f]{8}", "TIME-ID", printed)
    text = re.sub(r"ddbench-[0-9a-f]{8}-", "ddbench-ID-", text)
    text = text.replace(str(site.folder), "/site").replace(code_digest(), "CODE")
    text = re.sub(r"\S*/bin/python\S*", "PYTHON", text)
    text = re.sub(r"--drop-caps \S+ ", "", text)
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("DDBENCH_REWRITE"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()
