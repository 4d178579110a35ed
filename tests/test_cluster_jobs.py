"""Submitting for real: arrays, dependencies, sharing, failures, cancelling, retrying."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from slurm_cluster import Cluster
from submitted import LONG, SMALL, Site

from ddbench.cluster import queueing, submitting
from ddbench.cluster.records import Submission, submissions
from ddbench.recipe import Recipe

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]
TWO = {**SMALL, "seeds": [0, 1]}
WITH_F = {
    **TWO, "name": "with_f",
    "features": {"source": "init", "item": "channel", "lambda_reg": 0.1},
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path, slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "data"))
    return Site(tmp_path)


def test_an_array_and_its_evaluation_give_the_results_of_a_run_here(site: Site) -> None:
    recipe = site.recipe(TWO)
    done = site.ddbench("submit", recipe, "--cluster", site.profile, "--wait")
    assert "distill: job" in done.stdout
    assert "2 in the array" in done.stdout
    assert "2 done" in done.stdout
    site.check_same_as_here(TWO, 0, 1)
    here = site.ddbench("table", site.folder / "here").stdout
    assert site.ddbench("table", site.results).stdout == here

    jobs = [site.tasks(stage)[1].job for stage in ("distill", "evaluate")]
    attrs = site.result(TWO, 1).attrs
    assert attrs["job"] == " ".join(jobs)
    assert attrs["restarts"] == 0
    assert "nothing to do" in site.submit(recipe) or "2 runs are done" in site.submit(recipe)
    assert len(submissions(site.results)) == 1, "what is done is not submitted again"


def test_a_network_that_recipes_share_is_trained_once(site: Site) -> None:
    other = {**WITH_F, "name": "with_f2", "ipc": 2, "seeds": [0]}
    site.submit(site.recipe(WITH_F), site.recipe(other))
    plan = submissions(site.results)[0].plan
    assert [group.title for group in plan.groups] == ["experts", "distill", "evaluate"]
    assert len(plan.groups[0].elements) == 2, "one network per seed, whatever the recipes"
    site.wait()
    assert set(site.states()) == {"done"}
    assert len(list((site.folder / "cache" / "networks").glob("*.safetensors"))) == 2
    distilled = site.tasks("distill")
    logs = [state.submission.log(state.task.number).read_text() for state in distilled]
    assert [log.count("training") for log in logs] == [0, 0, 0], (
        "distilling found the networks that were trained before"
    )
    site.check_same_as_here(WITH_F, 0)


def test_a_failed_run_holds_back_its_own_evaluation_only(site: Site) -> None:
    bad = {
        **LONG, "name": "bad", "evaluation": SMALL["evaluation"],
        "method": {**LONG["method"], "lr_img": 1e30, "iterations": 3},
    }  # fmt: skip
    site.submit(site.recipe(bad), site.recipe({**SMALL, "seeds": [0]}))
    site.wait()
    assert dict(zip(*[(s.task.name for s in site.tasks("evaluate")), site.states("evaluate")],
                    strict=True)) == {"bad": "cancelled", "small": "done"}  # fmt: skip
    failed = site.tasks("distill")[0]
    assert (failed.state, failed.kind) == ("failed", "exception")
    assert "not finite" in failed.detail
    shown = site.ddbench("status", code=1).stdout
    assert "not finite" in shown
    assert "lower method.lr_img" in shown
    assert "not finite" in site.ddbench("logs", "bad:0").stdout


def test_bad_data_is_told_apart_and_retry_does_only_what_failed(site: Site) -> None:
    import numpy as np

    data = site.folder / "data"
    data.mkdir(exist_ok=True)
    arrays = {
        "x_train": np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8, 1),
        "y_train": np.arange(40, dtype=np.int64) % 2,
        "x_test": np.zeros((4, 8, 8, 1), np.uint8), "y_test": np.arange(4) % 2,
    }  # fmt: skip
    np.savez(data / "own.npz", **arrays)
    own = {**SMALL, "name": "own", "seeds": [0], "dataset": {"name": "npz", "path": "own.npz"}}
    site.submit(site.recipe(own), site.recipe({**SMALL, "seeds": [0]}))
    (data / "own.npz").rename(data / "away.npz")
    site.wait()
    failed = site.tasks("distill")[0]
    assert (failed.task.name, failed.state, failed.kind) == ("own", "failed", "bad input")
    done_at = (site.results / site.tasks("evaluate")[1].task.result).stat().st_mtime_ns

    (data / "away.npz").rename(data / "own.npz")
    site.ddbench("retry", "--wait")
    assert set(site.states()) == {"done"}
    assert (site.results / site.tasks("evaluate")[0].task.result).stat().st_mtime_ns == done_at
    assert {task.name for task in submissions(site.results)[1].plan.tasks} == {"own"}
    assert "nothing failed" in site.ddbench("retry").stderr


def test_cancel_ends_the_rest_of_the_chain_and_retry_continues_it(site: Site) -> None:
    plain = {**LONG, "features": None, "method": {**LONG["method"], "iterations": 150}}
    site.submit(site.recipe(plain))
    site.wait(site.running)
    told = site.submit(site.folder / "long.yaml")
    assert f"job {site.job()} works on it" in told
    assert site.ddbench("cancel", "long").stdout.count("cancelled") == 2
    site.wait()
    assert site.states() == ["cancelled", "cancelled"]
    assert list(site.results.rglob("*.pt")), "what was begun is kept"
    site.ddbench("retry", "--wait")
    assert site.states() == ["done", "done"]
    log = site.tasks("distill")[0].submission.log(0).read_text()
    assert "resumed at iteration" in log


def test_evaluated_networks_are_spread_and_merged(site: Site) -> None:
    spread = {
        **SMALL, "name": "spread", "seeds": [0],
        "evaluation": {**SMALL["evaluation"], "networks": [
            {"name": "ConvNetD1", "width": 8}, {"name": "ConvNetD2", "width": 8}, "MLP"]},
    }  # fmt: skip
    site.submit(site.recipe(spread))
    site.wait()
    assert [s.task.shard for s in site.tasks("evaluate")] == ["1/3", "2/3", "3/3"]
    assert set(site.states()) == {"done"}
    site.check_same_as_here(spread, 0)
    assert len(site.result(spread).attrs["job"].split()) == 4


def test_two_nodes_with_a_run_on_each(site: Site, slurm: Cluster) -> None:
    if len(slurm.ask("sinfo", "-h", "-N", "-p", "gpu").splitlines()) < 2:
        pytest.skip("this cluster has one node")
    wide = Site(site.folder, nodes=2, tasks_per_node=1)
    wide.submit(wide.recipe(TWO))
    plan = submissions(wide.results)[0].plan
    assert [group.elements for group in plan.groups] == [((0, 1),), ((2, 3),)]
    wide.wait()
    assert set(wide.states()) == {"done"}
    hosts = slurm.ask("sacct", "-n", "-X", "-j", wide.job(), "--format=NNodes").split()
    assert hosts == ["2"]
    wide.check_same_as_here(TWO, 0, 1)


def test_runs_side_by_side_on_a_node_see_their_own_gpu(site: Site, slurm: Cluster) -> None:
    # the profile's environment is not asked: what a run sees is in its process's environment
    pair = Site(site.folder, gres="gpu:fake:2", tasks_per_node=2, memory="2G")
    if slurm.run("sbatch", "--test-only", "-n2", "--cpus-per-task=1", "-N1",
                 "--gres=gpu:fake:2", "--wrap", "true").returncode:  # fmt: skip
        pytest.skip("no node here has two processors and two GPUs")
    pair.submit(pair.recipe(TWO))
    pair.wait()
    assert set(pair.states()) == {"done"}
    pair.check_same_as_here(TWO, 0, 1)


def test_a_killed_submission_is_explained_and_completed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after sbatch took the first group and before its number was written down."""
    from ddbench.cluster import profile

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Submission, "set_queued", killed)
    recipe = Recipe.parse({**SMALL, "seeds": [0]})
    with pytest.raises(KeyboardInterrupt):
        submitting.submit([recipe], site.results, profile.read(str(site.profile)), command=[])
    monkeypatch.undo()
    monkeypatch.setenv("SLURM_CONF", site.environment["SLURM_CONF"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("DDBENCH_CACHE", str(site.folder / "cache"))

    shown = site.ddbench("status", code=1).stdout
    assert "not queued" in shown
    assert "interrupted" in shown
    assert submissions(site.results)[0].queued(0) is not None, "the job was found by its name"
    site.wait(lambda: site.states("distill") == ["done"])
    site.ddbench("retry", "--wait")
    assert site.states() == ["done", "done"]
    assert len(submissions(site.results)[1].plan.tasks) == 1, "only what was left"


def test_a_refused_submission_leaves_nothing(site: Site) -> None:
    poor = Site(site.folder, partition="nowhere")
    told = poor.submit(poor.recipe(SMALL), code=2)
    assert "partition" in told
    assert "Traceback" not in told
    assert not submissions(poor.results)


def test_the_submitted_code_is_what_runs(site: Site, slurm: Cluster) -> None:
    busy = slurm.submit("sleep 30", "--exclusive", f"-N{_nodes(slurm)}")
    site.submit(site.recipe({**SMALL, "seeds": [0]}))
    code = submissions(site.results)[0].folder / "code" / "ddbench" / "errors.py"
    code.write_text(code.read_text() + "\n# edited\n")
    slurm.cancel(busy)
    site.wait()
    failed = site.tasks("distill")[0]
    assert (failed.state, failed.kind) == ("failed", "bad input")
    assert "submitted" in failed.detail


def _nodes(slurm: Cluster) -> str:
    return slurm.ask("sinfo", "-h", "-p", "gpu", "-o", "%D")


def test_the_script_that_is_shown_is_the_script_that_is_queued(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.submit(site.recipe(SMALL))
    made = submissions(site.results)[0]
    for group in made.plan.groups:
        queued = made.queued(group.number)
        assert queued is not None
        written = (made.folder / "jobs" / f"{queued.job}_submission.sh").read_text()
        shown = queueing.script(made, group)
        for number in range(group.number):
            before = made.queued(number)
            assert before is not None
            shown = shown.replace(f"GROUP_{number}", before.job)
        assert written == shown
    site.ddbench("cancel", "all")


def test_three_hundred_runs_take_two_calls_and_little_time(
    site: Site, tmp_path: Path, slurm: Cluster
) -> None:
    busy = slurm.submit("sleep 120", "--exclusive", f"-N{_nodes(slurm)}")
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(100):
        fields = {**SMALL, "name": f"r{number}", "ipc": 1 + number % 9}
        (folder / f"r{number}.yaml").write_text(Recipe.parse(fields).to_yaml())
    begin = time.monotonic()
    dry = site.ddbench("submit", folder, "--cluster", site.profile, "--dry-run").stdout
    assert "2 calls of sbatch for 600 jobs" in dry
    assert time.monotonic() - begin < 10
    begin = time.monotonic()
    printed = site.ddbench("submit", folder, "--cluster", site.profile, "--json").stdout
    assert time.monotonic() - begin < 60
    (told,) = json.loads(printed)
    assert [group["jobs"] for group in told["groups"]] == [300, 300]
    begin = time.monotonic()
    assert "300 pending" in site.ddbench("status").stdout
    assert time.monotonic() - begin < 10
    site.ddbench("cancel", "all")
    slurm.cancel(busy)
    assert site.states() == ["cancelled"] * 600
    shutil.rmtree(site.results)


def test_without_accounting_the_queue_is_asked(
    tmp_path: Path, bare_slurm: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    site.submit(site.recipe({**SMALL, "seeds": [0]}))
    assert "accounting" in site.ddbench("status").stdout
    site.wait()
    assert site.states() == ["done", "done"]
