"""Herding (Welling, 2009; as iCaRL, Rebuffi et al., CVPR 2017, selects exemplars)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ddbench.methods._embedding import Coreset

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.task import Task


class Herding(Coreset):
    """Greedy: add the image that brings the mean of the chosen closest to the class mean."""

    toy: ClassVar = {"epochs": 1}
    title: ClassVar[str] = "Herding"
    bibtex: ClassVar[str] = """\
@inproceedings{welling2009herding,
  title = {Herding Dynamical Weights to Learn},
  author = {Welling, Max},
  booktitle = {International Conference on Machine Learning (ICML)},
  pages = {1121--1128},
  year = {2009}
}

@inproceedings{rebuffi2017icarl,
  title = {{iCaRL}: Incremental Classifier and Representation Learning},
  author = {Rebuffi, Sylvestre-Alvise and Kolesnikov, Alexander and Sperl, Georg and \
Lampert, Christoph H.},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {2001--2010},
  year = {2017},
  eprint = {1611.07725},
  archivePrefix = {arXiv}
}"""

    name: Literal["herding"] = "herding"

    def images(self, task: Task) -> Tensor:
        import torch

        embedding = self.embedding(task)
        chosen = [
            rows[herd(embedding[rows], task.ipc)]
            for rows in (task.class_rows(label) for label in range(task.data.num_classes))
        ]
        return task.data.x_train[torch.cat(chosen)]


def herd(embedding: Tensor, count: int) -> Tensor:
    """Rows (int64 [count]) of embedding [n, d] in the order that greedy herding takes them.

    argmin over the rows left of |mean - (sum of chosen + row) / (k + 1)|; ties to the lower row.
    """
    import torch

    mean = embedding.mean(0)
    total = torch.zeros_like(mean)
    left = torch.ones(len(embedding), dtype=torch.bool, device=embedding.device)
    chosen = []
    for k in range(count):
        distance = (mean - (total + embedding) / (k + 1)).square().sum(1)
        row = distance.masked_fill(~left, torch.inf).argmin()
        chosen.append(row)
        total = total + embedding[row]
        left = left.scatter(0, row, False)
    return torch.stack(chosen)


METHOD = Herding
