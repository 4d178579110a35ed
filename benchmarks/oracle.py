"""The baseline: one network at a time, plain eager loops over the same modules.

It is also an independent statement of the algorithms: the parity tests compare the stacked engine
with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from ddbench.networks import Network, Shape
from ddbench.networks._backbone import Backbone

Distance = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]


def fresh(network: Network, shape: Shape, classes: int, device: torch.device) -> Backbone:
    """One module as its architecture is initialised."""
    module = network.build(shape, classes)
    generator = torch.Generator(device).manual_seed(0)
    state = network.initial_state(module, generator)
    module = module.to_empty(device=device)
    module.load_state_dict(state)
    return module


def train_epoch(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor,
                batch_size: int) -> None:  # fmt: skip
    """One shuffled epoch of cross-entropy."""
    for rows in torch.randperm(len(x), device=x.device).split(batch_size):
        loss = fn.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def evaluate(net: nn.Module, x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor,
             epochs: int, batch_size: int = 256) -> float:  # fmt: skip
    """DC's evaluation: E + 1 epochs, rate x0.1 and a fresh optimiser after index E // 2 + 1."""
    lr = 0.01
    optimizer = torch.optim.SGD(net.parameters(), lr, momentum=0.9, weight_decay=5e-4)
    for epoch in range(epochs + 1):
        train_epoch(net, optimizer, x, y, batch_size)
        if epoch == epochs // 2 + 1:
            lr *= 0.1
            optimizer = torch.optim.SGD(net.parameters(), lr, momentum=0.9, weight_decay=5e-4)
    with torch.no_grad():
        right = [(net(a).argmax(1) == b).sum() for a, b in zip(x_test.split(256), y_test.split(256),
                                                               strict=True)]  # fmt: skip
    return float(torch.stack(right).sum() / len(x_test))


def row_distance(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
    """Sum over matrices and their rows of 1 - cosine (DC's distance)."""
    total = torch.zeros((), device=real[0].device)
    for a, b in zip(real, synthetic, strict=True):
        if a.dim() > 1:
            u, v = a.flatten(1), b.flatten(1)
            total = total + (1 - (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1) + 1e-6)).sum()
    return total


def matching_step(
    net: Backbone, x_syn: Tensor, ipc: int, real: Sequence[Tensor], distance: Distance,
    F: Tensor | None = None, weight: float = 0.0,
) -> Tensor:  # fmt: skip
    """DC's matching loss, class by class; with F that of DRUPI's F step (encoder gradients)."""
    params = [p for n, p in net.named_parameters() if F is None or not n.startswith("classifier")]
    loss = torch.zeros((), device=x_syn.device)
    for label, x_real in enumerate(real):
        y_real = torch.full((len(x_real),), label, device=x_syn.device)
        reference = torch.autograd.grad(fn.cross_entropy(net(x_real), y_real), params)
        mine = slice(label * ipc, (label + 1) * ipc)
        y = torch.full((ipc,), label, device=x_syn.device)
        value = fn.cross_entropy(net(x_syn[mine]), y)
        if F is not None:
            maps = net.features(x_syn[mine], len(net.blocks))
            value = value + weight * fn.mse_loss(maps, F[mine])
        ours = torch.autograd.grad(value, params, create_graph=True)
        loss = loss + distance([g.detach() for g in reference], ours)
    return loss
