"""DSA: differentiable siamese augmentation (Zhao & Bilen, ICML 2021, arXiv 2102.08259).

DC with one augmentation A per class and matching step, the same for its real and synthetic images,

    loss = sum_c D(grad_theta CE(A_c(S_c), c), grad_theta CE(A_c(R_c), c)),

and with augmented batches, one operation each and parameters per image, where theta trains on S.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from ddbench.augment import Augmentation
from ddbench.methods import InitName
from ddbench.methods._siamese import FULL, Strategy, siamese
from ddbench.methods.dc import DC


class DSA(DC):
    """DC under siamese augmentation, from real images (VICO-UoE/DatasetCondensation readme.md)."""

    inits: ClassVar[tuple[InitName, ...]] = ("real", "noise")
    title: ClassVar[str] = "DSA"
    bibtex: ClassVar[str] = """\
@inproceedings{zhao2021dsa,
  title = {Dataset Condensation with Differentiable {Siamese} Augmentation},
  author = {Zhao, Bo and Bilen, Hakan},
  booktitle = {International Conference on Machine Learning (ICML)},
  pages = {12674--12685},
  year = {2021},
  eprint = {2102.08259},
  archivePrefix = {arXiv}
}"""

    name: Literal["dsa"] = "dsa"  # type: ignore[assignment]
    strategy: Strategy = FULL

    @property
    def augmentation(self) -> Augmentation | None:
        return siamese(self.strategy)


METHOD = DSA
