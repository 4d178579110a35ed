"""What ddbench relies on in Slurm, on a real one; and the scripts that start and stop it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import SCRIPTS, Cluster, require_slurm, running

pytestmark = pytest.mark.slurm

HELD = 'until [ -s "$SLURM_JOB_ID.exit" ]; do sleep 0.1; done; exit $(cat "$SLURM_JOB_ID.exit")'
"""A job that runs until a test ends it with an exit code (``end``)."""
KILL_INVALID = "--kill-on-invalid-dep=yes"
LISTEN = """\
trap 'echo "$1 warned"' USR2
echo "$1 run ${SLURM_RESTART_COUNT:-0}"
if [ "$1" = parent ]; then bash listen.sh child & fi
while :; do sleep 0.1; done
"""
"""A program with a child; both survive the warning and say so."""


@pytest.fixture(autouse=True)
def _tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "slurm" in request.fixturenames:
        request.getfixturevalue("slurm").clear()


def end(cluster: Cluster, element: str, code: int = 0) -> None:
    """End a held job with this exit code; it must have started."""
    cluster.wait(element, "RUNNING")
    (cluster.work / f"{cluster.jobs(element)[element].raw}.exit").write_text(f"{code}\n")


def shown(cluster: Cluster, job: str) -> list[tuple[str, str]]:
    """State and reason of a job's elements, in order."""
    return [(found.state, found.reason) for found in cluster.jobs(job).values()]


def listener(cluster: Cluster, *options: str) -> str:
    """A job whose step is ``LISTEN``, when both processes of it listen."""
    (cluster.work / "listen.sh").write_text(LISTEN)
    job = cluster.submit("srun bash listen.sh parent", "--open-mode=append", *options)
    cluster.until(lambda: cluster.output(job).count("run 0") == 2, 30)
    return job


# --- arrays and dependencies -------------------------------------------------------------------


def test_array_runs_no_more_than_its_cap(slurm: Cluster) -> None:
    array = slurm.submit(HELD, "--array=0-2%1")
    limited = ("PENDING", "JobArrayTaskLimit")
    end(slurm, f"{array}_0")
    slurm.wait(f"{array}_1", "RUNNING")
    assert shown(slurm, array) == [("COMPLETED", "None"), ("RUNNING", "None"), limited]
    end(slurm, f"{array}_1")
    end(slurm, f"{array}_2")
    slurm.wait(array, "COMPLETED")


def test_job_id_of_the_last_element_is_that_of_the_array(slurm: Cluster) -> None:
    """An element must requeue itself as 12_3: its SLURM_JOB_ID may stand for all elements."""
    array = slurm.submit(HELD, "--array=0-1")
    slurm.wait(array, "RUNNING")
    assert slurm.jobs(array)[f"{array}_1"].raw == array
    slurm.requeue(array)
    slurm.until(lambda: shown(slurm, array) == [("PENDING", "BeginTime")] * 2, 10)


def test_aftercorr_pairs_the_elements_of_two_arrays(slurm: Cluster) -> None:
    """A failed element takes its own descendants with it and no others; nobody waits for all."""
    parent = slurm.submit(HELD, "--array=0-2")
    options = ("--array=0-2", KILL_INVALID)
    child = slurm.submit("true", f"--dependency=aftercorr:{parent}", *options)
    grandchild = slurm.submit("true", f"--dependency=aftercorr:{child}", *options)

    end(slurm, f"{parent}_0", 1)
    end(slurm, f"{parent}_1")
    slurm.wait(f"{grandchild}_0", "CANCELLED")
    slurm.wait(f"{grandchild}_1", "COMPLETED")
    never, waiting = ("CANCELLED", "DependencyNeverSatisfied"), ("PENDING", "Dependency")
    for array in (child, grandchild):
        assert shown(slurm, array) == [never, ("COMPLETED", "None"), waiting]
    end(slurm, f"{parent}_2")
    slurm.wait(f"{grandchild}_2", "COMPLETED")


@pytest.mark.parametrize(("code", "state"), [(0, "COMPLETED"), (1, "CANCELLED")])
def test_afterok_waits_for_every_element(slurm: Cluster, code: int, state: str) -> None:
    parent = slurm.submit(HELD, "--array=0-1")
    child = slurm.submit("true", f"--dependency=afterok:{parent}", KILL_INVALID)
    end(slurm, f"{parent}_0")
    slurm.wait(f"{parent}_0", "COMPLETED")
    assert shown(slurm, child) == [("PENDING", "Dependency")]
    end(slurm, f"{parent}_1", code)
    slurm.wait(child, state)


def test_child_of_a_cancelled_element_is_cancelled(slurm: Cluster) -> None:
    parent = slurm.submit(HELD, "--array=0-1%1")
    child = slurm.submit("true", "--array=0-1", f"--dependency=aftercorr:{parent}", KILL_INVALID)
    slurm.wait(f"{parent}_0", "RUNNING")
    slurm.cancel(f"{parent}_1")
    slurm.wait(f"{child}_1", "CANCELLED")
    slurm.cancel(f"{parent}_0")
    slurm.wait(f"{child}_0", "CANCELLED")


def test_dependency_on_an_unknown_job_counts_as_fulfilled(slurm: Cluster) -> None:
    """Slurm forgets ended jobs: a child that is submitted late must look at its inputs itself."""
    job = slurm.submit("true", "--dependency=afterok:4000000", KILL_INVALID)
    slurm.wait(job, "COMPLETED")


# --- requeue, signals, preemption, limits ------------------------------------------------------


def test_requeued_elements_keep_their_ids_and_their_children_wait(slurm: Cluster) -> None:
    """Element 0 is requeued from outside; element 1 requeues itself and exits 75: no failure."""
    once = "[ $SLURM_ARRAY_TASK_ID$SLURM_RESTART_COUNT != 1 ]"
    itself = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    again = f"{once} || {{ scontrol requeue {itself}; exit 75; }}"
    parent = slurm.submit(f"{again}; echo run ${{SLURM_RESTART_COUNT:-0}}; {HELD}", "--array=0-1")
    child = slurm.submit("true", "--array=0-1", f"--dependency=aftercorr:{parent}", KILL_INVALID)
    slurm.wait(f"{parent}_0", "RUNNING")
    raw = [job.raw for job in slurm.jobs(parent).values()]

    begin = time.monotonic()
    slurm.requeue(f"{parent}_0")
    resting = [("PENDING", "BeginTime")] * 2
    slurm.until(lambda: shown(slurm, parent) == resting, 6)
    slurm.wait(parent, "RUNNING")
    assert 4 < time.monotonic() - begin < 20  # cred_expire + 1 s, and the scheduler's turn
    assert [job.raw for job in slurm.jobs(parent).values()] == raw
    slurm.until(lambda: slurm.history(f"{parent}_1") == ["REQUEUED", "RUNNING"], 10)
    assert shown(slurm, child) == [("PENDING", "Dependency")] * 2
    for k in (0, 1):
        end(slurm, f"{parent}_{k}")
    slurm.wait(child, "COMPLETED")
    assert [slurm.output(f"{parent}_{k}") for k in (0, 1)] == ["run 1\n"] * 2


def test_usr2_reaches_the_whole_step_but_not_the_batch_script(slurm: Cluster) -> None:
    job = listener(slurm)
    slurm.signal(job, "USR2")
    slurm.until(lambda: slurm.output(job).count("warned") == 2, 10)
    assert {"parent warned", "child warned"} < set(slurm.output(job).splitlines())
    assert shown(slurm, job) == [("RUNNING", "None")]


def test_preempted_job_is_warned_and_requeued(slurm: Cluster) -> None:
    job = listener(slurm, "--signal=USR2@60", "--requeue")
    child = slurm.submit("true", f"--dependency=afterok:{job}", KILL_INVALID)
    slurm.preempt()
    assert {"parent warned", "child warned"} < set(slurm.output(job).splitlines())
    slurm.until(lambda: "parent run 1" in slurm.output(job), 30)
    slurm.until(lambda: slurm.history(job) == ["PREEMPTED", "RUNNING"], 10)
    assert shown(slurm, child) == [("PENDING", "Dependency")]


def test_ends_in_the_words_of_sacct(slurm: Cluster) -> None:
    """Also a failed node (its job runs again, and its child waits) and a real time limit."""
    lost = slurm.submit(HELD)
    child = slurm.submit("true", f"--dependency=afterok:{lost}", KILL_INVALID)
    slurm.wait(lost, "RUNNING")
    slurm.fail_node(lost)

    late, cancelled = slurm.submit("sleep 600"), slurm.submit("true", "--begin=now+1hour")
    slurm.cancel(cancelled)
    words = {
        slurm.submit("true"): "COMPLETED",
        slurm.submit("srun bash -c 'kill -9 $$'"): "FAILED",
        cancelled: f"CANCELLED by {os.getuid()}",
        late: "TIMEOUT",
    }
    slurm.wait(late, "RUNNING")
    slurm.end_in(2, late)
    end(slurm, lost)
    slurm.wait(child, "COMPLETED")
    slurm.until(lambda: slurm.history(lost) == ["NODE_FAIL", "COMPLETED"], 10)
    for job in words:
        slurm.wait(job)
    slurm.until(lambda: {job: slurm.state(job) for job in words} == words, 10)
    assert "DUE TO TIME LIMIT" in slurm.output(late)
    down = ("sinfo", "-h", "-t", "down", "-o", "%n")
    slurm.until(lambda: slurm.ask(*down) == "", 30)


def test_orphan_of_a_step_is_killed_with_it(slurm: Cluster) -> None:
    job = slurm.submit("srun bash -c 'sleep 6543 & exit'")
    slurm.wait(job, "COMPLETED", timeout=20)
    assert "sleep" not in processes(slurm)


def test_job_over_its_memory_is_killed(slurm: Cluster) -> None:
    hog = "srun python3 -c 'import time; held = b\"x\" * (300 << 20); time.sleep(60)'"
    job = slurm.submit(hog, "--mem=100M")
    slurm.wait(job, "FAILED", timeout=30)
    assert "exceeded memory limit" in slurm.output(job)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--partition=nope", "invalid partition specified: nope"),
        ("--time=3-0", "Requested time limit is invalid (missing or exceeds some limit)"),
        ("--account=nope", "Invalid account or account/partition combination specified"),
        ("--qos=nope", "Invalid qos specification"),
        ("--gres=gpu:64", "Requested node configuration is not available"),
        ("--mem=90T", "Memory specification can not be satisfied"),
    ],
)
def test_what_cannot_run_is_refused_at_once(slurm: Cluster, options: str, message: str) -> None:
    refused = slurm.run("sbatch", options, stdin="#!/bin/bash\ntrue\n")
    assert refused.returncode == 1
    assert message in refused.stderr


def test_step_over_two_nodes_with_a_gpu_each(slurm: Cluster) -> None:
    sees = "srun bash -c 'echo $SLURM_PROCID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES'"
    job = slurm.submit(sees, "--nodes=2", "--ntasks-per-node=1", "--gres=gpu:1")
    slurm.wait(job, "COMPLETED")
    assert sorted(slurm.output(job).splitlines()) == ["0 n1 0", "1 n2 0"]


# --- the scripts -------------------------------------------------------------------------------


def processes(cluster: Cluster) -> list[str]:
    """The commands that run with this cluster's settings."""
    mark = f"SLURM_CONF={cluster.conf}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "comm").read_text().strip())
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return sorted(found)


def script(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(SCRIPTS / name), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment
    )


def test_up_again_changes_nothing(slurm: Cluster) -> None:
    before = slurm.pids()
    assert set(before) >= {"munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd-n1"}
    assert slurm.up() == f"export SLURM_CONF={slurm.conf}\n"
    assert slurm.pids() == before
    refused = script("up.sh", "--no-accounting", str(slurm.directory))
    assert (refused.returncode, slurm.pids()) == (2, before)
    assert "runs with other options" in refused.stderr


def test_life_of_an_ordinary_users_cluster() -> None:
    """Killed it starts again with its queue, stopped it leaves nothing running; without root."""
    require_slurm()
    with running(prefix=ordinary_user()) as cluster:
        first = cluster.submit("id -u; srun sleep 600")
        cluster.until(lambda: "sleep" in processes(cluster), 20)
        assert int(cluster.output(first)) == cluster.directory.stat().st_uid
        cluster.ask("scontrol", "update", f"JobId={first}", "Comment=changed")
        saved, change = cluster.directory / "state" / "job_state", time.time()
        cluster.until(lambda: saved.exists() and saved.stat().st_mtime > change, 20)
        for pid in cluster.pids().values():
            os.kill(pid, signal.SIGKILL)
        cluster.up()
        cluster.until(lambda: shown(cluster, first) == [("PENDING", "BeginTime")], 4)
        second = cluster.submit("srun true")
        cluster.wait(second, "COMPLETED")
        cluster.until(lambda: cluster.state(second) == "COMPLETED", 10)

        cluster.down()
        cluster.until(lambda: processes(cluster) == [], 2)
        assert cluster.pids() == {}
        cluster.down()
        assert cluster.conf.exists()
        cluster.down("--purge")
        assert not cluster.directory.exists()


def ordinary_user() -> list[str]:
    """What to put before a command so that an ordinary user runs it: nothing, unless for root."""
    if os.getuid() != 0:
        return []
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*nobody, "test", "-r", str(SCRIPTS / "up.sh")], check=False).returncode:
        pytest.skip(f"user 65534 cannot read {SCRIPTS}")
    return nobody


def test_down_ends_the_jobs_of_a_dead_controller() -> None:
    require_slurm()
    with running("--no-accounting") as cluster:
        cluster.submit("srun sleep 600")
        cluster.until(lambda: "srun" in processes(cluster), 20)
        os.kill(cluster.pids()["slurmctld"], signal.SIGKILL)
        cluster.down()
        cluster.until(lambda: processes(cluster) == [], 2)


def test_bare_cluster_beside_another_one(bare_slurm: Cluster, slurm: Cluster) -> None:
    """Without accounting sacct knows nothing and squeue all; ports are kept, unless taken."""
    job = bare_slurm.submit("true")
    bare_slurm.wait(job, "COMPLETED")
    silent = bare_slurm.run("sacct", "-j", job)
    assert (silent.returncode, silent.stderr) == (1, "Slurm accounting storage is disabled\n")
    slurm.wait(slurm.submit("true"), "COMPLETED")

    port = bare_slurm.directory / "etc" / "port"
    before = int(port.read_text())
    bare_slurm.down()
    bare_slurm.up("--no-accounting")
    assert int(port.read_text()) == before
    bare_slurm.down()
    with socket.create_server(("127.0.0.1", before)):
        bare_slurm.up("--no-accounting")
    assert int(port.read_text()) != before


def test_bad_usage_is_one_line_and_exit_2(tmp_path: Path) -> None:
    require_slurm()
    calls = {
        ("up.sh", "--nodes", "9"): "--nodes is 1 to 8, not '9'",
        ("up.sh", "--node"): "no option --node; see --help",
        ("up.sh", "/tmp/a", "/tmp/b"): "one DIR, not also /tmp/b",
        ("up.sh", f"/tmp/{'long' * 20}"): "characters too long",
        ("up.sh", "/tmp/a b"): "DIR may hold letters",
        ("down.sh", str(tmp_path)): "is no cluster of yours",
        ("down.sh", "--all"): "no option --all; see --help",
    }
    for call, message in calls.items():
        refused = script(*call)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert message in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert script("down.sh", str(tmp_path / "nothing")).returncode == 0


def test_install_is_quiet_or_says_what_to_run(tmp_path: Path) -> None:
    require_slurm()
    done = script("install.sh")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    for tool in ("bash", "id"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    missing = script("install.sh", PATH=str(tmp_path))
    assert missing.returncode == 2
    assert "no sbatch here; as root: apt-get update && apt-get install" in missing.stderr
