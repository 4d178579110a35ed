"""Where and how a run computes: device, threads, stack size, micro-batch.

None of it changes a result beyond float error; all of it is fixed when a run starts, kept in its
checkpoint and recorded in its file, so that a resumed run continues with the same bits.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ddbench.errors import BadInput
from ddbench.estimates import CPU_WORKING_SET
from ddbench.networks import Network, Shape

_GPU_SHARE = 0.4
"""Share of a GPU's free memory that activations may take."""
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


@dataclass(frozen=True)
class Engine:
    """Settings of one run.

    Attributes:
        device: ``cpu``, ``cuda`` or ``cuda:i``.
        threads: CPU threads of torch.
        stack: networks trained at once.
        microbatch: images whose activations are held at once in matching.
    """

    device: str
    threads: int
    stack: int
    microbatch: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint and a result file keep them."""
        return asdict(self)


def resolve_device(name: str) -> torch.device:
    """``auto`` takes a GPU where there is one; raises ``BadInput`` for a device that is not."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadInput(
            f"found '{name}'", field="--device", allowed="auto, cpu, cuda, cuda:i"
        ) from None
    if device.type not in ("cpu", "cuda"):
        raise BadInput(f"found '{name}'", field="--device", allowed="auto, cpu, cuda, cuda:i")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadInput(
            f"'{name}' is not there ({torch.cuda.device_count()} GPUs found)", field="--device"
        )
    return device


def choose(device: torch.device, networks: Sequence[Network], shape: Shape, batch: int) -> Engine:
    """Settings for training ``batch`` images of ``shape`` at a time on ``device``.

    The largest of ``networks`` decides.
    """
    per_image = 4 * max(network.activation_floats(shape) for network in networks)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        room = int(free * _GPU_SHARE)
    else:
        room = CPU_WORKING_SET
    return Engine(
        device=str(device),
        threads=available_threads(),
        stack=max(1, room // (per_image * max(1, batch))),
        microbatch=max(4, room // per_image),
    )


def set_numerics(*, allow_tf32: bool, deterministic: bool = False) -> None:
    """How a GPU rounds and orders its sums; nothing changes on a CPU.

    TF32 (torch's default, which the references ran with) concerns convolutions inside cuDNN; matrix
    products stay float32. ``deterministic`` asks for kernels that give the same bits every time.
    """
    torch.backends.cudnn.allow_tf32 = allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = not deterministic
    if torch.cuda.is_available():
        torch.use_deterministic_algorithms(deterministic)


def available_threads() -> int:
    """CPU threads to use: OMP_NUM_THREADS, or the processors this process may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def configure(engine: Engine) -> None:
    """Apply the process-wide settings of a run."""
    torch.set_num_threads(engine.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    keep_heap()


def keep_heap() -> None:
    """Tell glibc to keep freed memory instead of returning it after every step.

    Activations are large blocks, which malloc otherwise maps and unmaps, and zeroes page by page,
    at every layer. Measured on a CPU: a ConvNetD3 step is three times faster. No effect elsewhere.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
    except (OSError, AttributeError):  # another C library
        return
