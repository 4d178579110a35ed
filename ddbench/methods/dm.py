"""DM: dataset condensation with distribution matching (Zhao & Bilen, WACV 2023, arXiv 2110.04181).

For every class c, with a real batch R_c, the synthetic images S_c, the embedding phi of a random
network and one augmentation A_c,

    loss = sum_c | mean phi(A_c(R_c)) - mean phi(A_c(S_c)) |^2

is minimised over S, with a fresh network in every iteration. No network is trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ddbench.methods import InitName, Method, Step, Workload
from ddbench.methods._siamese import FULL, Strategy, siamese

if TYPE_CHECKING:
    from ddbench.task import Task

_FULL = 1024
"""Images at once that keep a GPU busy."""


class DM(Method):
    """Distribution matching; the defaults are VICO-UoE/DatasetCondensation ``main_DM.py:16-33``."""

    inits: ClassVar[tuple[InitName, ...]] = ("real", "noise")
    toy: ClassVar = {"iterations": 2, "batch_real": 8}
    title: ClassVar[str] = "DM"
    bibtex: ClassVar[str] = """\
@inproceedings{zhao2023dm,
  title = {Dataset Condensation with Distribution Matching},
  author = {Zhao, Bo and Bilen, Hakan},
  booktitle = {IEEE/CVF Winter Conference on Applications of Computer Vision (WACV)},
  pages = {6514--6523},
  year = {2023},
  eprint = {2110.04181},
  archivePrefix = {arXiv}
}"""

    name: Literal["dm"] = "dm"
    iterations: int = Field(20_000, ge=1, description="K; K + 1 iterations are run")
    lr_img: float = Field(1.0, gt=0, description="SGD learning rate of the pixels")
    momentum_img: float = Field(0.5, ge=0, lt=1)
    batch_real: int = Field(256, ge=1, description="real images per class and step")
    strategy: Strategy = FULL
    precision: Literal["tf32", "float32"] = "tf32"

    def iterations_of(self, ipc: int) -> int:
        return self.iterations + 1

    def workload(self, ipc: int, classes: int, train_size: int) -> Workload:
        real = min(self.batch_real, max(1, train_size // classes))  # forward alone: a third
        return Workload(
            passes=(self.iterations + 1) * classes * (real / 3 + ipc),
            graph_images=min(classes * ipc, _FULL),  # a GPU with room for more takes more
        )

    @property
    def pixel_sgd(self) -> tuple[float, float]:
        return self.lr_img, self.momentum_img

    @property
    def allow_tf32(self) -> bool:
        return self.precision == "tf32"

    def distill(self, task: Task) -> Iterator[Step]:
        from ddbench.matching.distribution import DistributionMatching

        matching = DistributionMatching(task, self.batch_real, siamese(self.strategy))
        for iteration in task.iterations(self.iterations + 1):
            loss = matching.step(task.new_network(iteration), iteration)
            yield Step(iteration, {"loss": loss})


METHOD = DM
