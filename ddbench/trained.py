"""Networks trained on the real data beforehand: F's source, embeddings, teachers.

The ``experts`` stage makes them; they are cached by content (data, network, training, seed) as
safetensors files, so that recipes share them and a second run finds them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddbench.augment import Augmentation
from ddbench.data import RealData, normalise, unnormalise
from ddbench.distilled import Space
from ddbench.engine import set_numerics
from ddbench.experts import networks_folder
from ddbench.methods import TrainedOn
from ddbench.networks import Network
from ddbench.objective import Examples, SyntheticLoss
from ddbench.protocols import TeacherSpec, parse_augmentation
from ddbench.randomness import Streams
from ddbench.spec import fingerprint
from ddbench.stack import Stack, create, from_state
from ddbench.store.atomic import publish
from ddbench.training import Draws, OptimizerSpec, correct, predict, train

log = logging.getLogger(__name__)

REVISION = 1
"""Raise it when a change of the engine changes the numbers that it computes: networks and scores
that are cached below ``cache_root()`` are then made anew."""

_ACCURACIES: dict[Path, float] = {}
"""Test accuracies of this process's teachers; many arms share one."""


def cache_file(spec: TrainedOn, data: RealData, streams: Streams) -> Path:
    """Where the networks of ``spec`` lie; the name is a hash of everything that makes them."""
    identity = {
        **spec.identity(),
        **circumstances(data, streams, [spec.network]),
        "seed": _own(spec, streams).seed,
    }
    return networks_folder() / f"{fingerprint(identity)}.safetensors"


def circumstances(data: RealData, streams: Streams, networks: Sequence[Network]) -> dict[str, Any]:
    """What the numbers of a training on real data depend on beside its settings, as plain data.

    The images in their value space, the engine's revision, the device, and the libraries that
    compute (torch) or define architectures and augmentations (torchvision; timm where one of
    ``networks`` is its).
    """
    gpu = streams.device.type == "cuda"
    name = torch.cuda.get_device_name(streams.device) if gpu else streams.device.type
    libraries = ["torchvision"]
    if any(network.name.startswith("timm:") for network in networks):
        libraries.append("timm")
    return {
        "data": [data.sha256, data.preparation, list(data.x_train.shape), _digest_of(data.space)],
        "revision": REVISION,
        "device": [name, torch.get_num_threads(), torch.__version__],
        "libraries": {library: version(library) for library in libraries},
    }


@lru_cache(maxsize=1)
def _digest_of(space: Space) -> str:
    """SHA-256 of a value space: its name, its constants, and its whitening as it was fitted."""
    found = hashlib.sha256(repr((space.name, space.mean, space.std)).encode())
    if space.whitening is not None:
        for part in (space.whitening.mean, space.whitening.matrix, space.whitening.inverse):
            found.update(part.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _own(spec: TrainedOn, streams: Streams) -> Streams:
    """The streams that the networks are made with: the run's, unless they have their own seed."""
    return streams if spec.seed is None else Streams(spec.seed, streams.device)


def trained(spec: TrainedOn, data: RealData, streams: Streams) -> Stack:
    """``spec.members`` networks trained on the real training part, or those in the cache.

    Leaves a GPU computing in full float32 (``set_numerics``), whether they were there or not.
    """
    path = cache_file(spec, data, streams)
    set_numerics(allow_tf32=False)  # one file for all recipes, whatever they use
    if path.is_file():
        try:
            state = load_file(path, device=str(streams.device))
            return from_state(spec.network, data.shape, data.num_classes, state)
        except (SafetensorError, KeyError, OSError):
            path.unlink(missing_ok=True)  # damaged: made again, to the same bits
    _deterministic()
    stack = _train(spec, data, _own(spec, streams))
    set_numerics(allow_tf32=False)
    state = {**stack.params, **stack.buffers}
    with publish(path) as temporary:
        save_file({name: value.detach().contiguous() for name, value in state.items()}, temporary)
    return stack


def _deterministic() -> None:
    """The same bits from every training on a GPU; torch warns of operations that cannot."""
    set_numerics(allow_tf32=False, deterministic=True)
    if torch.cuda.is_available():  # pooling to a fixed size, as in VGG, has no such kernel
        torch.use_deterministic_algorithms(True, warn_only=True)


def _train(spec: TrainedOn, data: RealData, streams: Streams) -> Stack:
    members = range(spec.members)
    stack = create(
        spec.network, data.shape, data.num_classes, streams.generators("trained: init", members)
    )
    draws = Draws(
        streams.generators("trained: order", members), streams.generators("trained: extra", members)
    )
    augmentation = spec.augmentation or parse_augmentation(
        {"name": "dsa", "strategy": spec.augment} if spec.augment else None
    )
    rates = spec.rates()
    train(
        stack, Examples(data.x_train, data.y_train), SyntheticLoss(),
        OptimizerSpec(spec.lr, spec.momentum, spec.weight_decay, spec.optimizer),
        draws.orders(len(rates), len(data.x_train)),
        batch_size=spec.batch_size, rates=rates, augmentation=bound(augmentation, data.space),
        draws=draws,
    )  # fmt: skip
    return stack.detached()


def bound(augmentation: Augmentation | None, space: Space) -> Augmentation | None:
    """The augmentation for images of a value space."""
    if augmentation is None:
        return None
    return augmentation.bind(
        partial(unnormalise, space=space, clamp=False), partial(normalise, space=space)
    )


# --- teachers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Teachers:
    """Networks whose mean logits label images, and what is known of each.

    Attributes:
        stacks: single networks.
        facts: per network ``network``, ``sha256`` of its numbers, ``accuracy`` on the test set.
    """

    stacks: tuple[Stack, ...]
    facts: tuple[dict[str, Any], ...]

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Mean logits [B, K, classes] of images [B, K, C, H, W], in eval mode."""
        flat = x.flatten(0, 1)[:, None]
        total = sum(stack(flat, train=False).logits for stack in self.stacks)
        assert isinstance(total, Tensor)
        return (total / len(self.stacks)).view(*x.shape[:2], -1)

    def __str__(self) -> str:
        return ", ".join(
            f"{known['network']} (sha256 {known['sha256'][:12]}, {100 * known['accuracy']:.2f} %)"
            for known in self.facts
        )

    @property
    def bytes(self) -> int:
        """Size of all their numbers."""
        states = [{**stack.params, **stack.buffers} for stack in self.stacks]
        return sum(t.numel() * t.element_size() for state in states for t in state.values())

    def label(self, x: Tensor) -> Tensor:
        """Mean logits [N, classes] of images [N, C, H, W]."""
        total = sum(predict(stack, x)[:, 0] for stack in self.stacks)
        assert isinstance(total, Tensor)
        return total / len(self.stacks)


def teachers_of(spec: TeacherSpec, data: RealData, streams: Streams) -> Teachers:
    """The teachers of a protocol, trained or from the cache; tested once per process.

    Leaves a GPU computing in full float32, as ``trained``.
    """
    needed = spec.trained_on()
    assert needed, "the architectures of the teachers are not resolved"
    stacks, facts = [], []
    for each in needed:
        stack = trained(each, data, streams)
        path = cache_file(each, data, streams)
        if path not in _ACCURACIES:
            right = correct(predict(stack, data.x_test), data.y_test)
            _ACCURACIES[path] = float(right.double().mean())
        known = {
            "network": each.network.label, "sha256": _digest(stack), "accuracy": _ACCURACIES[path],
        }  # fmt: skip
        log.info("teacher %s (sha256 %.12s): %.2f %% on the test set",
                 known["network"], known["sha256"], 100 * _ACCURACIES[path])  # fmt: skip
        stacks.append(stack)
        facts.append(known)
    return Teachers(tuple(stacks), tuple(facts))


def _digest(stack: Stack) -> str:
    found = hashlib.sha256()
    for name, value in sorted({**stack.params, **stack.buffers}.items()):
        found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


@torch.no_grad()
def feature_maps(stack: Stack, x: Tensor, layer: int, chunk: int) -> Iterator[Tensor]:
    """Maps [b, K, c, h, w] behind block ``layer`` for consecutive chunks of x [N, C, H, W]."""
    for part in x.split(chunk):
        feature = stack(part[:, None], layer=layer, train=False).feature
        assert feature is not None
        yield feature
