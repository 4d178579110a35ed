"""The store: result files, their lock, and checkpoints of unfinished runs.

Names are loaded when first used: reading headers, as a table does, needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddbench.store import checkpoint
    from ddbench.store.evaluations import EvaluationRecord
    from ddbench.store.header import Header, read_header
    from ddbench.store.lock import Locked, writer_lock
    from ddbench.store.paths import checkpoint_directory, result_path
    from ddbench.store.precision import FeatureDtype, ImageDtype, round_features, round_images
    from ddbench.store.result import Result, read, read_set, write
    from ddbench.store.views import SoftLabelViews, ViewsManifest

_HOME = {
    "EvaluationRecord": "evaluations",
    "FeatureDtype": "precision",
    "Header": "header",
    "ImageDtype": "precision",
    "Locked": "lock",
    "Result": "result",
    "SoftLabelViews": "views",
    "ViewsManifest": "views",
    "checkpoint_directory": "paths",
    "read": "result",
    "read_header": "header",
    "read_set": "result",
    "result_path": "paths",
    "round_features": "precision",
    "round_images": "precision",
    "write": "result",
    "writer_lock": "lock",
}


def __getattr__(name: str) -> Any:
    if name == "checkpoint":
        return importlib.import_module("ddbench.store.checkpoint")
    if name not in _HOME:
        raise AttributeError(f"module 'ddbench.store' has no attribute '{name}'")
    return getattr(importlib.import_module(f"ddbench.store.{_HOME[name]}"), name)


__all__ = [
    "EvaluationRecord",
    "FeatureDtype",
    "Header",
    "ImageDtype",
    "Locked",
    "Result",
    "SoftLabelViews",
    "ViewsManifest",
    "checkpoint",
    "checkpoint_directory",
    "read",
    "read_header",
    "read_set",
    "result_path",
    "round_features",
    "round_images",
    "write",
    "writer_lock",
]
