"""What people pass by mistake, told by name: why it is no distilled set, and what is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ddbench.importers import _parts

if TYPE_CHECKING:
    from ddbench.importers._source import Source

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_REAL = ("images_train", "images_val")
_HDF5 = b"\x89HDF\r\n\x1a\n"


def check_foreign(source: Source) -> None:
    """Refuse a result of ours; raises ``BadInput`` as the store does where it is damaged."""
    if source.is_folder or source.head(source.path.name, 8) != _HDF5:
        return
    from ddbench import store
    from ddbench.errors import BadInput

    try:
        store.read_header(source.path)
    except BadInput as error:
        if "not a ddbench result" in error.problem:
            return
        raise
    raise source.bad("is a ddbench result already; it is used as it is, without importing")


def explain(source: Source) -> str | None:
    """Why ``source`` is no set, where that is known; raises what opening a torch file raises."""
    if source.is_folder:
        return _of_names(source.names)
    name = source.path.name
    if PurePosixPath(name).suffix.lower() in _PICTURES:
        return (
            "is one picture; vis_*.png and the like are clamped 8-bit previews of a set, which "
            "lies in the .pt file beside it"
        )
    if not (source.is_torch(name) or source.head(name, 1) == b"\x80"):
        return None
    value = source.skeleton(name)
    return _of_value(source.load_torch(name) if value is None else value)


def _of_names(names: tuple[str, ...]) -> str | None:
    plain = [PurePosixPath(name).name for name in names]
    if plain and all(name.startswith("replay_buffer_") for name in plain):
        return _BUFFER
    if plain and all(name.startswith("vis_") and name.endswith(".png") for name in plain):
        return "holds vis_*.png alone: clamped 8-bit previews of sets"
    return None


_BUFFER = (
    "is an expert buffer (parameters of networks trained on the real data, epoch by epoch), "
    "from which sets are distilled"
)


def _of_value(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return _of_dict(value)
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if not isinstance(value, list | tuple) or not value:
        return None
    if _nested(value) >= 3:
        return _BUFFER
    if all(isinstance(step, list | tuple) and step and _parts.is_images(step[0]) for step in value):
        return (
            "is the result of original dataset distillation: a sequence of steps, each with its "
            "own step size, which is no set that a network trains on in any order"
        )
    return None


def _of_dict(value: Mapping[Any, Any]) -> str | None:
    keys = {key for key in value if isinstance(key, str)}
    if keys & set(_REAL):
        return "holds the real images of a dataset (as tinyimagenet.pt does), not a distilled set"
    if "image_syn" in keys:
        return (
            "is a checkpoint of an unfinished distillation; its set is in images_*.pt, labels_*.pt "
            "and features_*.pt"
        )
    nested = value.get("state_dict", value.get("model", value))
    tensors = isinstance(nested, Mapping) and [isinstance(v, Tensor) for v in nested.values()]
    if keys & {"state_dict", "model_state_dict", "optimizer"} or (tensors and all(tensors)):
        return "is a checkpoint of a network (parameters by name), not a set of images"
    return None


def _of_tensor(value: Tensor) -> str:
    said = _parts.describe(value)
    if _parts.is_images(value):
        return (
            f"holds images ({said}) under a name that says nothing of its format; call it "
            "images_best.pt, and its labels labels_best.pt beside it"
        )
    what = "labels" if value.dim() in (1, 2) and value.numel() > 1 else "a tensor"
    return f"holds {what} alone ({said}); point at the images"


def _nested(value: Any) -> int:
    """How many lists deep the first tensor lies, 0 if there is none."""
    depth = 0
    while isinstance(value, list | tuple) and value:
        value, depth = value[0], depth + 1
    return depth if isinstance(value, Tensor) else 0
