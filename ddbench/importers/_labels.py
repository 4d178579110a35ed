"""What labels may hold, by their values.

Axes: N images, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from ddbench.importers import KindOption

_SUM = 1e-3  # of a row, off 1 or 0
_TOP = 0.05  # of a centred row's largest entry, off 1 - 1/K


def propose_kind(y: Tensor) -> tuple[str, str]:
    """What labels y, int64 [N] or float [N, K], may hold, and why; a proposal, never a decision."""
    if not y.is_floating_point():
        return "index", "integers"
    if is_one_hot(y):
        return "probability", "every row is one-hot"
    if is_distribution(y):
        return "probability", "rows are non-negative and sum to 1"
    if is_centred(y):
        return "centred", "rows sum to 0 and peak near 1 - 1/K"
    return "logit", "rows do not sum to 1"


def kind_if_plain(y: Tensor | None, soft: KindOption | None) -> KindOption | None:
    """What y holds: classes where it is integer; ``soft`` unless its values say otherwise.

    A format that writes logits is not believed where every row is a distribution.
    """
    if y is None:
        return None
    if not y.is_floating_point():
        return "index"
    return None if soft == "logit" and is_distribution(y) else soft


def is_one_hot(y: Tensor) -> bool:
    """Whether every row of y, float [N, K], is 0 but for one 1."""
    return bool(((y == 0) | (y == 1)).all()) and bool((y.sum(1) == 1).all())


def is_distribution(y: Tensor) -> bool:
    """Whether every row of y, float [N, K], is non-negative and sums to 1 within 1e-3."""
    return bool((y >= 0).all()) and bool(((y.sum(1) - 1).abs() <= _SUM).all())


def is_centred(y: Tensor) -> bool:
    """Whether every row is one-hot less 1/K, or was before it was learned: sum 0, top 1 - 1/K."""
    peaks = (y.max(1).values - (1 - 1 / y.shape[1])).abs() <= _TOP
    return bool((y.sum(1).abs() <= _SUM).all()) and bool(peaks.all())


def whole_numbers(value: Any) -> Any:
    """Float labels [N] that are whole numbers, as integers; anything else unchanged."""
    if isinstance(value, Tensor) and value.is_floating_point() and value.dim() == 1:
        if bool((value == value.round()).all()):
            return value.long()
    return value
