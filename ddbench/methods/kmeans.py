"""K-means coreset: the real image nearest to each centre of its class."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ddbench.errors import BadInput
from ddbench.methods._embedding import Coreset

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.task import Task


class KMeans(Coreset):
    """Per class, scikit-learn's KMeans with k = IPC and 10 starts, seeded by the recipe's seed."""

    toy: ClassVar = {"epochs": 1}
    title: ClassVar[str] = "K-means"
    bibtex: ClassVar[str] = """\
@article{lloyd1982kmeans,
  title = {Least Squares Quantization in {PCM}},
  author = {Lloyd, Stuart P.},
  journal = {IEEE Transactions on Information Theory},
  volume = {28},
  number = {2},
  pages = {129--137},
  year = {1982}
}"""

    name: Literal["kmeans"] = "kmeans"
    centres: Literal["nearest", "centroid"] = Field(
        "nearest", description="nearest: the real image next to a centre; centroid: the centre"
    )

    @model_validator(mode="after")
    def _check_centres(self) -> Self:
        if self.centres == "centroid" and self.space != "pixels":
            raise BadInput("found 'centroid' with space 'network'", field="centres",
                           allowed="nearest, or centroid with space pixels")  # fmt: skip
        return self

    def images(self, task: Task) -> Tensor:
        import torch
        from sklearn.cluster import KMeans as Clustering  # type: ignore[import-untyped]

        embedding, images = self.embedding(task), []
        for label in range(task.data.num_classes):
            rows = task.class_rows(label)
            points = embedding[rows].double().cpu().numpy()
            # scikit-learn takes a 32-bit seed; a class has its own
            seed = (task.streams.seed * 1009 + label) % 2**32
            fitted = Clustering(task.ipc, n_init=10, random_state=seed).fit(points)
            centres = torch.as_tensor(fitted.cluster_centers_)
            if self.centres == "centroid":
                images.append(centres.float().view(-1, *task.data.shape))
            else:
                distance = torch.as_tensor(fitted.transform(points))  # [n, k]
                member = torch.as_tensor(fitted.labels_).long()[:, None] == torch.arange(task.ipc)
                # among a cluster's own members, so that no image is taken twice
                nearest = distance.masked_fill(~member, torch.inf).argmin(0)
                images.append(task.data.x_train[rows[nearest.to(rows.device)]])
        return torch.cat(images).to(task.data.x_train.device)


METHOD = KMeans
