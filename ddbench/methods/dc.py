"""DC: dataset condensation by gradient matching (Zhao, Mopuri & Bilen, ICLR 2021).

For every class c, with a real batch R_c and the synthetic images S_c,

    loss = sum_c D(grad_theta CE(S_c, c), grad_theta CE(R_c, c))

is minimised over S while the network theta trains on S between the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ddbench.errors import BadInput
from ddbench.methods import InitName, Method, Step, Workload

if TYPE_CHECKING:
    from ddbench.augment import Augmentation
    from ddbench.task import Task


class DC(Method):
    """Gradient matching; the defaults are VICO-UoE/DatasetCondensation ``main.py:15-34``.

    ``loops`` gives (outer, inner) by IPC (``utils.py:271-293``; an IPC between two entries takes
    the lower one's); ``outer_loop`` and ``inner_loop`` override it. Where IDC- or README-style code
    steps the images inside the class loop, this sums the classes first, as the paper does.
    """

    trains_on_synthetic: ClassVar[bool] = True
    inits: ClassVar[tuple[InitName, ...]] = ("noise", "real")
    toy: ClassVar = {"iterations": 2, "outer_loop": 2, "inner_loop": 2, "batch_real": 8}
    title: ClassVar[str] = "DC"
    bibtex: ClassVar[str] = """\
@inproceedings{zhao2021dc,
  title = {Dataset Condensation with Gradient Matching},
  author = {Zhao, Bo and Mopuri, Konda Reddy and Bilen, Hakan},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2021},
  eprint = {2006.05929},
  archivePrefix = {arXiv}
}"""

    name: Literal["dc"] = "dc"
    iterations: int = Field(1000, ge=1, description="K; K + 1 outer iterations are run")
    loops: dict[int, Annotated[tuple[int, int], Field(strict=False)]] = Field(
        {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)},
        description="IPC: [outer steps T, inner epochs between two of them]",
    )
    outer_loop: int | None = Field(None, ge=1, description="T; null = by loops")
    inner_loop: int | None = Field(None, ge=0, description="inner epochs; null = by loops")
    distance: Literal["ours", "mse", "cos"] = Field(
        "ours", description="ours: 1 - cosine per output row, summed; mse, cos: whole vector"
    )
    lr_img: float = Field(0.1, gt=0, description="SGD learning rate of the pixels")
    momentum_img: float = Field(0.5, ge=0, lt=1)
    lr_net: float = Field(0.01, gt=0, description="SGD learning rate of the inner network")
    inner_momentum: float = Field(0.0, ge=0, lt=1)
    inner_weight_decay: float = Field(0.0, ge=0)
    batch_real: int = Field(256, ge=1, description="real images per class and step")
    batch_train: int = Field(256, ge=1, description="batch of the inner training")
    precision: Literal["tf32", "float32"] = "tf32"
    factor: int = Field(
        1, ge=1, le=8, description="f of IDC: a stored image holds f x f images of lower resolution"
    )

    @model_validator(mode="after")
    def _check_loops(self) -> Self:
        if not self.loops and None in (self.outer_loop, self.inner_loop):
            raise BadInput("is empty", field="loops", allowed="IPC: [outer, inner], ...")
        for ipc, pair in self.loops.items():
            if ipc < 1 or pair[0] < 1 or pair[1] < 0:
                raise BadInput(f"found {ipc}: {list(pair)}", field="loops",
                               allowed="IPC >= 1: [outer >= 1, inner >= 0]")  # fmt: skip
        return self

    def resolved(self, ipc: int) -> DC:
        known = [entry for entry in sorted(self.loops) if entry <= ipc] or sorted(self.loops)[:1]
        outer, inner = self.loops[known[-1]] if known else (1, 1)
        update = {
            "loops": {},
            "outer_loop": self.outer_loop or outer,
            "inner_loop": inner if self.inner_loop is None else self.inner_loop,
        }
        return self.model_copy(update=update)

    def iterations_of(self, ipc: int) -> int:
        return self.iterations + 1

    def workload(self, ipc: int, classes: int, train_size: int) -> Workload:
        loops = self.resolved(ipc)
        outer, inner = loops.outer_loop or 1, loops.inner_loop or 0
        real = min(self.batch_real, max(1, train_size // classes)) * classes
        images = self.factor**2 * ipc * classes
        per_iteration = outer * (real + 3 * images) + (outer - 1) * inner * images
        return Workload(
            passes=(self.iterations + 1) * per_iteration,
            graph_images=max(3 * images, min(self.batch_train, images)),
        )

    @property
    def formation(self) -> int:
        return self.factor

    @property
    def pixel_sgd(self) -> tuple[float, float]:
        return self.lr_img, self.momentum_img

    @property
    def allow_tf32(self) -> bool:
        return self.precision == "tf32"

    @property
    def augmentation(self) -> Augmentation | None:
        """What the images are seen through, siamese in matching; None = as they are."""
        return None

    def distill(self, task: Task) -> Iterator[Step]:
        from ddbench.matching.gradients import GradientMatching

        loops = self.resolved(task.ipc)
        outer, inner = loops.outer_loop or 1, loops.inner_loop or 0
        assert task.factor == self.factor
        matching = GradientMatching(task, self.distance, self.batch_real, self.augmentation)
        for iteration in task.iterations(self.iterations + 1):
            network = task.new_network(iteration)
            losses = []
            for step in range(outer):
                losses.append(matching.step(network, iteration, step))
                if step < outer - 1:  # nothing uses the network after the last matching
                    task.train_on_set(
                        network, iteration, step, epochs=inner, lr=self.lr_net,
                        momentum=self.inner_momentum, weight_decay=self.inner_weight_decay,
                        batch_size=self.batch_train, augmentation=self.augmentation,
                    )  # fmt: skip
            yield Step(iteration, {"loss": sum(losses[1:], losses[0]) / outer})


METHOD = DC
