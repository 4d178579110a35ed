"""Why something failed: what the run said, how its process ended, what Slurm noted."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ddbench.cluster.scheduler import active
from ddbench.cluster.slurm_output import NEVER, JobState
from ddbench.errors import printable

Kind = Literal[
    "out of memory", "timeout", "node failure", "preempted", "cancelled", "killed", "bad input",
    "exception", "no progress", "container", "dependency",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Diagnosis:
    """Why a task failed.

    Attributes:
        reason: what happened, in one line.
        advice: what to do about it.
    """

    kind: Kind
    reason: str
    advice: str


_CONTINUE = "'ddbench retry' continues it from its last checkpoint"
_LOOK = "see its log ('ddbench logs'); correct the cause, then retry"
_MORE_MEMORY = "raise 'memory' of its stage in the cluster profile, then retry"
_LARGER_GPU = "ask for a GPU with more memory ('gres', 'constraint' or 'partition'), then retry"

_GPU_MEMORY = re.compile(
    r"(?:CUDA|HIP|XPU) out of memory|(?:CUDA|HIP) error: out of memory|_STATUS_ALLOC_FAILED"
    r"|^(?:torch\.)?(?:cuda\.)?OutOfMemoryError"
)
_HOST_MEMORY = re.compile(
    r"\b_?(?:Array)?MemoryError\b|DefaultCPUAllocator|bad_alloc|Cannot allocate memory"
    r"|oom[-_ ]kill|Out Of Memory|[Ee]xceeded (?:job|step) memory limit"
    r"|^Unable to allocate .* for an array"
)
_CONTAINER = re.compile(r"^(?:FATAL|ERROR)(?:\s+:|:\s{2,})\s*(?P<text>.+)")
_OWN = re.compile(r"^ddbench: ")
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Failed|Locked|Interrupt|Exit)(?=:|$)")
_NEW_START = re.compile(r"^--- .*\bstart \d+$")
"""Heads what each start of a run adds to its log; what stands before is of earlier ones."""

_KINDS: dict[str, Kind] = {
    "TIMEOUT": "timeout", "DEADLINE": "timeout", "OUT_OF_MEMORY": "out of memory",
    "NODE_FAIL": "node failure", "BOOT_FAIL": "node failure", "LAUNCH_FAILED": "node failure",
    "RECONFIG_FAIL": "node failure", "RUNAWAY": "node failure", "PREEMPTED": "preempted",
}  # fmt: skip
"""What Slurm's states say by themselves."""
_KINDS_UNLESS_NOTED: dict[str, Kind] = {"CANCELLED": "cancelled", "REVOKED": "cancelled"}
_STEP_DAEMON: tuple[tuple[str, Kind], ...] = (
    ("DUE TO TIME LIMIT", "timeout"), ("DUE TO NODE FAILURE", "node failure"),
    ("DUE TO PREEMPTION", "preempted"),
)  # fmt: skip
_EXCEPTION_ADVICE = (
    ("No space left on device|Disk quota exceeded", "free disk space there, then retry"),
    (r"\bLocked:", "another process works on it: retry when that has ended"),
    (
        "NVIDIA driver|CUDA driver|no kernel image|CUDA-capable|CUDA error|NCCL",
        "the node's GPU or driver: retry, elsewhere if it recurs ('constraint', or 'extra: "
        "{exclude: NODE}')",
    ),
)
_CONTAINER_ADVICE = (
    ("capability", "root lacks capabilities there: containers/drop-caps.sh prints which"),
    ("executable file not found", "the image has no ddbench: containers/build.sh makes one"),
    ("superblock|format not recognized|corrupt", "the image is damaged: build or copy it again"),
    ("[Nn]o space left", "free disk space on the node, or set APPTAINER_TMPDIR"),
    ("mount|bind", "see 'container.binds' in the profile; every source must be on the node"),
    ("[Nn]o such file", "is the image, or a folder that it is given, on this node?"),
)
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}


# --- what a run's process tells ----------------------------------------------------------------


def of_child(returncode: int, told: Sequence[Mapping[str, Any]] | None, tail: str) -> Diagnosis:
    """Why ``ddbench run --json`` did not end well.

    Args:
        returncode: of the process; negative (or 128 more) for a signal.
        told: what it printed, or None where it printed nothing that can be read.
        tail: the end of its log. Only what its last start wrote is looked at.
    """
    lines = _last_start(tail)
    entries = [entry for entry in told or () if isinstance(entry, Mapping)]
    failed = [entry for entry in entries if "reason" in entry]
    failed.sort(key=lambda entry: entry.get("state") == "bad input")  # a failure tells more
    said = [str(entry["reason"]) for entry in failed[:1]]
    if returncode == 2:
        return Diagnosis("bad input", _complaint(said or lines), "correct it, then retry")
    return _of_process(returncode, said, lines)


def _of_process(returncode: int, said: Sequence[str], lines: Sequence[str]) -> Diagnosis:
    """By what the run said, where it did, else by how it ended and the lines of its log."""
    return (
        _out_of_memory(said or lines)
        or _of_signal(returncode)
        or (None if said else _of_container(returncode, lines))
        or _of_exception(returncode, said or lines)
    )


def _last_start(tail: str) -> list[str]:
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    starts = [index for index, line in enumerate(lines) if _NEW_START.match(line)]
    return lines[starts[-1] + 1 :] if starts else lines


def _complaint(lines: Sequence[str]) -> str:
    """The line that says what went wrong: ddbench's own, an exception's, else the last."""
    for form in (_OWN, _EXCEPTION):
        for line in reversed(lines):
            if form.match(line):
                return _short(_OWN.sub("", line))
    return _short(lines[-1]) if lines else "its log is empty"


def _out_of_memory(lines: Sequence[str]) -> Diagnosis | None:
    for line in reversed(lines):
        text = _short(line)
        if "DefaultCPUAllocator" not in line and _GPU_MEMORY.search(line):
            return Diagnosis("out of memory", f"on the GPU: {text}", _LARGER_GPU)
        if _HOST_MEMORY.search(line):
            return Diagnosis("out of memory", f"on the node: {text}", _MORE_MEMORY)
    return None


def _of_signal(returncode: int) -> Diagnosis | None:
    """Of a process that a signal ended, or that a shell or container says was ended by one."""
    if returncode == 75:
        return Diagnosis("killed", "cut off before its end", _CONTINUE)
    try:
        number = signal.Signals(-returncode if returncode < 0 else returncode - 128)
    except ValueError:
        return None
    if number == signal.SIGKILL:
        return Diagnosis("killed", "killed (SIGKILL), probably out of memory", _MORE_MEMORY)
    if number in _CRASHES:
        full = " (a full disk or /dev/shm does that)" if number == signal.SIGBUS else ""
        return Diagnosis("exception", f"crashed ({number.name}){full}", _LOOK)
    return Diagnosis("killed", f"ended by {number.name} before it could save", _CONTINUE)


def _of_container(returncode: int, lines: Sequence[str]) -> Diagnosis | None:
    """What the container runtime says; its own failures have exit code 255, 126, 127 or 1."""
    told = [found["text"] for line in lines if (found := _CONTAINER.match(line))]
    if not told or returncode not in (1, 126, 127, 255):
        return None
    reason = _short(told[-1])
    return Diagnosis("container", reason, _advice(_CONTAINER_ADVICE, reason))


def _of_exception(returncode: int, lines: Sequence[str]) -> Diagnosis:
    reason = _complaint(lines)
    if returncode != 1 or not lines:
        reason = f"exit code {returncode}: {reason}"
    return Diagnosis("exception", reason, _advice(_EXCEPTION_ADVICE, reason))


def _advice(table: Sequence[tuple[str, str]], reason: str) -> str:
    return next((advice for form, advice in table if re.search(form, reason)), _LOOK)


# --- what Slurm tells --------------------------------------------------------------------------


def of_job(state: JobState, tail: str = "") -> Diagnosis | None:
    """Why a job failed by Slurm's word; None where it did not fail or may still run.

    Args:
        tail: the end of the job's log.
    """
    lost = state.reason == NEVER and not state.by and state.state in ("PENDING", "CANCELLED")
    if not lost and (active(state.state) or state.state == "COMPLETED"):
        return None
    ended = _KINDS.get(state.state) or _noted(tail) or _KINDS_UNLESS_NOTED.get(state.state)
    kind = "dependency" if lost else ended
    if kind is None:
        noted = [] if state.exit_code else [state.reason or "Slurm does not say how"]
        return _of_process(_exit_code(state.exit_code), [], _last_start(tail) or noted)
    where = f" on {state.node}" if state.node else ""
    after = f" after {_duration(state.elapsed)}" if state.elapsed else ""
    whose = f"by {state.by}" if state.by else "by whom Slurm does not say"
    return Diagnosis(kind, *{
        "timeout": (f"over its time limit{after}{where}",
                    f"raise 'time' of its stage in the cluster profile; {_CONTINUE}"),
        "out of memory": (f"more than the job had asked for{where}", _MORE_MEMORY),
        "node failure": (f"{state.reason or state.state}{where}", _CONTINUE),
        "preempted": (f"ended for another job{where}", _CONTINUE),
        "cancelled": (f"{whose}, {'while it ran' if state.node else 'before it started'}",
                      "'ddbench retry' starts it again"),
        "dependency": ("the job that it waits for did not end well",
                       "'ddbench retry' queues that one and this one again"),
    }[kind])  # fmt: skip


def _noted(tail: str) -> Kind | None:
    """What the daemon on the node wrote into the log when it ended the job."""
    text = "\n".join(_last_start(tail))
    return next((kind for form, kind in _STEP_DAEMON if form in text), None)


def _exit_code(said: str) -> int:
    """Of ``CODE:SIGNAL``. Slurm prints 128 less of codes above that, as of a killed step's 137."""
    code, _, number = said.partition(":")
    if number.isdigit() and int(number):
        return -int(number)
    signals = (signal.SIGKILL, signal.SIGTERM, *_CRASHES)
    return (-int(code) if int(code) in signals else int(code)) if code.isdigit() else 1


def _duration(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _short(text: str, most: int = 400) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= most else f"{text[: most - 1]}…"


# --- logs --------------------------------------------------------------------------------------

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def log_tail(path: Path, lines: int = 20) -> list[str]:
    """The last lines of a log, printable; of a progress bar what it showed last.

    Only the end of a large file is read, at most 1 MiB. A file that cannot be read has no lines.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            read = 1 << 14
            while True:
                start = file.seek(max(0, size - read))
                found = _lines(file.read(size - start), whole=start == 0)
                if len(found) >= lines or start == 0 or read >= 1 << 20:
                    return found[-lines:] if lines > 0 else []
                read <<= 2
    except OSError:
        return []


def _lines(data: bytes, *, whole: bool) -> list[str]:
    text = data.decode("utf-8", errors="replace").replace("\r\n", "\n")
    every = text.split("\n")
    if not whole and len(every) > 1:
        del every[0]  # begins somewhere in a line
    shown = [_ESCAPE.sub("", line).rstrip("\r").rpartition("\r")[2].rstrip() for line in every]
    return [_cut(printable(line.expandtabs())) for line in shown if line]


def _cut(line: str, most: int = 1000) -> str:
    return line if len(line) <= most else f"{line[: most - 1]}…"
