"""T, what is compared of a feature map; combining M features; tiling an item back to a map.

Axes: B batch, K networks, M features, c channels, h, w.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as fn

if TYPE_CHECKING:
    from ddbench.features.spec import FeatureSpec


def pool(maps: Tensor, item: str, how: str = "avg") -> Tensor:
    """Maps [..., c, h, w] to items.

    full [..., c, h, w], channel [..., c, 1, 1], spatial [..., 1, h, w].
    Pooling an already pooled item again changes nothing, so F may be stored either way.
    """
    if item == "full":
        return maps
    if item == "spatial":
        return maps.mean(-3, keepdim=True)
    if how == "max":
        return maps.amax((-2, -1), keepdim=True)
    return (maps.sum if how == "sum" else maps.mean)((-2, -1), keepdim=True)


def transform(maps: Tensor, spec: FeatureSpec) -> Tensor:
    """T: pooling, then (``normalize``) unit L2 norm over channels at every position."""
    items = pool(maps, spec.item, spec.pool)
    return fn.normalize(items, dim=-3) if spec.normalize else items


def combine(features: Tensor, use: str, index: Tensor | int | None = None) -> Tensor:
    """[..., M, c, h, w] to [..., c, h, w]: their mean, or the one at ``index``.

    ``index``: an int (``best``) or int64 [K] for features [B, K, M, c, h, w] (``random``: one per
    batch and network).
    """
    if use == "mean" or features.shape[-4] == 1:
        return features.mean(-4)
    if isinstance(index, Tensor):
        picked = index.view(1, -1, 1, 1, 1, 1).expand(*features.shape[:2], 1, *features.shape[3:])
        return features.gather(2, picked).squeeze(2)
    assert index is not None, "the feature set to use is not chosen"
    return features.select(-4, index)


def tile(items: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """An item written out to the whole map [..., c, h, w], as the classifier expects it."""
    return items.expand(*items.shape[:-3], *shape)
