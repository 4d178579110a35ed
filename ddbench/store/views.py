"""Soft labels per augmented view (the decoupled methods), stored or referenced.

Axes: V views, K classes, k kept classes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from ddbench.store.tree import Leaf, TreeFile

GROUP = "synthetic/views"


@dataclass(frozen=True, eq=False)
class ViewsManifest:
    """A foreign label store that is referenced, not copied.

    Attributes:
        path: where it lay when it was imported.
        checksums: SHA-256 per file, by path relative to ``path``.
    """

    path: str
    checksums: dict[str, str]


@dataclass(frozen=True, eq=False)
class SoftLabelViews:
    """What a student needs to repeat the views that the teachers labelled.

    Attributes:
        teachers: (name, SHA-256 of the weights) of every teacher.
        manifest: where the labels lie instead; then all tensors are None.
        index: integers [V], the image that the view shows.
        epoch: integers [V].
        crop: floats [V, 4]: top, left, height, width as fractions of the image.
        flip: bool [V].
        mix_lambda: floats [V]; mix_box: integers [V, 4]; mix_partner: integers [V], a view.
        logits: float16 or float32 [V, K].
        top_values: float16 or float32 [V, k]; top_index: integers [V, k]; instead of ``logits``.

    Raises:
        ValueError: neither or both forms of labels, or lengths that differ.
    """

    teachers: tuple[tuple[str, str], ...] = ()
    manifest: ViewsManifest | None = None
    index: Tensor | None = field(default=None, repr=False)
    epoch: Tensor | None = field(default=None, repr=False)
    crop: Tensor | None = field(default=None, repr=False)
    flip: Tensor | None = field(default=None, repr=False)
    mix_lambda: Tensor | None = field(default=None, repr=False)
    mix_box: Tensor | None = field(default=None, repr=False)
    mix_partner: Tensor | None = field(default=None, repr=False)
    logits: Tensor | None = field(default=None, repr=False)
    top_values: Tensor | None = field(default=None, repr=False)
    top_index: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        tensors = self.tensors()
        if self.manifest is not None:
            if tensors:
                raise ValueError("views are stored or referenced by a manifest, not both")
            return
        if "index" not in tensors or "epoch" not in tensors:
            raise ValueError("views need index and epoch")
        if ("top_values" in tensors) != ("top_index" in tensors):
            raise ValueError("top_values and top_index come together")
        if ("logits" in tensors) == ("top_values" in tensors):
            raise ValueError("views need either logits or top_values with top_index")
        lengths = {name: len(tensor) for name, tensor in tensors.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the parts of the views have different lengths: {lengths}")

    def tensors(self) -> dict[str, Tensor]:
        """The parts that are there, by name."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def encode_views(views: SoftLabelViews) -> dict[str, Leaf]:
    """The leaves of ``synthetic/views``."""
    teachers = json.dumps([list(teacher) for teacher in views.teachers])
    leaves = {GROUP: Leaf(None, {"teachers": teachers})}
    if views.manifest is not None:
        content = {"path": views.manifest.path, "checksums": views.manifest.checksums}
        leaves[f"{GROUP}/manifest"] = Leaf(json.dumps(content, sort_keys=True))
    for name, tensor in views.tensors().items():
        leaves[f"{GROUP}/{name}"] = Leaf(tensor.detach().cpu().numpy())
    return leaves


def decode_views(file: TreeFile) -> SoftLabelViews | None:
    """The views of an open file, or None.

    Raises:
        BadInput: a part is missing, damaged, or does not fit the others.
    """
    if not file.has(GROUP):
        return None
    teachers = json.loads(str(file.leaf(GROUP).attrs["teachers"]))
    manifest: ViewsManifest | None = None
    tensors: dict[str, Tensor] = {}
    for path in file.paths():
        name = path.removeprefix(f"{GROUP}/")
        if name == path:
            continue
        value = file.leaf(path).value
        if isinstance(value, str):
            manifest = ViewsManifest(**json.loads(value))
        elif isinstance(value, np.ndarray):
            tensors[name] = torch.from_numpy(value)
    try:
        pairs = tuple((str(name), str(digest)) for name, digest in teachers)
        return SoftLabelViews(teachers=pairs, manifest=manifest, **tensors)
    except (TypeError, ValueError) as error:
        raise file.bad(f"'{GROUP}' is not valid: {error}") from error
