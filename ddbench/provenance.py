"""What made a result: versions, code, device, memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

import ddbench


@cache
def code_version() -> str:
    """The commit of this checkout, ``+`` appended where files differ; empty outside a checkout."""
    folder = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if not git("ls-files", "--", Path(__file__).name):
            return ""  # installed inside somebody else's checkout
        commit = git("rev-parse", "HEAD")
        return commit + ("+" if commit and git("status", "--porcelain", "--", ".") else "")
    except OSError:
        return ""


def environment(device: torch.device) -> dict[str, Any]:
    """Attributes of a result file that say with what it was made."""
    gpu = device.type == "cuda"
    return {
        "ddbench": ddbench.__version__,
        "git": code_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "" if gpu else "",
        "device": torch.cuda.get_device_name(device) if gpu else "cpu",
        "image": os.environ.get("APPTAINER_CONTAINER", ""),
        "job": os.environ.get("SLURM_JOB_ID", ""),
    }


def now() -> str:
    """UTC time, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU where one is used, else of the process (resident, since it started)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
