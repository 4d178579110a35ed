"""IDC and its descendants (DREAM): ``data.pt``, a list [images, targets] of pixels in [0, 1].

With multi-formation every stored image holds f x f images; f and how they are cut out are in the
folder's name alone (snu-mllab/Efficient-Dataset-Condensation argument.py, condense.py:572-574).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from ddbench.importers import Found

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.importers._idc_decode import Decoding
    from ddbench.importers._source import Source

SUMMARY = "IDC, DREAM: data.pt, decoded by the factor in its folder's name"

_FILE = re.compile(r"data\d*\.pt")
FACTOR = re.compile(r"_factor(\d+)(?:_(multi|bound))?")
"""How IDC names the folder of a set whose images hold several."""
_IPC = re.compile(r"_ipc(\d+)")
_PHASE = re.compile(r"_phase(\d+)")
_BOUND, _LARGEST = 128, 8  # of IDC's loader; a factor that is no misread number


def matches(source: Source) -> str | None:
    """A list of two: images, integer labels."""
    names = _files(source)
    if not names or not all(_is_pair(source.skeleton(name)) for name in names):
        return None
    return f"{', '.join(names)}: a list of images [N, C, H, W] and integer labels [N]"


def read(source: Source) -> list[Found]:
    """One set, decoded; the parts ``_phase0``, ``_phase1``, ... of one run put together."""
    import torch

    from ddbench.importers import _idc_decode

    names = _files(source)
    if not names:
        raise source.bad("holds no single data.pt, nor the phases of one run")
    parts = [_pair(source, name) for name in names]
    _check_phases(source, parts)
    x, y = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    factor, kind = _decoding(source, names[0], len(y) // max(1, len(y.unique())))
    hints: dict[str, Any] = {"stored_images": len(x), "decode": {"factor": factor, "type": kind}}
    if factor > 1:
        x, y = _idc_decode.decode_set(x, y, factor, kind, _BOUND)
    return [Found(x, y, space="unit", kind="index", hints=hints)]


def _files(source: Source) -> list[str]:
    """The file; or every ``data.pt`` in folders named by phases, in their order."""
    if not source.is_folder:
        return [source.path.name]
    found = [name for name in source.names if _FILE.fullmatch(PurePosixPath(name).name)]
    if len(found) < 2:
        return found
    phases = {int(m[1]): name for name in found if (m := _PHASE.search(name))}
    whole = sorted(phases) == list(range(len(found)))
    return [phases[phase] for phase in sorted(phases)] if whole else []


def _is_pair(value: Any) -> bool:
    from ddbench.importers._parts import is_images, is_labels

    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and is_images(value[0])
        and is_labels(value[1])
        and not value[1].is_floating_point()
    )


def _pair(source: Source, name: str) -> tuple[Tensor, Tensor]:
    from ddbench.importers import _parts

    value = source.load_torch(name)
    if not _is_pair(value):
        raise source.bad("is no list of images and integer labels", name=name)
    x = _parts.images(value[0], source, name)
    return x, _parts.labels(value[1], source, name, len(x))


def _check_phases(source: Source, parts: list[tuple[Tensor, Tensor]]) -> None:
    seen: set[int] = set()
    for _, y in parts:
        classes = set(y.unique().tolist())
        if seen & classes:
            raise source.bad(
                "its phases give the same labels to different classes; only their author knows "
                "which classes they are",
            )  # fmt: skip
        seen |= classes


def _decoding(source: Source, name: str, per_class: int) -> tuple[int, Decoding]:
    """Factor and kind from the folder's name; refused where it does not say."""
    place = (source.path.resolve() / name if source.is_folder else source.path.resolve()).as_posix()
    found = FACTOR.findall(place)
    if found:
        factor, kind = max(1, int(found[-1][0])), found[-1][1] or "single"
        if factor > _LARGEST:
            raise source.bad(f"its folder's name says factor {factor}", allowed=f"1 to {_LARGEST}")
        return factor, cast("Decoding", kind)
    declared = _IPC.findall(place)
    decoded = {int(declared[-1]) * f * f for f in range(2, _LARGEST + 1)} if declared else set()
    if per_class in decoded:
        return 1, "single"
    raise source.bad(
        f"has {per_class} stored images per class, each of which may hold several: its folder's "
        "name does not say by which factor",
        allowed="a folder named ..._factor2 (or _factor1: nothing to decode)",
    )
