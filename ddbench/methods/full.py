"""No distillation: training on the real training set, the upper bound of every table."""

from __future__ import annotations

from typing import ClassVar, Literal

from ddbench.methods import Method


class Full(Method):
    """Stores no set; the evaluation trains on the training set by protocol ``full``."""

    has_set: ClassVar[bool] = False
    title: ClassVar[str] = "Full data"
    name: Literal["full"] = "full"


METHOD = Full
