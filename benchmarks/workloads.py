"""What the rows are measured on: digits, and random pixels in CIFAR's shape.

Speed does not depend on pixel values, so CIFAR's files are not needed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from ddbench.data import RealData
from ddbench.data import load as load_data
from ddbench.datasets import DatasetSpec
from ddbench.distilled import Space
from ddbench.networks import Network, resolve


@dataclass(frozen=True)
class Workload:
    """A dataset with its network."""

    name: str
    data: RealData
    network: Network


def digits(device: torch.device) -> Workload:
    """The embedded dataset with ConvNetD2 of width 32."""
    network = resolve({"name": "ConvNetD2", "width": 32})
    return Workload("digits", load_data(DatasetSpec(name="digits"), device), network)


def cifar_shape(device: torch.device, per_class: int = 256, tests: int = 256) -> Workload:
    """10 classes of 3x32x32 random pixels with ConvNetD3 of width 128."""
    generator = torch.Generator(device).manual_seed(0)
    count = 10 * per_class
    y = torch.arange(10, device=device).repeat_interleave(per_class)
    data = RealData(
        x_train=torch.randn(count, 3, 32, 32, generator=generator, device=device), y_train=y,
        x_test=torch.randn(tests, 3, 32, 32, generator=generator, device=device),
        y_test=torch.randint(10, (tests,), generator=generator, device=device),
        x_val=None, y_val=None, space=Space("meanstd", (0.0,) * 3, (1.0,) * 3), num_classes=10,
        shape=(3, 32, 32), sha256="random pixels",
        class_index=torch.arange(count, device=device).view(10, per_class),
        class_count=torch.full((10,), per_class, device=device),
    )  # fmt: skip
    return Workload("CIFAR10 shape", data, resolve("ConvNetD3"))


def reference_utils(folder: Path | None) -> ModuleType | None:
    """``utils`` of a checkout of a reference implementation, or None."""
    if folder is None:
        return None
    sys.path.insert(0, str(folder))
    for name in ("utils", "networks"):
        sys.modules.pop(name, None)
    try:
        import utils  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    found: ModuleType = utils
    return found


def forward_backward_macs(work: Workload) -> int:
    """Multiply-adds of one forward and backward pass of one image (backward = 2 forward)."""
    return 3 * work.network.multiply_adds(work.data.shape, work.data.num_classes)
