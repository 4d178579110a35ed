"""Supervised contrast between feature labels (SupCon; DRUPI ``DC/feature_metric.py:136-233``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as fn

if TYPE_CHECKING:
    from ddbench.features.spec import ContrastSpec


def supervised_contrast(
    vectors: Tensor, labels: Tensor, temperature: float, anchors: int | None = None
) -> Tensor:
    """SupCon of vectors [A, d] with class labels [A]; scalar, mean over anchors.

    l_a = -1/max(|P(a)|, 1) * sum_{b in P(a)} (s_ab - log sum_{b != a} exp s_ab), s = z.z / tau,
    P(a) the other vectors of a's class. An anchor without positives gives 0 and still counts in
    the mean. ``anchors`` takes only the first so many rows as anchors.
    """
    count = len(vectors) if anchors is None else anchors
    similarity = vectors[:count] @ vectors.T / temperature
    itself = torch.eye(count, len(vectors), dtype=torch.bool, device=vectors.device)
    positive = (labels[:count, None] == labels[None]) & ~itself
    log_total = similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    log_share = (similarity - log_total).masked_fill(~positive, 0).sum(1)
    return -(log_share / positive.sum(1).clamp_min(1)).mean()


def contrast_term(F: Tensor, y: Tensor, spec: ContrastSpec) -> Tensor:
    """The term of one feature set F [N, c, h, w] with labels y int64 [N]; scalar, unweighted.

    ``per_image``: one vector per item (mean over positions, unit length).
    ``channels_as_views``: the reference's form: F is normalised over channels, then every channel's
    h*w values are one view of its image; memory grows as (N*c)^2. ``mode: one`` (only there):
    channel 0 of every image is the only anchor.
    """
    if spec.variant == "per_image":
        vectors = fn.normalize(F.mean((-2, -1)), dim=1)
        return supervised_contrast(vectors, y, spec.temperature)
    views = fn.normalize(F, dim=1).flatten(2).transpose(0, 1)  # [c, N, h*w]: channel 0 first
    labels = y.repeat(len(views))
    anchors = len(F) if spec.mode == "one" else None
    return supervised_contrast(views.flatten(0, 1), labels, spec.temperature, anchors)
