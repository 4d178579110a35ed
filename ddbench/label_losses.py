"""Losses towards soft labels, per image: what stored logits and teachers are learned with.

With s the student's logits, t those of the label, T the temperature and classes the last axis,

    sce    -sum softmax(t/T) log softmax(s/T)
    kl     sum softmax(t/T) (log softmax(t/T) - log softmax(s/T))
    mse_gt mse_weight * mean (s - t)^2 + ce_weight * CE(s, class)

each averaged over the batch by whoever trains. ``sce`` and ``kl`` are NUS-HPC-AI-Lab/DD-Ranking's
(``ddranking/loss``) and have the same gradient; ``kl`` is SRe2L's and RDED's, ``mse_gt`` is
G-VBSM's (shaoshitong/G_VBSM_Dataset_Condensation ``train/train_FKD.py:301-302``), whose square is
averaged over classes too. None of the published settings multiplies by T^2 but SRe2L's for Tiny
ImageNet (``scaled``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as fn


@dataclass(frozen=True)
class SoftLoss:
    """One of the losses above with its settings.

    Attributes:
        temperature: T of ``sce`` and ``kl``; ``scaled``: times T^2.
        mse_weight, ce_weight: of ``mse_gt``.
    """

    name: Literal["sce", "kl", "mse_gt"]
    temperature: float = 1.0
    scaled: bool = False
    mse_weight: float = 1.0
    ce_weight: float = 0.0

    def __call__(self, logits: Tensor, target: Tensor, label: Tensor) -> Tensor:
        """Losses [...] of logits [..., classes] towards logits ``target`` of the same shape.

        ``label``: int64 [...], the classes.
        """
        if self.name == "mse_gt":
            square = (logits - target).square().mean(-1)
            return self.mse_weight * square + self.ce_weight * hard(logits, label)
        ours = (logits / self.temperature).log_softmax(-1)
        theirs = (target / self.temperature).log_softmax(-1)
        each = -(theirs.exp() * ours).sum(-1)
        if self.name == "kl":
            each = each + (theirs.exp() * theirs).sum(-1)
        return each * self.temperature**2 if self.scaled else each


def hard(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy [...] of logits [..., classes] on classes int64 [...]."""
    flat = fn.cross_entropy(logits.flatten(0, -2), label.flatten(), reduction="none")
    return flat.view(label.shape)


def as_logits(y: Tensor, kind: str) -> Tensor:
    """Labels of kind ``logit`` or ``probability`` as logits; log p, with p at least 1e-30.

    Raises:
        ValueError: another kind.
    """
    if kind == "logit":
        return y
    if kind != "probability":
        raise ValueError(f"labels of kind '{kind}' are not soft")
    return y.clamp_min(1e-30).log()
