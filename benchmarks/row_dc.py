"""Rows ``dc`` and ``f``: one outer iteration of gradient matching, plain and with F."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import oracle
from benchmarks.measure import Row, compare
from benchmarks.workloads import Workload, forward_backward_macs
from ddbench.distilled import DistilledSet
from ddbench.engine import choose, configure
from ddbench.features import FeatureSpec
from ddbench.features.source import feature_term
from ddbench.methods.dc import DC
from ddbench.randomness import Streams
from ddbench.synthetic import SyntheticVariables
from ddbench.task import Task


def measure(
    work: Workload,
    reference: ModuleType | None,
    macs_per_second: float,
    *,
    outer: int,
    inner: int,
    batch_real: int = 256,
    ipc: int = 10,
    features: bool = False,
    runs: int = 5,
) -> list[Row]:
    """One outer iteration: ``outer`` matching steps, ``inner`` epochs between two of them."""
    data, device = work.data, work.data.x_train.device
    x = torch.randn(ipc * data.num_classes, *data.shape, device=device)
    y = torch.arange(data.num_classes, device=device).repeat_interleave(ipc)
    F = torch.rand(len(x), *work.network.feature_shapes(data.shape)[-1], device=device)
    variants = {
        "ddbench": _ours(work, x, y, F if features else None, outer, inner, batch_real, ipc),
        "one at a time": lambda: _plain(
            work, x, y, F if features else None, outer, inner, batch_real, ipc, None
        ),
    }
    if features:
        variants["ddbench without F"] = _ours(work, x, y, None, outer, inner, batch_real, ipc)
    if reference is not None:
        variants["reference"] = lambda: _plain(
            work, x, y, F if features else None, outer, inner, batch_real, ipc, reference
        )
    real = min(batch_real, int(data.class_count.max())) * data.num_classes
    images = outer * (real + 3 * len(x)) * (2 if features else 1) + (outer - 1) * inner * len(x)
    return compare(
        "f" if features else "dc",
        f"{work.name}, IPC {ipc}, T={outer}, {inner} inner epochs, {batch_real} real per class",
        variants, runs=runs, floor=images * forward_backward_macs(work) / macs_per_second,
    )  # fmt: skip


def _ours(
    work: Workload,
    x: Tensor,
    y: Tensor,
    F: Tensor | None,
    outer: int,
    inner: int,
    batch_real: int,
    ipc: int,
):  # type: ignore[no-untyped-def]
    data, device = work.data, x.device
    method = DC(iterations=10**6, outer_loop=outer, inner_loop=inner, batch_real=batch_real)
    engine = choose(device, [work.network], data.shape, len(x))
    configure(engine)
    task = Task(ipc, data, work.network, Streams(0, device), engine)
    spec = FeatureSpec(item="full", lambda_reg=0.1) if F is not None else None
    start = DistilledSet(x, y, data.space, F=None if F is None else F[:, None],
                         features={} if F is None else {"item": "full"})  # fmt: skip
    task.variables = SyntheticVariables(
        start, ipc, lr=0.1, momentum=0.5, features=spec,
        term=feature_term(spec, work.network, data.shape) if spec else None,
    )  # fmt: skip
    iterations = method.distill(task)
    return lambda: next(iterations)


def _plain(
    work: Workload,
    x: Tensor,
    y: Tensor,
    F: Tensor | None,
    outer: int,
    inner: int,
    batch_real: int,
    ipc: int,
    utils: ModuleType | None,
) -> None:
    """The same iteration one network and one class at a time.

    ``utils``: take the distance and the inner epoch from a reference's own module.
    """
    data, device = work.data, x.device
    args = Namespace(device=str(device), dis_metric="ours", dsa=False, dc_aug_param=None)
    distance: oracle.Distance = oracle.row_distance
    if utils is not None:

        def distance(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
            loss: Tensor = utils.match_loss(synthetic, real, args)
            return loss

    images = x.clone().requires_grad_()
    labelled = None if F is None else F.clone().requires_grad_()
    x_sgd = torch.optim.SGD([images], 0.1, momentum=0.5)
    f_sgd = None if labelled is None else torch.optim.SGD([labelled], 0.1, momentum=0.5)
    net = oracle.fresh(work.network, data.shape, data.num_classes, device)
    sgd = torch.optim.SGD(net.parameters(), 0.01)
    for step in range(outer):
        for optimizer, syn, features in ((x_sgd, images, None), (f_sgd, images.detach(), labelled)):
            if optimizer is None:
                continue
            loss = oracle.matching_step(
                net, syn, ipc, _real(work, batch_real), distance, features, 0.1
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if step < outer - 1:
            _inner(net, sgd, images.detach(), y, labelled, inner, utils, args)


def _real(work: Workload, batch_real: int) -> list[Tensor]:
    data = work.data
    rows = [data.class_index[c, : int(n)] for c, n in enumerate(data.class_count)]
    return [data.x_train[r[torch.randperm(len(r), device=r.device)[:batch_real]]] for r in rows]


def _inner(
    net: torch.nn.Module,
    sgd: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    F: Tensor | None,
    epochs: int,
    utils: ModuleType | None,
    args: Namespace,
) -> None:
    if utils is not None:
        loader = DataLoader(TensorDataset(x, y), batch_size=256, shuffle=True)
        for _ in range(epochs):
            utils.epoch("train", loader, net, sgd, torch.nn.CrossEntropyLoss(), args, aug=False)
        return
    for _ in range(epochs):
        oracle.train_epoch(net, sgd, x, y, 256)
