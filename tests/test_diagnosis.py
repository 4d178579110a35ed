"""Why something failed: every way a run, its process or its job can end; and the ends of logs."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slurm_cluster import Cluster

from ddbench.cli import main
from ddbench.cluster import diagnosis, scheduler
from ddbench.cluster.diagnosis import Diagnosis, log_tail, of_child, of_job
from ddbench.cluster.scheduler import JobState

# recorded: Apptainer 1.4.5
FATAL = (
    "FATAL:   While checking container encryption: could not open image /nope.sif: failed to "
    "retrieve path for /nope.sif: lstat /nope.sif: no such file or directory"
)
CAPABILITY = (
    "ERROR  : Requesting capability set 0x1ffffffffff while permitted capability set is 0x1"
)
MOUNT = "FATAL:   container creation failed: mount hook function failure: mount "
REFUSALS = {
    FATAL: "on this node?",
    CAPABILITY: "capabilities",
    'FATAL:   "ddbench": executable file not found in $PATH': "has no ddbench",
    "FATAL:   While checking container encryption: could not open image /junk.sif: image format "
    "not recognized": "damaged",
    f"{MOUNT}/proc/self/fd/3->/var/lib/apptainer/mnt/session/rootfs error: while mounting image "
    "/proc/self/fd/3: kernel reported a bad superblock for squashfs image partition": "damaged",
    f"{MOUNT}/nope->/nope error: while mounting /nope: mount source /nope doesn't exist":
        "container.binds",
    "FATAL:   While setting bind mount configuration: while parsing bind path: while getting bind "
    "path: xx is not a valid bind option": "container.binds",
    "FATAL:   failed to set working directory: chdir /nope: no such file or directory":
        "on this node?",
    "FATAL:   while extracting: write: no space left on device": "APPTAINER_TMPDIR",
    "FATAL:   something new": "ddbench logs",
}  # fmt: skip


def told(reason: str, state: str = "failed") -> list[dict[str, Any]]:
    done = {"recipe": "r", "key": "k", "seed": 0, "state": "done", "path": "x.h5"}
    return [done, done | {"seed": 1, "state": state, "reason": reason}]


# --- what a run's process tells ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "kind", "says", "advises"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...",
         "out of memory", "on the GPU: OutOfMemoryError: CUDA out", "more memory ('gres'"),
        ("RuntimeError: CUDA error: out of memory", "out of memory", "on the GPU", "'gres'"),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`",
         "out of memory", "on the GPU", "'gres'"),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't "
         "allocate memory: you tried to allocate 4000000000000000 bytes. Error code 12 (Cannot "
         "allocate memory)", "out of memory", "on the node: RuntimeError", "raise 'memory'"),
        ("MemoryError: no message", "out of memory", "on the node", "raise 'memory'"),
        ("_ArrayMemoryError: Unable to allocate 7.11 PiB for an array with shape (1,)",
         "out of memory", "on the node", "raise 'memory'"),
        ("OSError: [Errno 12] Cannot allocate memory", "out of memory", "on the node", "'memory'"),
        ("OSError: [Errno 28] No space left on device: 'x.h5'", "exception", "No space", "free"),
        ("Locked: process 7 on n1 writes this result", "exception", "Locked", "has ended"),
        ("RuntimeError: CUDA error: no kernel image is there", "exception", "CUDA", "elsewhere"),
        ("ValueError: loss is nan\nat step 3", "exception", "ValueError: loss is nan at step 3",
         "ddbench logs"),
    ],
)  # fmt: skip
def test_what_the_run_says_counts(reason: str, kind: str, says: str, advises: str) -> None:
    found = of_child(1, told(reason), "CUDA out of memory, in an earlier and unrelated line")
    assert found.kind == kind
    assert says in found.reason and advises in found.advice


def test_a_failure_tells_more_than_bad_input_beside_it() -> None:
    entries = [*told("no such file", "bad input"), *told("ValueError: x")]
    assert of_child(1, entries, "") == of_child(1, told("ValueError: x"), "")


def test_what_is_no_report_is_passed_over() -> None:
    for printed in ([], [3, None], [{"state": "done"}]):
        assert of_child(1, printed, "ValueError: x").reason == "ValueError: x"  # type: ignore[arg-type]


def test_bad_input_is_named_by_the_run_or_by_its_last_words() -> None:
    found = of_child(2, told("dataset.name: 'mnist' is not in /data", "bad input"), "")
    assert (found.kind, found.reason) == ("bad input", "dataset.name: 'mnist' is not in /data")
    tail = "ddbench: unknown recipe 'x'; allowed: a, b\nsome warning at exit"
    assert of_child(2, None, tail).reason == "unknown recipe 'x'; allowed: a, b"
    assert of_child(2, None, "").reason == "its log is empty"


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (-signal.SIGKILL, "killed", "killed (SIGKILL), probably out of memory"),
        (137, "killed", "killed (SIGKILL), probably out of memory"),
        (-signal.SIGTERM, "killed", "ended by SIGTERM before it could save"),
        (130, "killed", "ended by SIGINT before it could save"),
        (-signal.SIGUSR2, "killed", "ended by SIGUSR2 before it could save"),
        (139, "exception", "crashed (SIGSEGV)"),
        (-signal.SIGBUS, "exception", "crashed (SIGBUS) (a full disk or /dev/shm does that)"),
        (75, "killed", "cut off before its end"),
        (1, "exception", "exit code 1: its log is empty"),
        (0, "exception", "exit code 0: its log is empty"),
        (255, "exception", "exit code 255: its log is empty"),
        (64, "exception", "exit code 64: its log is empty"),
    ],
)
def test_how_a_process_ended(code: int, kind: str, says: str) -> None:
    found = of_child(code, None, "")
    assert (found.kind, found.reason) == (kind, says)


@given(st.integers(-300, 300), st.text(max_size=200))
def test_every_end_has_a_diagnosis_in_one_line(code: int, tail: str) -> None:
    found = of_child(code, None, tail)
    assert found.kind in diagnosis.KINDS
    assert found.reason and found.reason.isprintable() and found.advice


@pytest.mark.parametrize(
    ("code", "line", "kind"),
    [
        (-signal.SIGKILL, "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.0.",
         "out of memory"),
        (1, "slurmstepd: error: Detected 1 oom_kill event in StepId=12.0. Some of the step tasks "
         "have been OOM Killed.", "out of memory"),
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried to get 20 MiB", "out of memory"),
        (-signal.SIGABRT, "terminate called after throwing an instance of 'std::bad_alloc'",
         "out of memory"),
        (1, "torch.cuda.DeferredCudaCallError: CUDA call failed", "exception"),
        (1, "numpy.linalg.LinAlgError: Singular matrix", "exception"),
        (1, "ERROR:root:a line of Python's own log", "exception"),
        (1, "WARNING: underlay of /etc/localtime required more than 50 bind mounts", "exception"),
    ],
)  # fmt: skip
def test_last_words_of_a_run_that_told_nothing(code: int, line: str, kind: str) -> None:
    tail = f"epoch 1\n{line}\n"
    found = of_child(code, None, tail)
    assert found.kind == kind
    assert line.partition(": ")[2][:40].strip() in found.reason or line[:30] in found.reason


def test_the_exception_is_found_below_its_traceback() -> None:
    tail = 'Traceback (most recent call last):\n  File "x.py"\nddbench.errors.RunFailed: a b\n'
    found = of_child(1, None, f"{tail}Exception ignored in: <x>\nbye")
    assert found.reason == "ddbench.errors.RunFailed: a b"


@pytest.mark.parametrize(("line", "advises"), REFUSALS.items())
def test_what_a_container_runtime_says(line: str, advises: str) -> None:
    found = of_child(1 if line == CAPABILITY else 255, None, f"INFO:    Setting --net\n{line}\n")
    assert found.kind == "container" and found.reason in line
    assert advises in found.advice


def test_earlier_starts_in_the_same_log_are_not_looked_at() -> None:
    tail = (
        "MemoryError\n--- 2026-01-01T00:00:00+00:00 job 12_3 start 2\n"
        "--- Logging error ---\nValueError: x"
    )
    assert of_child(1, None, tail) == of_child(1, None, "ValueError: x")
    assert of_child(-9, None, tail).kind == "killed"
    state = JobState("12_3", "FAILED", exit_code="1:0")
    assert of_job(state, tail) == of_job(state, "ValueError: x")


def test_runs_that_refuse_their_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = ["--json", "--results", str(tmp_path), "--device", "cpu"]
    code = main(["run", "digits_dc_ipc1", "--set", "ipc=0", *where])
    found = of_child(code, None, capsys.readouterr().err)
    assert found.kind == "bad input" and "ipc: found 0" in found.reason
    assert not found.reason.startswith("ddbench")
    code = main(["run", "mnist_random_ipc1", "--seeds", "0", *where])
    printed = capsys.readouterr()
    found = of_child(code, json.loads(printed.out), printed.err)
    assert found.kind == "bad input" and "'mnist' is not in" in found.reason


# --- what Slurm tells --------------------------------------------------------------------------


def test_jobs_that_did_not_fail_have_no_diagnosis() -> None:
    for state in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "COMPLETED", "NEW"):
        assert of_job(JobState("1", state)) is None
    assert of_job(JobState("1", "PENDING", "Dependency")) is None


def test_a_time_limit_is_given_with_the_time() -> None:
    assert of_job(JobState("1", "TIMEOUT", elapsed=93784, node="n[1-2]")) == Diagnosis(
        "timeout",
        "over its time limit after 26:03:04 on n[1-2]",
        "raise 'time' of its stage in the cluster profile; 'ddbench retry' continues it from its "
        "last checkpoint",
    )


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("slurmstepd-n1: error: *** JOB 22 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT"
         " ***", "timeout"),
        ("slurmstepd: error: *** STEP 22.0 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO NODE "
         "FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***", "node failure"),
        ("slurmstepd: error: *** JOB 22 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO PREEMPTION "
         "***", "preempted"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_what_the_daemon_on_the_node_wrote(line: str, kind: str, state: str) -> None:
    found = of_job(JobState("1", state, exit_code="0:15", node="n1"), f"epoch 3\n{line}\n")
    assert found is not None and found.kind == kind and "n1" in found.reason


def test_a_failed_job_is_explained_by_its_log() -> None:
    failed = JobState("1", "FAILED", "NonZeroExitCode", "1:0")
    found = of_job(failed, "submitit.core.utils.FailedJobError: x\n")
    assert found is not None
    assert (found.kind, found.reason) == ("exception", "submitit.core.utils.FailedJobError: x")
    found = of_job(failed, f"{FATAL}\n")
    assert found is not None and found.kind == "container"
    found = of_job(JobState("1", "FAILED", "NonZeroExitCode"))  # accounting is not there yet
    assert found is not None and found.reason == "NonZeroExitCode"
    found = of_job(JobState("1", "FAILED", "NonZeroExitCode", "2:0"))
    assert found is not None and found.kind == "exception", "a shell's 2 is not ddbench's"


def test_kinds_are_those_that_the_documents_name() -> None:
    assert set(diagnosis.KINDS) == {
        "out of memory", "timeout", "node failure", "preempted", "cancelled", "killed", "bad input",
        "exception", "no progress", "container", "dependency",
    }  # fmt: skip


# --- logs --------------------------------------------------------------------------------------


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_last_lines_are_shown(tmp_path: Path) -> None:
    log = write(tmp_path / "log", "\n".join(f"line {k}" for k in range(50)) + "\n\n")
    assert log_tail(log) == [f"line {k}" for k in range(30, 50)]
    assert log_tail(log, 2) == ["line 48", "line 49"]
    assert log_tail(log, 0) == []
    assert log_tail(tmp_path / "none") == []
    assert log_tail(tmp_path) == []


def test_a_progress_bar_is_one_line(tmp_path: Path) -> None:
    bar = "".join(f"\r{k:3d}%|{'#' * (k // 10):10}|" for k in range(101))
    log = write(tmp_path / "log", f"start\r\nepoch{bar}\r\x1b[A\ndone \x1b[31mred\x1b[0m\x07\n")
    assert log_tail(log) == ["start", "100%|##########|", r"done red\x07"]


def test_of_a_huge_log_only_the_end_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(8 << 30)  # sparse
        file.seek(0, 2)
        file.write(b"\nend of it\n")
    assert log_tail(log) == ["end of it"]
    long = log_tail(write(tmp_path / "long", "x" * 5000 + "\n"))
    assert [len(line) for line in long] == [1000] and long[0].endswith("x…")


def test_a_bar_without_line_breaks_shows_its_end(tmp_path: Path) -> None:
    log = write(tmp_path / "log", "".join(f"\rstep {k}" for k in range(500_000)))
    assert log.stat().st_size > 1 << 20
    assert log_tail(log) == ["step 499999"]


LINES = st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=400), max_size=80)


@given(LINES, st.integers(1, 30))
def test_long_and_short_logs_are_read_alike(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], count: int
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    text = "\n".join(lines) + "\n"
    short = write(folder / "short", text)
    long = write(folder / "long", "é" * 30_001 + "\n" + text)
    expected = [line for line in lines if line][-count:]
    assert log_tail(short, count) == expected
    assert log_tail(long, count)[-len(expected) :] == expected or not expected


@given(st.binary(max_size=300))
def test_any_bytes_come_out_printable(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    log = write(tmp_path_factory.mktemp("logs") / "log", data)
    assert all(line.isprintable() for line in log_tail(log))


# --- a real Slurm ------------------------------------------------------------------------------


@pytest.mark.slurm
def test_ends_of_jobs_on_a_real_slurm(slurm: Cluster) -> None:
    killed = slurm.submit("srun bash -c 'kill -9 $$'")
    failed = slurm.submit("echo 'ValueError: x' >&2; exit 1")
    behind = slurm.submit("true", f"--dependency=afterok:{failed}", "--kill-on-invalid-dep=yes")
    stopped = slurm.submit("sleep 60")
    slurm.wait(stopped, "RUNNING")
    slurm.cancel(stopped)
    jobs = [killed, failed, behind, stopped]
    for job in jobs:
        slurm.wait(job)
    expected = {
        killed: "killed", failed: "exception", behind: "dependency", stopped: "cancelled",
    }  # fmt: skip

    def kinds() -> dict[str, str | None]:
        found = {
            job: of_job(state, slurm.output(job))
            for job, state in scheduler.states(jobs).known.items()
        }
        return {job: what.kind if what else None for job, what in found.items()}

    slurm.until(lambda: kinds() == expected, 15, lambda: str(kinds()))
    said = of_job(scheduler.states([failed]).known[failed], slurm.output(failed))
    assert said is not None and said.reason == "ValueError: x"
