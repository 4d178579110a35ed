"""DC-BENCH's selected sets: ``<dataset>_IPC<k>_normalize_images.pt`` with ``..._labels.pt``.

Random images (``_normalize_``) and k-means ones, normalised with the constants of DC
(justincui03/dc_benchmark).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ddbench.importers import Found

if TYPE_CHECKING:
    from ddbench.importers._source import Source

SUMMARY = "DC-BENCH: <dataset>_IPC<k>[_normalize]_images.pt and _labels.pt"

_NAME = re.compile(r"(?P<dataset>.+)_IPC(?P<ipc>\d+)(?P<random>_normalize)?_images\.pt")


def matches(source: Source) -> str | None:
    """One file of that name with images in it."""
    from ddbench.importers._parts import is_images

    name = _file(source)
    if name is None or not is_images(source.skeleton(name)):
        return None
    return f"{name} holds images [N, C, H, W] and is named as DC-BENCH does"


def read(source: Source) -> list[Found]:
    """One set; its labels are whole numbers, whatever their dtype."""
    from ddbench.importers import _labels, _parts

    name = _file(source)
    if name is None:
        raise source.bad("holds no single file <dataset>_IPC<k>_images.pt")
    match = _NAME.fullmatch(PurePosixPath(name).name)
    assert match is not None
    x = _parts.images(source.load_torch(name), source, name)
    other = f"{name.removesuffix('_images.pt')}_labels.pt"
    y = None
    if source.has(other):
        value = _labels.whole_numbers(source.load_torch(other))
        y = _parts.labels(value, source, other, len(x))
    hints = {"dataset": match["dataset"], "ipc": int(match["ipc"])}
    hints["method"] = "random" if match["random"] else "kmeans"
    kind = _labels.kind_if_plain(y, None)
    return [Found(x, y, space="meanstd", constants="dc", kind=kind, hints=hints)]


def _file(source: Source) -> str | None:
    found = [name for name in source.names if _NAME.fullmatch(PurePosixPath(name).name)]
    return found[0] if len(found) == 1 else None
