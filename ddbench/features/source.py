"""Where F starts: features of networks trained on the real data, or noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ddbench.data import RealData
from ddbench.features.spec import FeatureSpec
from ddbench.features.transform import pool
from ddbench.methods import TrainedOn
from ddbench.networks import Network
from ddbench.objective import FeatureTerm
from ddbench.randomness import Streams
from ddbench.trained import feature_maps, trained


def initial_features(
    spec: FeatureSpec,
    network: Network,
    source: TrainedOn | None,
    x: Tensor,
    data: RealData,
    streams: Streams,
    chunk: int,
) -> Tensor:
    """F, float32 [N, M, c, h, w] per image or [classes, M, c, h, w] per class.

    Per image: the items of E_l(x), one trained network per feature set (DRUPI
    ``DC/DCmain3.0.py:820-844``). Per class: the mean item over the class's real training images,
    the class's prototype. Items are pooled but not normalised; T does that at every use.
    """
    shape = spec.item_shape(network, data.shape)
    per_class = spec.granularity == "per_class"
    count = data.num_classes if per_class else len(x)
    if spec.init.source == "noise":
        generator = streams.generator("features: noise")
        return torch.randn(
            (count, spec.n_feat, *shape), generator=generator, device=generator.device
        )
    assert source is not None
    stack = trained(source, data, streams)
    layer = network.layer_index(spec.layer, data.shape)
    images = data.x_train if per_class else x
    items = torch.cat(
        [pool(maps, spec.item, spec.pool) for maps in feature_maps(stack, images, layer, chunk)]
    )
    if not per_class:
        return items
    total = items.new_zeros(count, *items.shape[1:]).index_add_(0, data.y_train, items)
    return total / data.class_count.view(-1, 1, 1, 1, 1)


def feature_term(spec: FeatureSpec, network: Network, shape: tuple[int, int, int]) -> FeatureTerm:
    """The loss term that uses F on ``network``."""
    return FeatureTerm(spec, network.layer_index(spec.layer, shape), spec.lambda_reg)


def stored_settings(
    spec: FeatureSpec,
    network: Network,
    shape: tuple[int, int, int],
    source: str,
    fixed_images: bool,
) -> dict[str, Any]:
    """What the result file says of F: the resolved block, the network it belongs to, its shape."""
    return {
        **spec.model_dump(mode="json"),
        "source": source,
        "update": spec.update or "alternate",
        "architecture": network.identity(),
        "layer_index": network.layer_index(spec.layer, shape),
        "map_shape": list(
            network.feature_shapes(shape)[network.layer_index(spec.layer, shape) - 1]
        ),
        "fixed_images": fixed_images,
    }


def spec_of(settings: dict[str, Any]) -> FeatureSpec:
    """The features block back from ``stored_settings``; raises ``BadInput`` if it is not one."""
    known = {name: settings[name] for name in FeatureSpec.model_fields if name in settings}
    return FeatureSpec.parse(known, field="features")
