"""Image folders of the decoupled methods, one folder per class, with or without an FKD store.

SRe2L, CDA, G-VBSM, RDED, D4M, DD-Ranking's random subsets, and folders named by WordNet ids. Where
soft labels per view lie in the same folder (``epoch_E/batch_B.tar``), they are referenced.

Images are in ``unit`` space: 8-bit pixels, which the writers truncated, not rounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ddbench.importers import Found
from ddbench.importers._images import FORMATS, UNREAD, decode

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.importers._fkd import Store
    from ddbench.importers._source import Source
    from ddbench.store import ViewsManifest

SUMMARY = "one folder of PNG or JPEG images per class; FKD soft labels beside them (SRe2L, RDED)"

_WNID = re.compile(r"n\d{8}")
_NUMBERED = re.compile(r"(\D*)(\d+)")
_STORE = re.compile(r"(?:.*/)?epoch_\d+/batch_\d+\.tar")
_FAMILIES = (
    (r"new\d{3,5}/class\d+_id\d+\.(jpg|png)", "SRe2L, CDA or G-VBSM"),
    (r"\d{5}/class\d+_id\d+\.(jpg|png)", "RDED"),
    (r"\d+/\d+-image\d+\.png", "D4M"),
    (r"\d{5}/\d{5}\.(jpe?g|png)", "DD-Ranking"),
    (r"n\d{8}/[^/]*", "folders named by WordNet ids"),
)
_CHECKED_EPOCHS = 2  # where the sampler's two schedules part


@dataclass(frozen=True)
class Folders:
    """The class folders of a source, in the order of y's indices.

    Attributes:
        root: the folder that holds them, below the source.
        labels: class of each folder.
        class_ids: names of the classes, where the folders are not numbered.
        images: files per folder, sorted by the last integer in their names.
    """

    root: str
    labels: Mapping[str, int]
    class_ids: tuple[str, ...]
    images: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> list[str]:
        """All images, class by class."""
        return [name for folder in self.images.values() for name in folder]


def matches(source: Source) -> str | None:
    """Whether it holds folders of images, or a store of soft labels that belongs to some."""
    if not source.is_folder:
        return None
    candidates = _candidates(source.names)
    if candidates:
        root, folders = max(candidates.items(), key=lambda item: len(item[1]))
        example = next(iter(folders))
        place = f" in '{root}'" if root else ""
        return f"{len(folders)} folders of images{place}, named like '{example}'"
    if _stored_names(source):
        return "soft labels per view (epoch_0/batch_0.tar) without images"
    return None


def read(source: Source) -> Sequence[Found]:
    """The one set; uint8 images, classes by number, or by the folders' names in ``class_ids``.

    Raises:
        BadInput: no or several places with class folders; a name that comes twice; an image that
            cannot be used; soft labels that do not belong to the images.
    """
    import torch

    folders = _folders(source)
    x = decode(source, folders.names)
    repeats = torch.tensor([len(images) for images in folders.images.values()])
    y = torch.tensor([folders.labels[f] for f in folders.images]).repeat_interleave(repeats)
    hints: dict[str, Any] = {
        "family": _family(folders),
        "root": folders.root,
        "order": "by class, then by the last integer of the file name",
    }
    views = None
    if _stored_names(source):
        views, hints["fkd"] = _views(source, folders, y)
        hints["view_bytes"] = sum(source.size(name) for name in _stored_names(source))
    return [
        Found(
            x=x, y=y, space="unit", kind="index", class_ids=folders.class_ids, views=views,
            hints=hints,
        )
    ]  # fmt: skip


# --- folders -------------------------------------------------------------------------------------


def _candidates(names: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Places with two or more folders of images: place to folder to files."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() in FORMATS and len(path.parts) > 1:
            place = str(path.parent.parent)
            files = found.setdefault("" if place == "." else place, {})
            files.setdefault(path.parent.name, []).append(name)
    return {place: files for place, files in found.items() if len(files) > 1}


def _folders(source: Source) -> Folders:
    candidates = _candidates(source.names)
    if not candidates:
        raise source.bad(
            "holds no two folders of images; soft labels alone are no set: name a folder that "
            "holds the images and the labels"
        )
    if len(candidates) > 1:
        raise source.bad(
            "holds class folders in several places; name one of them",
            allowed=[place or "." for place in sorted(candidates)],
        )
    ((root, found),) = candidates.items()
    inside = f"{root}/" if root else ""
    for name in source.names:
        folder = str(PurePosixPath(name).parent)
        if PurePosixPath(name).suffix.lower() in UNREAD and folder.startswith(inside):
            if folder.removeprefix(inside) in found:
                raise source.bad("is an image of a kind that is not read", name=name)
    labels, class_ids = _labels(source, sorted(found))
    ordered = sorted(found, key=labels.__getitem__)
    images = {folder: tuple(sorted(found[folder], key=_number)) for folder in ordered}
    return Folders(root, labels, class_ids, images)


def _labels(source: Source, folders: list[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Class of each folder: its number; else its place in the order of the names, which are kept.

    Sorting names as text, as torchvision does, would scramble unpadded numbers (D4M's 0, 1, 10).
    """
    numbers = [_NUMBERED.fullmatch(folder) for folder in folders]
    words = {match[1] for match in numbers if match}
    wnids = all(_WNID.fullmatch(folder) for folder in folders)
    if wnids or len(words) != 1 or not all(numbers):
        return {folder: label for label, folder in enumerate(folders)}, tuple(folders)
    labels = {match[0]: int(match[2]) for match in numbers if match}
    if len(set(labels.values())) < len(labels):
        raise source.bad("holds two folders of one number")
    return labels, ()


def _number(name: str) -> tuple[int, str]:
    """Sort key: the last integer of the file's own name, then the name."""
    digits = re.findall(r"\d+", PurePosixPath(name).stem)
    return (int(digits[-1]) if digits else -1), name


def _family(folders: Folders) -> str | None:
    below = ["/".join(PurePosixPath(name).parts[-2:]) for name in folders.names]
    return next(
        (family for form, family in _FAMILIES if all(re.fullmatch(form, n, re.I) for n in below)),
        None,
    )


# --- soft labels ---------------------------------------------------------------------------------


def _stored_names(source: Source) -> list[str]:
    return [name for name in source.names if _STORE.fullmatch(name)]


def _views(source: Source, folders: Folders, y: Tensor) -> tuple[ViewsManifest, dict[str, Any]]:
    """The store by its checksums, and what its first epochs say."""
    from ddbench.importers import _fkd
    from ddbench.store import ViewsManifest

    store = _fkd.find(source)
    assert store is not None, "asked for where there is one"
    if source.is_archive:
        raise source.bad(
            "holds soft labels per view, which are referenced and not copied; unpack it where it "
            "can stay and name the folder"
        )
    if folders.names != sorted(folders.names, key=lambda name: PurePosixPath(name).parts):
        raise source.bad(
            "holds soft labels that count the images in the order of their names as text, which "
            "is not that of their numbers; pad the numbers with zeros"
        )
    hints = _stored(source, store, y)
    checksums = {
        store.relative(name): source.sha256(name) for epoch in store.epochs for name in epoch
    }
    return ViewsManifest(str(source.root / store.folder), checksums), hints


def _stored(source: Source, store: Store, y: Tensor) -> dict[str, Any]:
    """What the store holds, by the batches of its first two epochs.

    ``order`` tells how rows find their images: ``stored`` in it, a schedule of the seeded sampler,
    or None where the labels do not tell (``agreement`` with the folders' classes says why). The
    logits' columns are the folders' classes in their order, whatever order a dataset has.
    """
    import torch

    from ddbench.importers import _fkd

    epochs = [
        [_fkd.read_batch(source, name) for name in names]
        for names in store.epochs[:_CHECKED_EPOCHS]
    ]
    first = epochs[0][0]
    for names, batches in zip(store.epochs, epochs, strict=False):
        if sum(len(batch) for batch in batches) != len(y):
            raise source.bad(
                f"an epoch has {sum(len(batch) for batch in batches)} rows for {len(y)} images",
                name=names[0],
            )
        for name, batch in zip(names, batches, strict=True):
            _check_alike(source, name, batch, first)
    classes = first.logits.shape[1]
    if int(y.max()) >= classes:
        raise source.bad(f"labels {classes} classes, the folders go to {int(y.max())}")
    hints: dict[str, Any] = {
        "epochs": len(store.epochs),
        "batch_size": len(first),
        "classes": classes,
        "logits": str(first.logits.dtype).removeprefix("torch."),
        "mix": first.mix,
        "has_index": first.index is not None,
    }
    if first.index is None:
        schedule, agreement = _fkd.resolve_schedule(epochs, y)
        return {**hints, "order": schedule, "agreement": agreement}
    for names, batches in zip(store.epochs, epochs, strict=False):
        shown = torch.cat([batch.index for batch in batches if batch.index is not None])
        if not torch.equal(shown.sort().values, torch.arange(len(y))):
            raise source.bad("an epoch does not show every image once", name=names[0])
    return {**hints, "order": "stored"}


def _check_alike(source: Source, name: str, batch: Any, first: Any) -> None:
    same = (
        batch.logits.shape[1] == first.logits.shape[1],
        batch.logits.dtype == first.logits.dtype,
        batch.mix == first.mix,
        (batch.index is None) == (first.index is None),
    )
    if not all(same):
        raise source.bad("is not of the same kind as the first batch", name=name)
