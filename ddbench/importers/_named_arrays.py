"""Sets given as named arrays (npz, HDF5, safetensors): which array is what, and whether it fits.

Axes: N images, C channels, H, W, K classes, M feature sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ddbench.importers import Found

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.importers._source import Source

NAMES = {
    "x": ("x", "images"),
    "y": ("y", "labels"),
    "F": ("F", "features"),
    "lr": ("lr",),
}
_CHANNELS = (1, 3)


def reason(names: Iterable[str], kind: str) -> str | None:
    """Why an object with these arrays is a set; None where it has no images."""
    images = [name for name in names if name in NAMES["x"]]
    return f"{kind} with the array '{images[0]}'" if images else None


def parts(source: Source, names: Iterable[str]) -> dict[str, str]:
    """The array that holds each part of the set; raises ``BadInput`` where two could."""
    known = set(names)
    found: dict[str, str] = {}
    for part, aliases in NAMES.items():
        present = [alias for alias in aliases if alias in known]
        if len(present) > 1:
            raise source.bad(f"has both '{present[0]}' and '{present[1]}'; keep one")
        if present:
            found[part] = present[0]
    if "x" not in found:
        raise source.bad("has no images", allowed=NAMES["x"])
    return found


def check_elements(source: Source, name: str, shape: Iterable[int]) -> None:
    """Refuse an array of more numbers than are read, before memory is taken for it."""
    count = 1
    for length in shape:
        if length < 0:
            raise source.bad(f"'{name}' has the shape {list(shape)}")
        count *= length
    if count > source.limits.elements:
        raise source.bad(
            f"'{name}' claims {count} numbers, more than the {source.limits.elements} that are read"
        )


def found(source: Source, tensors: Mapping[str, Tensor], **stated: Any) -> Found:
    """The set of the parts x, y, F, lr; ``stated`` is what the format says besides.

    Images may be NHWC: where the last axis has 1 or 3 entries and the second has not. 8-bit images
    are pixels, space ``unit``.

    Raises:
        BadInput: parts of other shapes or types, of different lengths, or not finite.
    """
    import torch

    x = _images(source, tensors["x"])
    y = _labels(source, tensors.get("y"))
    if y is not None and len(y) != len(x):
        raise source.bad(f"has {len(x)} images but {len(y)} labels")
    if x.dtype == torch.uint8:
        stated = {"space": "unit", **stated}
    return Found(
        x=x,
        y=y,
        F=_features(source, tensors.get("F"), len(x)),
        lr=_step_size(source, tensors.get("lr")),
        **stated,
    )


def _images(source: Source, x: Tensor) -> Tensor:
    import torch

    if x.dim() != 4 or 0 in x.shape or not (x.is_floating_point() or x.dtype == torch.uint8):
        raise source.bad(f"images are {_kind(x)}", allowed="float or uint8 [N, C, H, W]")
    if x.shape[1] not in _CHANNELS and x.shape[3] not in _CHANNELS:
        raise source.bad(f"images are {list(x.shape)}: neither axis 1 nor 3 are 1 or 3 channels")
    if x.shape[1] not in _CHANNELS:
        x = x.permute(0, 3, 1, 2)
    return x.contiguous() if x.dtype == torch.uint8 else _floats(source, x, "images")


def _labels(source: Source, y: Tensor | None) -> Tensor | None:
    import torch

    from ddbench.importers import _parts

    if y is None:
        return None
    if y.is_floating_point() and y.dim() == 2:
        return _floats(source, y, "labels")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool or y.dim() != 1:
        raise source.bad(f"labels are {_kind(y)}", allowed="integers [N], floats [N, K]")
    return _parts.class_indices(y, source)


def _features(source: Source, F: Tensor | None, images: int) -> Tensor | None:
    if F is None:
        return None
    if not F.is_floating_point() or F.dim() < 3 or len(F) != images:
        raise source.bad(f"features are {_kind(F)}", allowed=f"floats [{images}, M, ...]")
    return _floats(source, F, "features")


def _step_size(source: Source, lr: Tensor | None) -> float | tuple[float, ...] | None:
    from ddbench.importers import _parts

    if lr is None:
        return None
    if not lr.is_floating_point() or lr.dim() > 1 or not lr.numel():
        raise source.bad(f"lr is {_kind(lr)}", allowed="a float, or several")
    if lr.numel() > _parts.MOST_STEPS:
        raise source.bad(f"lr is {_kind(lr)}", allowed=f"at most {_parts.MOST_STEPS} numbers")
    values = tuple(lr.double().reshape(-1).tolist())
    if not all(0 < value < _parts.LARGEST_STEP for value in values):
        raise source.bad(f"lr is {values}", allowed="positive numbers")
    return values[0] if len(values) == 1 else values


def _floats(source: Source, tensor: Tensor, name: str) -> Tensor:
    import torch

    exact = tensor.float().contiguous()
    strange = exact.numel() - int(torch.isfinite(exact).sum())
    if strange:
        raise source.bad(f"{name} hold {strange} values that are not finite in float32")
    return exact


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
