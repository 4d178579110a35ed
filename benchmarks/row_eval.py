"""Row ``eval``: training and testing the networks of one evaluation."""

from __future__ import annotations

from argparse import Namespace
from types import ModuleType

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import oracle
from benchmarks.measure import Row, compare, rate
from benchmarks.workloads import Workload, forward_backward_macs
from ddbench.arms import Arm
from ddbench.data import RealData
from ddbench.distilled import DistilledSet
from ddbench.engine import choose, configure
from ddbench.evaluation import Target, score
from ddbench.networks import resolve
from ddbench.protocols import Plan
from ddbench.randomness import Streams


def measure(
    work: Workload,
    reference: ModuleType | None,
    macs_per_second: float,
    *,
    networks: int,
    epochs: int,
    ipc: int = 10,
    runs: int = 5,
    row: str = "eval",
) -> list[Row]:
    """``networks`` networks on ``ipc`` images per class, ``epochs`` + 1 epochs, then the test."""
    data, device = work.data, work.data.x_train.device
    generator = torch.Generator(device).manual_seed(1)
    count = ipc * data.num_classes
    x = torch.randn(count, *data.shape, generator=generator, device=device)
    y = torch.arange(data.num_classes, device=device).repeat_interleave(ipc)
    data_set = DistilledSet(x, y, data.space)
    plan = Plan(protocol="dc", repeats=networks, epochs=epochs, lr=0.01)
    engine = choose(device, [work.network], data.shape, count)
    configure(engine)
    target = Target(data.x_test, data.y_test)

    def ours() -> object:
        return list(score(data_set, Arm(work.network, plan), data, target, range(networks),
                          Streams(0, device), engine, iteration=0))  # fmt: skip

    def one_at_a_time() -> object:
        return [
            oracle.evaluate(oracle.fresh(work.network, data.shape, data.num_classes, device),
                            x, y, data.x_test, data.y_test, epochs)
            for _ in range(networks)
        ]  # fmt: skip

    variants = {"ddbench": ours, "one at a time": one_at_a_time}
    if reference is not None:
        variants["reference"] = lambda: _reference(reference, work, x, y, networks, epochs)
    images = networks * ((epochs + 1) * count + len(data.x_test) / 3)
    return compare(
        row, f"{work.name}, {networks} networks, IPC {ipc}, {epochs + 1} epochs + test",
        variants, runs=runs, floor=images * forward_backward_macs(work) / macs_per_second,
    )  # fmt: skip


FAMILIES = (
    "ConvNetD3", "MLP", "LeNet", "AlexNet", "VGG11", "ResNet18", "ResNet18BN", "ResNet18_AP",
    "MobileNetV2", "ShuffleNetV2", "WRN-16-2",
    {"name": "torchvision:resnet18", "stem": "small"},
    {"name": "timm:deit_tiny_patch16_224", "patch_size": 4},
)  # fmt: skip
"""One network of every family, as a user would evaluate on."""


def measure_families(
    data: RealData, *, networks: int, epochs: tuple[int, int], runs: int = 3
) -> list[Row]:
    """Every family in a stack and one at a time, on one image per class.

    ``epochs``: of networks with up to 10^8 multiply-adds an image, and of larger ones.
    """
    speed, found = rate(data.x_train.device), [resolve(name) for name in FAMILIES]
    return [
        line
        for network in found
        for line in measure(
            Workload(f"{network.label}, CIFAR10 shape", data, network), None, speed,
            networks=networks, epochs=epochs[network.multiply_adds(data.shape, 10) > 1e8], ipc=1,
            runs=runs, row="eval-networks",
        )
    ]  # fmt: skip


def _reference(
    utils: ModuleType, work: Workload, x: torch.Tensor, y: torch.Tensor, networks: int, epochs: int
) -> None:
    """The reference's own ``evaluate_synset`` on the same modules."""
    args = Namespace(
        device=str(x.device), lr_net=0.01, epoch_eval_train=epochs, batch_train=256, dsa=False,
        dc_aug_param={"strategy": "none", "crop": 4, "scale": 0.2, "rotate": 45, "noise": 0.001},
    )  # fmt: skip
    tests = DataLoader(TensorDataset(work.data.x_test, work.data.y_test), batch_size=256)
    for number in range(networks):
        net = oracle.fresh(work.network, work.data.shape, work.data.num_classes, x.device)
        utils.evaluate_synset(number, net, x, y, tests, args)
