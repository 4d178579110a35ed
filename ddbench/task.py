"""What a method may use: real batches, fresh networks, the variables, and training on them.

Nothing else is reachable from a method: no files, no test data, no options of the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ddbench.augment import Augmentation
from ddbench.data import RealData, normalise, unnormalise
from ddbench.engine import Engine
from ddbench.methods import TrainedOn
from ddbench.networks import Network
from ddbench.randomness import Streams
from ddbench.stack import Stack, create
from ddbench.synthetic import SyntheticVariables, tiled
from ddbench.trained import feature_maps, trained
from ddbench.training import Draws, OptimizerSpec, train


@dataclass
class Task:
    """One set to be made.

    Attributes:
        ipc: images per class. data: the real data. network: the architecture.
        streams: random numbers by purpose. engine: device, micro-batch.
        start: iteration to begin with (after a resumption).
        factor: f; a stored image holds f x f (``synthetic``).
        variables: what is learned; set before ``distill`` is called.
    """

    ipc: int
    data: RealData
    network: Network
    streams: Streams
    engine: Engine
    start: int = 0
    factor: int = 1
    _variables: SyntheticVariables | None = None

    @property
    def variables(self) -> SyntheticVariables:
        """The synthetic variables."""
        assert self._variables is not None, "the images do not exist yet"
        return self._variables

    @variables.setter
    def variables(self, value: SyntheticVariables) -> None:
        self._variables = value

    @property
    def classes(self) -> range:
        """Class indices."""
        return range(self.data.num_classes)

    def iterations(self, total: int) -> range:
        """The iterations still to be done."""
        return range(self.start, total)

    def new_network(self, iteration: int) -> Stack:
        """A freshly initialised network, a different one every iteration (a stack of one)."""
        generator = self.streams.generator("network", iteration)
        return create(self.network, self.data.shape, self.data.num_classes, [generator])

    def real_batches(
        self, size: int, purpose: str, iteration: int, step: int
    ) -> tuple[Tensor, Tensor]:
        """Rows int64 [B, C] of up to ``size`` random real images per class, and which are valid."""
        generator = self.streams.generator(f"real {purpose}", iteration, step)
        u = torch.rand(self.data.class_index.shape, generator=generator, device=generator.device)
        return self.data.class_batches(u, size)

    def class_chunks(self) -> Iterator[slice]:
        """Classes in chunks of which the synthetic images fit the micro-batch."""
        size = max(1, self.engine.microbatch // self.variables.images_per_class)
        for first in range(0, len(self.classes), size):
            yield slice(first, min(first + size, len(self.classes)))

    def train_on_set(
        self,
        network: Stack,
        iteration: int,
        step: int,
        *,
        epochs: int,
        lr: float,
        momentum: float,
        weight_decay: float,
        batch_size: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        """Train one network in place on the current set, with F where the recipe has it.

        Args:
            augmentation: of every batch, with parameters per image.
        """
        draws = Draws(
            [self.streams.generator("inner order", iteration, step)],
            [self.streams.generator("inner extra", iteration, step)],
        )
        examples = self.variables.examples()
        train(
            network, examples, self.variables.loss,
            OptimizerSpec(lr, momentum, weight_decay), draws.orders(epochs, len(examples)),
            batch_size=batch_size, augmentation=augmentation, draws=draws,
        )  # fmt: skip

    # --- real images -----------------------------------------------------------------------

    def class_rows(self, label: int) -> Tensor:
        """Rows of ``data.x_train`` of one class, int64 [n]."""
        return self.data.class_index[label, : int(self.data.class_count[label])]

    def random_real_images(self) -> Tensor:
        """``ipc`` images per class of real ones without replacement, class by class."""
        index, _ = self.real_batches(self.factor**2 * self.ipc, "init", 0, 0)
        if self.factor == 1:
            return self.data.x_train[index.T.flatten()]
        real = unnormalise(self.data.x_train[index], self.data.space, clamp=False)
        stored = tiled(real.flatten(0, 1), self.factor).unflatten(0, (self.ipc, -1))
        return normalise(stored.transpose(0, 1).flatten(0, 1), self.data.space)

    def noise_images(self) -> Tensor:
        """N(0, 1) images [N, C, H, W]."""
        count = self.ipc * len(self.classes)
        generator = self.streams.generator("noise init")
        return torch.randn((count, *self.data.shape), generator=generator, device=generator.device)

    def embed(self, spec: TrainedOn) -> Tensor:
        """Last maps [n, c, h, w] of all real training images in a network trained on them."""
        stack = trained(spec, self.data, self.streams)
        depth = len(stack.feature_shapes)
        maps = feature_maps(stack, self.data.x_train, depth, self.engine.microbatch)
        return torch.cat([part[:, 0] for part in maps])
