"""scikit-learn's handwritten digits: 1797 real images of 8x8 pixels, nothing to download."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.datasets import DatasetFacts, DatasetSpec
    from ddbench.datasets._arrays import Arrays


def load(facts: DatasetFacts, spec: DatasetSpec, root: Path, *, download: bool = False) -> Arrays:
    """Pixels 0..16 divided by 16 (float32 [n, 8, 8, 1]); the split is fixed and stratified."""
    import numpy as np
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

    from ddbench.datasets._arrays import Arrays

    stored = load_digits()
    x = (stored.images / 16).astype(np.float32)[..., None]
    y = stored.target.astype(np.int64)
    train, test = train_test_split(range(len(y)), test_size=360, random_state=0, stratify=y)
    return Arrays(x[train], y[train], x[test], y[test])
