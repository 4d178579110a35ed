"""A real Slurm for tests: ``slurm/up.sh`` in a private directory, and what tests ask of it.

``DDBENCH_SLURM_DIR`` names a cluster to use instead; it is left running.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import conftest
import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "slurm"
PROGRAMS = ("sbatch", "slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")

Completed = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Job:
    """A line of ``squeue``: an array element, or a job that is no array."""

    id: str
    """``12_3`` or ``12``, as every command takes it."""
    raw: str
    """``SLURM_JOB_ID`` within the job."""
    state: str
    reason: str


class Cluster:
    """The cluster below a directory; every command goes to it, whatever ``SLURM_CONF`` says.

    Jobs run in ``work``, where their output lies as ``slurm-<job>.out``. ``prefix`` stands before
    every command line: another user's Slurm is started and asked by ``setpriv ...``.
    """

    def __init__(self, directory: Path, prefix: Sequence[str] = ()) -> None:
        self.directory = directory
        self.prefix = tuple(prefix)
        self.submitted: list[str] = []
        self.conf = directory / "etc" / "slurm.conf"
        self.work = directory / "work"

    # --- its life ------------------------------------------------------------------------------

    def up(self, *options: str) -> str:
        """Start what does not run; what ``up.sh`` printed on stdout. Raises CalledProcessError."""
        command = [*self.prefix, str(SCRIPTS / "up.sh"), *options, str(self.directory)]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        subprocess.run([*self.prefix, "mkdir", "-p", str(self.work)], check=True)
        return printed

    def down(self, *options: str) -> None:
        """Stop it; Ctrl-C does not reach the script that does."""
        command = [*self.prefix, str(SCRIPTS / "down.sh"), *options, str(self.directory)]
        subprocess.run(command, check=True, start_new_session=True)

    def pids(self) -> dict[str, int]:
        """The pid of every daemon that left a pid file."""
        files = (self.directory / "run").glob("*.pid")
        return {file.stem: int(file.read_text()) for file in files}

    # --- commands ------------------------------------------------------------------------------

    def run(self, *command: str, stdin: str | None = None) -> Completed:
        """Run a Slurm command; never raises for what it answers."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        return subprocess.run(
            [*self.prefix, *command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=self.work,
            env=clean | {"SLURM_CONF": str(self.conf)},
        )

    def ask(self, *command: str, stdin: str | None = None) -> str:
        """What a Slurm command printed; it must succeed."""
        done = self.run(*command, stdin=stdin)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
        return done.stdout.strip()

    def submit(self, script: str, *options: str) -> str:
        """The id of a job that runs the lines of ``script``, with sbatch's ``options``."""
        job = self.ask("sbatch", "--parsable", *options, stdin=f"#!/bin/bash\n{script}\n")
        self.submitted.append(job)
        return job

    def clear(self) -> None:
        """Cancel what was submitted here and still lives, and wait for its end."""
        jobs, self.submitted = self.submitted, []
        for job in jobs:
            self.cancel(job)
        for job in jobs:
            self.wait(job)

    def cancel(self, *jobs: str) -> None:
        """``scancel`` jobs or elements."""
        self.ask("scancel", *jobs)

    def signal(self, job: str, name: str) -> None:
        """Send e.g. USR2 to the steps of a job, as Slurm's own warning does."""
        self.ask("scancel", f"--signal={name}", job)

    def requeue(self, job: str) -> None:
        """``scontrol requeue``; the job keeps its id."""
        self.ask("scontrol", "requeue", job)

    def end_in(self, seconds: int, job: str) -> None:
        """Let a running job's time limit come in ``seconds``: sbatch takes minutes only."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + seconds))
        self.ask("scontrol", "update", f"JobId={job}", f"EndTime={when}")

    def fail_node(self, job: str) -> None:
        """Let the node of a running job fail; it comes back by itself after some seconds."""
        node = self.ask("squeue", "-h", "-j", job, "-o", "%N")
        self.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def preempt(self, seconds: float = 1) -> str:
        """Take all processors for a job of partition high, and return its id when it ran.

        The victims are warned at once and requeued after the grace time of 10 s: about 20 s.
        """
        nodes = self.ask("sinfo", "-h", "-p", "gpu", "-o", "%D")
        job = self.submit(f"sleep {seconds}", "-p", "high", "--exclusive", f"-N{nodes}")
        self.wait(job, "COMPLETED", timeout=90 + seconds)
        return job

    # --- states --------------------------------------------------------------------------------

    def jobs(self, job: str = "") -> dict[str, Job]:
        """What ``squeue`` knows, ended jobs too, by id; of one job (all its elements) or of all."""
        of_job = ("-j", job) if job else ()
        lines = self.ask("squeue", "-h", "-r", "-t", "all", *of_job, "-o", "%i|%A|%T|%r")
        found = (Job(*line.split("|")) for line in lines.splitlines())
        return {job.id: job for job in sorted(found, key=lambda job: _natural(job.id))}

    def history(self, job: str) -> list[str]:
        """What ``sacct`` calls each run of a job or element, e.g. ``PREEMPTED``, ``RUNNING``."""
        return self.ask("sacct", "-D", "-X", "-n", "-P", "-j", job, "--format=State").splitlines()

    def state(self, job: str) -> str:
        """What ``sacct`` calls the last run, e.g. ``CANCELLED by 0``; "" while it knows none."""
        return (self.history(job) or [""])[-1]

    def wait(self, job: str, *states: str, timeout: float = 60) -> None:
        """Until a job, or every element of an array, is in one of ``states`` (default: ended)."""
        wanted = states or ENDED
        self.until(
            lambda: all(found.state in wanted for found in self.jobs(job).values()),
            timeout,
            lambda: f"not {'/'.join(wanted)}: {list(self.jobs(job).values())}",
        )

    def until(
        self, condition: Callable[[], bool], timeout: float, explain: Callable[[], str] = str
    ) -> None:
        """Poll ``condition``; AssertionError after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"{timeout} s passed; {explain()}"
            time.sleep(0.1)

    def output(self, job: str) -> str:
        """What a job wrote so far. A restart begins the file anew (``--open-mode=append``: not)."""
        file = self.work / f"slurm-{job}.out"
        return file.read_text() if file.exists() else ""


def _natural(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


# --- fixtures ----------------------------------------------------------------------------------


def require_slurm() -> None:
    """Skip, or fail where ``DDBENCH_REQUIRE`` names slurm, unless it is installed."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=path)]:
        conftest.skip("slurm", f"{', '.join(missing)} not installed: slurm/install.sh")


@contextmanager
def running(*options: str, prefix: Sequence[str] = ()) -> Iterator[Cluster]:
    """A cluster in a directory of its own, gone afterwards, also after Ctrl-C in the middle.

    The path is short, and in memory where there is room: a new database syncs 1000 times.
    """
    memory = "/dev/shm"
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30
    with tempfile.TemporaryDirectory(prefix="dds-", dir=memory if roomy else "/tmp") as parent:
        Path(parent).chmod(0o777)
        cluster = Cluster(Path(parent) / "c", prefix)
        try:
            cluster.up(*options)
            yield cluster
        finally:
            cluster.down("--purge")


@contextmanager
def _here() -> Iterator[Cluster]:
    """The user's running cluster, else one with two nodes."""
    if directory := os.environ.get("DDBENCH_SLURM_DIR"):
        cluster = Cluster(Path(directory).resolve())
        cluster.up()
        yield cluster
    else:
        with running("--nodes", "2") as cluster:
            yield cluster


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A real Slurm with accounting and two nodes; ``SLURM_CONF`` names it for the session."""
    require_slurm()
    with _here() as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(cluster.conf))
        yield cluster


@pytest.fixture
def bare_slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A real Slurm without accounting, for one test; ``SLURM_CONF`` names it."""
    require_slurm()
    with running("--no-accounting") as cluster:
        monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
        yield cluster
