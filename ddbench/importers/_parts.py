"""Images, labels, step sizes and F out of loaded values, and what file names say.

Every function raises ``BadInput`` that names the file for a value of the wrong kind.
Axes: N images, C channels, H, W, K classes, M feature sets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ddbench.importers._source import Source

_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_CHANNELS = (1, 3)
_MOST_CLASSES = 1_000_000
_AXES = 8  # of a shape that is shown
MOST_STEPS = 10_000  # learned step sizes; one per stage
LARGEST_STEP = 1e6  # no learned step size is anywhere near


def is_images(value: Any) -> bool:
    """A float or uint8 tensor [N, C, H, W] with 1 or 3 channels."""
    return (
        isinstance(value, Tensor)
        and value.dim() == 4
        and value.shape[1] in _CHANNELS
        and (value.is_floating_point() or value.dtype == torch.uint8)
    )


def is_labels(value: Any) -> bool:
    """Integers [N], or floats [N, K]."""
    if not isinstance(value, Tensor):
        return False
    kinds = value.dtype != torch.bool and not value.is_complex()
    return kinds and value.dim() == (2 if value.is_floating_point() else 1)


def images(value: Any, source: Source, name: str) -> Tensor:
    """x as float32 or uint8 [N, C, H, W]; float64 and halves become float32."""
    if not is_images(value):
        raise source.bad(
            f"holds {describe(value)}, not images: float [N, C, H, W] with 1 or 3 channels",
            name=name,
        )
    if not value.numel():
        raise source.bad(f"holds no images: {list(value.shape)}", name=name)
    return value if value.dtype == torch.uint8 else as_float32(value, source, name)


def labels(value: Any, source: Source, name: str, count: int) -> Tensor:
    """y as int64 [N] or float32 [N, K]; ``count`` is N."""
    if not is_labels(value):
        raise source.bad(
            f"holds {describe(value)}, not labels: integers [N] or floats [N, K]", name=name
        )
    if len(value) != count:
        raise source.bad(f"has {len(value)} labels for {count} images", name=name)
    if value.is_floating_point():
        return as_float32(value, source, name)
    return class_indices(value, source, name)


def class_indices(value: Tensor, source: Source, name: str | None = None) -> Tensor:
    """Integer labels [N] as int64; refused where they count no classes of any dataset."""
    found = value.long()
    low, high = (int(end) for end in found.aminmax()) if len(found) else (0, 0)
    if not 0 <= low <= high < _MOST_CLASSES:
        raise source.bad(f"has labels {low} to {high}, which are no classes", name=name)
    return found


def step_size(value: Any, source: Source, name: str) -> float | tuple[float, ...]:
    """A learned step size: a number, or several (one per stage)."""
    few = isinstance(value, Tensor) and value.numel() <= MOST_STEPS
    numbers = value.flatten().tolist() if few else value
    numbers = numbers if isinstance(numbers, list | tuple) else [numbers]
    if not numbers or not all(isinstance(n, int | float) and 0 < n < LARGEST_STEP for n in numbers):
        raise source.bad(
            f"holds {describe(value)}, not a step size", name=name, allowed="positive numbers"
        )
    found = tuple(float(n) for n in numbers)
    return found[0] if len(found) == 1 else found


def features(value: Any, source: Source, name: str, count: int) -> Tensor:
    """F as float32 [N, M, ...]. DRUPI's files have M first: [M, N, ...].

    DRUPI writes [M, N, c, h, w] (turturturturtur/DRUPI DC/DCmain3.0.py:848) and allows one item to
    be a spatial [h, w] or channel [c] mean. Without the axis M, [N, ...], it becomes 1.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise source.bad(f"holds {describe(value)}, not features F", name=name)
    F, shape = as_float32(value, source, name), list(value.shape)
    first, second = (F.dim() > axis and shape[axis] == count for axis in (0, 1))
    if not (first or (second and F.dim() > 2)) or not 2 <= F.dim() <= 5 or not F.numel():
        raise source.bad(f"has features {shape} for {count} images", name=name)
    if first and second and F.dim() > 2 and count > 1:
        raise source.bad(
            f"has features {shape} for {count} images: either of the first two axes may be that of "
            "the images; store F with another number of feature sets", name=name,
        )  # fmt: skip
    if second and F.dim() > 2:
        return F.transpose(0, 1).contiguous()
    return F if F.dim() == 5 else F[:, None]


def as_float32(value: Tensor, source: Source, name: str) -> Tensor:
    """The same numbers; refused where float32 cannot hold them."""
    if value.dtype not in _FLOATS:
        raise source.bad(f"holds {describe(value)}, not floating numbers", name=name)
    if value.dtype == torch.float32:
        return value
    found = value.float()
    if not bool(torch.isfinite(found).all()):
        raise source.bad("holds numbers beyond float32", name=name)
    return found


def describe(value: Any) -> str:
    """What a value is, for messages."""
    if isinstance(value, Tensor):
        shape = list(value.shape) if value.dim() <= _AXES else f"of {value.dim()} axes"
        return f"{str(value.dtype).removeprefix('torch.')} {shape}"
    size = f" of {len(value)}" if isinstance(value, Sequence) else ""
    return f"a {type(value).__name__}{size}"


# --- names ---------------------------------------------------------------------------------------

_RESULT_NAME = re.compile(
    r"res_(?P<method>[^_]+)_(?P<dataset>.+?)_(?P<network>[^_]+)_(?P<ipc>\d+)ipc\.(?:pt|pth)"
)
_DRUPI = {
    "lambda_reg": r"MSE_([0-9.eE+-]+)", "lambda_task": r"CE_([0-9.eE+-]+)",
    "n_feat": r"nfeat(\d+)", "pool": r"pool([A-Za-z]+)", "layer": r"layer([A-Za-z0-9]+)",
    "use": r"use([A-Za-z]+)", "normalize": r"norm([A-Za-z0-9]+)",
}  # fmt: skip
_DRUPI_NUMBERS: dict[str, Callable[[str], Any]] = {
    "lambda_reg": float, "lambda_task": float, "n_feat": int,
}  # fmt: skip


def result_name_hints(name: str) -> dict[str, Any]:
    """Method, dataset, network and IPC in a name like ``res_DC_MNIST_ConvNet_1ipc.pt``."""
    match = _RESULT_NAME.fullmatch(name)
    return {} if match is None else {**match.groupdict(), "ipc": int(match["ipc"])}


def drupi_hints(text: str) -> dict[str, Any]:
    """DRUPI's settings of F, which it keeps in names alone (DC/DCmain3.0.py:675).

    ``[MSE_<lambda>_pool<..>_layer<..>_CE_<..>_nfeat<..>_use<..>_norm<..>]``; what cannot be read is
    left out.
    """
    block = re.search(r"\[(MSE_[^\]]*)\]", text)
    found: dict[str, Any] = {}
    for key, pattern in _DRUPI.items() if block else ():
        if match := re.search(pattern, block[1] if block else ""):
            word = match[1].rstrip(".")
            try:
                found[key] = _DRUPI_NUMBERS.get(key, str)(word)
            except ValueError:
                continue
    return found
