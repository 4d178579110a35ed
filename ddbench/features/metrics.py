"""d, the distance between network features and F. All give one number per network, [K].

Inputs are [B, K, c, h, w]; ``weight`` [B, K] sums to 1 over B and leaves out padding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Metric = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def _over_batch(values: Tensor, weight: Tensor | None) -> Tensor:
    return values.mean(0) if weight is None else (values * weight).sum(0)


def mse(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over batch, channels and positions of (a - b)^2 (DRUPI ``DC/utils.py:1189-1193``)."""
    return _over_batch((a - b).square().flatten(2).mean(-1), weight)


def cosine(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """1 - mean over the batch of the cosine between flattened maps."""
    similarity = torch.cosine_similarity(a.flatten(2), b.flatten(2), dim=-1)
    return 1 - _over_batch(similarity, weight)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """[B, K, P] and [C, K, P] to [K, B, C]; a sum of squares, exact zero on the diagonal."""
    return (a.transpose(0, 1)[:, :, None] - b.transpose(0, 1)[:, None]).square().sum(-1)


def _mmd(a: Tensor, b: Tensor, bandwidths: tuple[float, ...]) -> Tensor:
    a, b = a.flatten(2), b.flatten(2)

    def kernel(u: Tensor, v: Tensor) -> Tensor:
        d2 = _squared_distances(u, v)
        terms = torch.stack([torch.exp(-0.5 * d2 / width) for width in bandwidths])
        return terms.sum(0).mean((-2, -1))

    return kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)


def _unweighted(weight: Tensor | None) -> None:
    assert weight is None, "MMD compares whole batches and takes no padding"


def mmd_rbf(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared MMD, kernel sum of exp(-d^2 / 2a) over a in 10, 15, 20, 50; mean over pairs."""
    _unweighted(weight)
    return _mmd(a, b, (10.0, 15.0, 20.0, 50.0))


def mmd_gauss(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared MMD with one Gaussian kernel exp(-d^2 / 2); mean over pairs."""
    _unweighted(weight)
    return _mmd(a, b, (1.0,))


METRICS: dict[str, Metric] = {
    "mse": mse,
    "cosine": cosine,
    "mmd_rbf": mmd_rbf,
    "mmd_gauss": mmd_gauss,
}
