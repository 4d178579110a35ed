"""Networks trained on the real data beforehand: F's source and the coresets' embedding.

The ``experts`` stage makes them; they are cached by content (data, network, training, seed) as
safetensors files, so that recipes share them and a second run finds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddbench.data import RealData
from ddbench.engine import set_numerics
from ddbench.methods import TrainedOn
from ddbench.objective import Examples, SyntheticLoss
from ddbench.places import cache_root
from ddbench.protocols import parse_augmentation
from ddbench.randomness import Streams
from ddbench.spec import fingerprint
from ddbench.stack import Stack, create, from_state
from ddbench.store.atomic import publish
from ddbench.training import Draws, OptimizerSpec, train


def cache_file(spec: TrainedOn, data: RealData, streams: Streams) -> Path:
    """Where the networks of ``spec`` lie; the name is a hash of everything that makes them."""
    identity = {
        **spec.model_dump(mode="json", exclude={"network"}),
        "network": spec.network.identity(),
        "data": [data.sha256, data.preparation, list(data.x_train.shape)],
        "seed": streams.seed,
        "device": [streams.device.type, torch.get_num_threads(), torch.__version__],
    }
    return cache_root() / "networks" / f"{fingerprint(identity)}.safetensors"


def trained(spec: TrainedOn, data: RealData, streams: Streams) -> Stack:
    """``spec.members`` networks trained on the real training part, or those in the cache."""
    path = cache_file(spec, data, streams)
    if path.is_file():
        try:
            state = load_file(path, device=str(streams.device))
            return from_state(spec.network, data.shape, data.num_classes, state)
        except (SafetensorError, KeyError, OSError):
            path.unlink(missing_ok=True)  # damaged: made again, to the same bits
    stack = _train(spec, data, streams)
    state = {**stack.params, **stack.buffers}
    with publish(path) as temporary:
        save_file({name: value.detach().contiguous() for name, value in state.items()}, temporary)
    return stack


def _train(spec: TrainedOn, data: RealData, streams: Streams) -> Stack:
    set_numerics(allow_tf32=False)  # one file for all recipes: in float32, whatever they use
    members = range(spec.members)
    stack = create(
        spec.network, data.shape, data.num_classes, streams.generators("trained: init", members)
    )
    draws = Draws(
        streams.generators("trained: order", members), streams.generators("trained: extra", members)
    )
    augmentation = parse_augmentation(
        {"name": "dsa", "strategy": spec.augment} if spec.augment else None
    )
    train(
        stack, Examples(data.x_train, data.y_train), SyntheticLoss(),
        OptimizerSpec(spec.lr, spec.momentum, spec.weight_decay),
        draws.orders(spec.epochs, len(data.x_train)),
        batch_size=spec.batch_size, augmentation=augmentation, draws=draws,
    )  # fmt: skip
    return stack.detached()


@torch.no_grad()
def feature_maps(stack: Stack, x: Tensor, layer: int, chunk: int) -> Iterator[Tensor]:
    """Maps [b, K, c, h, w] behind block ``layer`` for consecutive chunks of x [N, C, H, W]."""
    for part in x.split(chunk):
        feature = stack(part[:, None], layer=layer, train=False).feature
        assert feature is not None
        yield feature
