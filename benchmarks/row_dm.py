"""Row ``dm``: one iteration of distribution matching under siamese augmentation."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from benchmarks import oracle
from benchmarks.measure import Row, compare
from benchmarks.workloads import Workload, forward_backward_macs
from ddbench import augment
from ddbench.augment.dsa import DSA
from ddbench.distilled import DistilledSet
from ddbench.engine import choose, configure
from ddbench.methods.dm import DM
from ddbench.randomness import Streams
from ddbench.synthetic import SyntheticVariables
from ddbench.task import Task


def measure(
    work: Workload,
    reference: ModuleType | None,
    macs_per_second: float,
    *,
    ipc: int,
    batch_real: int = 256,
    runs: int = 5,
) -> list[Row]:
    """One iteration: a fresh network, real and synthetic embeddings of all classes, one update."""
    data, device = work.data, work.data.x_train.device
    x = torch.randn(ipc * data.num_classes, *data.shape, device=device)
    variants: dict[str, Callable[[], object]] = {
        "ddbench": _ours(work, x, batch_real, ipc),
        "one at a time": lambda: _plain(work, x, batch_real, ipc, None),
    }
    if reference is not None:
        variants["reference"] = lambda: _plain(work, x, batch_real, ipc, reference)
    real = min(batch_real, int(data.class_count.max())) * data.num_classes
    macs = forward_backward_macs(work) * (real / 3 + len(x))  # no backward for real images
    return compare(
        "dm", f"{work.name}, IPC {ipc}, {batch_real} real per class", variants, runs=runs,
        floor=macs / macs_per_second,
    )  # fmt: skip


def _ours(work: Workload, x: Tensor, batch_real: int, ipc: int) -> Callable[[], object]:
    data, device = work.data, x.device
    engine = choose(device, [work.network], data.shape, len(x))
    configure(engine)
    task = Task(ipc, data, work.network, Streams(0, device), engine)
    y = torch.arange(data.num_classes, device=device).repeat_interleave(ipc)
    start = DistilledSet(x, y, data.space)
    task.variables = SyntheticVariables(start, ipc, lr=1.0, momentum=0.5)
    iterations = DM(iterations=10**6, batch_real=batch_real).distill(task)
    return lambda: next(iterations)


def _plain(work: Workload, x: Tensor, batch_real: int, ipc: int, utils: ModuleType | None) -> None:
    """The same iteration one class at a time, each under the one operation that was drawn.

    ``utils``: take the augmentation from a reference's own module.
    """
    data, device = work.data, x.device
    images = x.clone().requires_grad_()
    sgd = torch.optim.SGD([images], 1.0, momentum=0.5)
    net = oracle.fresh(work.network, data.shape, data.num_classes, device)
    net.requires_grad_(requires_grad=False)
    loss = torch.zeros((), device=device)
    for label, count in enumerate(data.class_count.tolist()):
        chosen = torch.randperm(count, device=device)[:batch_real]
        real = data.x_train[data.class_index[label, chosen]]
        mine = images[label * ipc : (label + 1) * ipc]
        both = _augmented(real, mine) if utils is None else _reference_augmented(real, mine, utils)
        means = [net.features(side, len(net.blocks)).flatten(1).mean(0) for side in both]
        loss = loss + (means[0].detach() - means[1]).square().sum()
    sgd.zero_grad()
    loss.backward()
    sgd.step()


def _augmented(real: Tensor, synthetic: Tensor) -> tuple[Tensor, Tensor]:
    single = DSA(strategy=random.choice(DSA().operations), mode="multiple")
    generator = torch.Generator(real.device).manual_seed(random.getrandbits(31))
    shape = (real.shape[1], real.shape[2], real.shape[3])
    record = single.record(augment.draw(single, [generator], 1, 1, shape)[0], shape)
    return single.apply(real[:, None], record)[:, 0], single.apply(synthetic[:, None], record)[:, 0]


def _reference_augmented(
    real: Tensor, synthetic: Tensor, utils: ModuleType
) -> tuple[Tensor, Tensor]:
    strategy, seed = DSA().strategy, random.getrandbits(16)
    parameters = utils.ParamDiffAug()
    return (
        utils.DiffAugment(real, strategy, seed=seed, param=parameters),
        utils.DiffAugment(synthetic, strategy, seed=seed, param=parameters),
    )
