"""The arrays that every dataset family returns. Axes: n images, H, W, C channels, K classes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from ddbench.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ddbench.datasets import DatasetFacts

    Images: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
    Labels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Arrays:
    """Images and labels of both parts.

    Attributes:
        x_train, x_test: uint8 [n, H, W, C], or float32 [n, H, W, C] in [0, 1].
        y_train, y_test: int64 [n] in 0..K-1.
    """

    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels

    def sha256(self) -> str:
        """SHA-256 over dtypes, shapes and bytes of the four arrays."""
        digest = hashlib.sha256()
        for field in fields(self):
            array: NDArray[Any] = getattr(self, field.name)
            digest.update(f"{field.name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def check(self, facts: DatasetFacts) -> None:
        """Compare with what is known; raises ``BadInput`` naming the part that differs."""
        for part, x, y, size in (
            ("train", self.x_train, self.y_train, facts.train_size),
            ("test", self.x_test, self.y_test, facts.test_size),
        ):
            if len(x) != len(y) or not len(y):
                raise _broken(facts, f"x_{part} has {len(x)} images, y_{part} {len(y)} labels")
            if size is not None and len(y) != size:
                raise _broken(facts, f"the {part} part has {len(y)} images, {size} expected")
            if y.min() < 0 or y.max() >= facts.num_classes:
                found = f"{y.min()} to {y.max()}"
                raise _broken(
                    facts, f"labels of y_{part} go from {found}", f"0 to {facts.num_classes - 1}"
                )
        absent = sorted(set(range(facts.num_classes)) - set(self.y_train.tolist()))
        if absent:
            raise _broken(facts, f"class {absent[0]} has no training image")


def _broken(facts: DatasetFacts, problem: str, allowed: str | None = None) -> BadInput:
    return BadInput(f"'{facts.name}': {problem}", field="dataset", allowed=allowed)
