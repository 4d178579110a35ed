"""The store: result files, their lock, and checkpoints of unfinished runs."""

from ddbench.store import checkpoint
from ddbench.store.evaluations import EvaluationRecord
from ddbench.store.lock import Locked, writer_lock
from ddbench.store.paths import checkpoint_directory, result_path
from ddbench.store.precision import FeatureDtype, ImageDtype, round_features, round_images
from ddbench.store.result import Header, Result, read, read_header, read_set, write
from ddbench.store.views import SoftLabelViews, ViewsManifest

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
