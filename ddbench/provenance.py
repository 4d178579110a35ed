"""What made a result: versions, code, device, image, memory. Imports torch when asked about it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ddbench
from ddbench.content import COMMIT_FILE

if TYPE_CHECKING:
    import torch

_IMAGES = ("DDBENCH_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
_AND = "; "


@cache
def code_version() -> str:
    """The commit of this code, ``+`` appended where files differ from it; empty if not known.

    Of a checkout as git says, of a copy without one as the file ``COMMIT_FILE`` in it says.
    """
    package = Path(__file__).resolve().parent
    try:
        return _checked_out(package) or (package / COMMIT_FILE).read_text("utf-8").strip()
    except OSError:
        return ""


def _checked_out(folder: Path) -> str:
    """The commit of the checkout that ``folder`` belongs to; empty where there is none."""

    def git(*words: str) -> str:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
            )
        except OSError:  # no git here
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    if not git("ls-files", "--", Path(__file__).name):
        return ""  # a copy inside somebody else's checkout
    commit = git("rev-parse", "HEAD")
    return commit + ("+" if commit and git("status", "--porcelain", "--", ".") else "")


def image() -> str:
    """The container image that this process runs in; empty outside of containers."""
    return next((os.environ[name] for name in _IMAGES if os.environ.get(name)), "")


def images(known: str, more: str) -> str:
    """The images of a file's stages, each once, in the order of their first use."""
    return _AND.join(dict.fromkeys(name for name in (*known.split(_AND), more) if name))


def environment(device: torch.device) -> dict[str, Any]:
    """Attributes of a result file that say with what it was made."""
    import torch

    gpu = device.type == "cuda"
    return {
        "ddbench": ddbench.__version__,
        "git": code_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "" if gpu else "",
        "device": torch.cuda.get_device_name(device) if gpu else "cpu",
        "image": image(),
    }


def now() -> str:
    """UTC time, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU where one is used, else of the process (resident, since it started)."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
