"""Trajectory matching: ``images_<tag>.pt`` with ``labels_``, ``lr_`` and ``features_`` beside it.

Written by MTT, TESLA, FTD, ATT, STM, DATM, EDF and DRUPI on MTT or DATM (for example
GeorgeCazenavette/mtt-distillation distill.py:228-271). The tag is ``best`` (the iteration whose
test accuracy was highest), ``last`` or an iteration; FTD and ATT write averaged images as ``ema_``.

Two traps. ``images_zca_<it>.pt`` is *not* whitened: it is the un-whitened copy of
``images_<it>.pt``, which then is. And float labels are logits in DATM and EDF, which save ``lr_``
too, but probabilities in TESLA, which does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ddbench.importers import Found

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.importers._source import Source

SUMMARY = "MTT, TESLA, FTD, ATT, STM, DATM, EDF, DRUPI: images_*.pt, labels_*.pt, lr_*.pt"

_IMAGES = re.compile(r"(ema_)?images_(zca_)?(best|last|\d+)(?:_(\d+))?\.pt")
_OTHERS = re.compile(r"(?:ema_)?(labels|lr|features)_(?:best|last|\d+)(?:_\d+)?\.pt")


@dataclass(frozen=True)
class _Triple:
    """The files of one snapshot.

    Attributes:
        folder: where they lie below the root, ``""`` for the root.
        ema, zca: whether the names have these marks.
        tag: ``best``, ``last`` or an iteration.
        parts: 0 for one file per kind, else how many.
    """

    folder: str
    ema: bool
    zca: bool
    tag: str
    parts: int

    def names(self, kind: str) -> list[str]:
        """Its files of one kind (``images``, ``labels``, ``lr``, ``features``)."""
        mark = f"{'ema_' if self.ema else ''}{kind}_{'zca_' * (self.zca and kind == 'images')}"
        ends = [f"_{index}" for index in range(self.parts)] or [""]
        return [str(PurePosixPath(self.folder, f"{mark}{self.tag}{end}.pt")) for end in ends]


def matches(source: Source) -> str | None:
    """Files of these names, the first of which holds images."""
    from ddbench.importers._parts import is_images

    found = [name for name in source.names if _IMAGES.fullmatch(PurePosixPath(name).name)]
    if not found or not is_images(source.skeleton(found[0])):
        return None
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{found[0]}{more}: images [N, C, H, W], named as trajectory matching does"


def read(source: Source) -> list[Found]:
    """One set: the named snapshot, or of a folder its best (averaged where there is one)."""
    from ddbench.importers import _labels, _parts

    triple, others = _choose(source)
    x = _images(source, triple)
    y = _targets(source, triple, len(x))
    (lr_name,) = _named(triple, "lr", 0)
    lr = None
    if source.has(lr_name):
        lr = _parts.step_size(source.load_torch(lr_name), source, lr_name)
    (features_name,) = _named(triple, "features", 0)
    F = None
    if source.has(features_name):
        F = _parts.features(source.load_torch(features_name), source, features_name, len(x))
    # only whitened runs write un-whitened copies
    whitened = any("images_zca_" in name for name in _beside(source, triple.folder))
    return [
        Found(
            x, y, F, lr,
            space="unit" if triple.zca else "zca" if whitened else None,
            constants=None if triple.zca else "mtt",
            kind=_labels.kind_if_plain(y, "logit" if lr is not None else None),
            selected_on_test=triple.tag == "best",
            hints=_hints(source, triple, others, lr is not None),
        )
    ]  # fmt: skip


# --- which snapshot ------------------------------------------------------------------------------


def _choose(source: Source) -> tuple[_Triple, list[str]]:
    """The snapshot to read, and the tags that are left."""
    if not source.is_folder:
        return _only(source), []
    triples = _triples(source, source.names)
    for_use = [t for t in triples if t.ema] or [t for t in triples if not t.zca] or triples
    folders = sorted({triple.folder for triple in for_use})
    if len(folders) != 1:
        raise source.bad(
            f"holds sets in {len(folders)} folders; point at one" if folders
            else "holds no images_best.pt, images_last.pt or images_<iteration>.pt",
            allowed=[str(PurePosixPath(folder)) for folder in folders[:8]] or None,
        )  # fmt: skip
    by_tag = {triple.tag: triple for triple in for_use}
    tags = sorted(by_tag, key=lambda tag: (not tag.isdigit(), int(tag) if tag.isdigit() else 0))
    chosen = next((tag for tag in ("best", "last", *tags) if tag in by_tag), "")
    if chosen.isdigit() and len(tags) > 1:
        raise source.bad("holds several iterations; point at one",
                         allowed=[by_tag[tag].names("images")[0] for tag in tags])  # fmt: skip
    return by_tag[chosen], [tag for tag in tags if tag != chosen]


def _only(source: Source) -> _Triple:
    """The snapshot of the one file that was named."""
    name = source.path.name
    match = _IMAGES.fullmatch(name)
    if match is None:
        kind = _OTHERS.fullmatch(name)
        problem = f"holds the {kind[1]} of a set" if kind else "is not named images_<tag>.pt"
        raise source.bad(f"{problem}; point at the images or the folder",
                         allowed="images_<tag>.pt")  # fmt: skip
    if match[4] is not None:
        raise source.bad("is one of several parts; point at the folder")
    return _Triple("", bool(match[1]), bool(match[2]), match[3], 0)


def _triples(source: Source, names: tuple[str, ...]) -> list[_Triple]:
    found: dict[tuple[str, bool, bool, str], set[int | None]] = {}
    for name in names:
        path = PurePosixPath(name)
        if match := _IMAGES.fullmatch(path.name):
            folder = "" if str(path.parent) == "." else str(path.parent)
            key = folder, bool(match[1]), bool(match[2]), match[3]
            found.setdefault(key, set()).add(int(match[4]) if match[4] else None)
    triples = []
    for key, parts in found.items():
        count = 0 if None in parts else len(parts)
        if count and parts != set(range(count)):
            first = _Triple(*key, 1).names("images")[0]
            numbers = ", ".join(str(part) for part in sorted(parts, key=str))
            raise source.bad(f"the parts are not all there, only {numbers}", name=first)
        triples.append(_Triple(*key, count))
    return triples


# --- what is in it -------------------------------------------------------------------------------


def _images(source: Source, triple: _Triple) -> Tensor:
    import torch

    from ddbench.importers import _parts

    names = triple.names("images")
    parts = [_parts.images(source.load_torch(name), source, name) for name in names]
    if len({(part.shape[1:], part.dtype) for part in parts}) > 1:
        raise source.bad("its parts have images of different shapes", name=names[0])
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _targets(source: Source, triple: _Triple, count: int) -> Tensor | None:
    """Labels of the same parts; None where there are none at all."""
    import torch

    from ddbench.importers import _labels, _parts

    names = triple.names("labels")
    present = [name for name in names if source.has(name)]
    if not present:
        return None
    if present != names:
        missing = next(name for name in names if name not in present)
        raise source.bad("is missing; the other parts have labels", name=missing)
    values = [_labels.whole_numbers(source.load_torch(name)) for name in names]
    if not all(_parts.is_labels(value) for value in values):
        return _parts.labels(values[0], source, names[0], count)
    if len({(value.shape[1:], value.is_floating_point()) for value in values}) > 1:
        raise source.bad("its parts have labels of different kinds", name=names[0])
    return _parts.labels(torch.cat(values), source, names[0], count)


def _named(triple: _Triple, kind: str, parts: int) -> list[str]:
    return _Triple(triple.folder, triple.ema, triple.zca, triple.tag, parts).names(kind)


def _beside(source: Source, folder: str) -> list[str]:
    """Names of the files in the snapshot's folder."""
    if not source.is_folder:
        return [path.name for path in source.root.iterdir()]
    return [
        path.name
        for path in map(PurePosixPath, source.names)
        if (str(path.parent) if str(path.parent) != "." else "") == folder
    ]


def _hints(source: Source, triple: _Triple, others: list[str], has_lr: bool) -> dict[str, Any]:
    """What the names say; a learned step size that was not saved is told."""
    from ddbench.importers import _parts

    place = (source.path.resolve() / triple.folder).as_posix()
    found: dict[str, Any] = {"snapshot": int(triple.tag) if triple.tag.isdigit() else triple.tag}
    found |= _parts.drupi_hints(place)
    logged = re.search(r"(?:^|/)(?:ema_)?logged_files/([^/]+)(?:/(\d+)/([^/]+))?", place)
    if logged:
        found["dataset"] = logged[1]
        found |= {"ipc": int(logged[2]), "network": logged[3]} if logged[2] else {}
    if triple.ema:
        found["averaged"] = "a running average of the images over iterations (FTD, ATT)"
    if others:
        found["other_snapshots"] = others
    if not has_lr:
        found["lr_not_saved"] = True
    return found
