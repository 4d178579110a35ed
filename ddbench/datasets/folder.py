"""The user's own images as files: train/CLASS/* and test/CLASS/* (or val/CLASS/*)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ddbench.datasets import DatasetFacts, DatasetSpec
    from ddbench.datasets._arrays import Arrays

_FIELD = "dataset.path"
_ENDINGS = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_MODES = {1: "L", 3: "RGB"}


def derive(spec: DatasetSpec, path: Path, like: DatasetFacts | None) -> DatasetFacts:
    """Facts from folder and file names and, without ``image_size``, from one image's header.

    Raises:
        BadInput: folders or images are missing, or the classes are not those of ``like``.
    """
    from ddbench.datasets import DatasetFacts, network_for

    files = _files(path, like)
    counts = [len(found) for found in files["train"].values()]
    channels = like.shape[0] if like else 3
    if spec.image_size is None:
        width, height = _size(next(iter(files["train"].values()))[0])
    else:
        width = height = spec.image_size
    shape = (channels, height, width)
    return DatasetFacts(
        name=spec.name,
        family=spec.name,
        title=spec.label or path.name,
        shape=shape,
        num_classes=len(counts),
        train_size=sum(counts),
        test_size=sum(len(found) for found in files["test"].values()),
        smallest_class=min(counts),
        classes=like.classes if like and like.classes else tuple(files["train"]),
        wnids=like.wnids if like else (),
        indices=like.indices if like else (),
        constants=like.constants if like else {},
        network=like.network if like and like.shape == shape else network_for(shape),
        mirror=like.mirror if like else False,
        resized=spec.image_size is not None,
        antialias=like.antialias if like else None,
        where="your own files",
        source="your own files",
    )


def content_files(spec: DatasetSpec, path: Path, like: DatasetFacts | None) -> Mapping[str, Path]:
    """The images in use, by part (train or test) and name below it, sorted."""
    return {
        f"{part}/{found.relative_to(_part_folder(path, part)).as_posix()}": found
        for part, classes in sorted(_files(path, like).items())
        for found in sorted(file for files in classes.values() for file in files)
    }


def load(facts: DatasetFacts, spec: DatasetSpec, root: Path, *, download: bool = False) -> Arrays:
    """Images uint8 [n, H, W, C], class by class in label order, sorted by name within one.

    With ``image_size`` the shorter side is resized to it (bilinear) and the centre is cut out.

    Raises:
        BadInput: an image cannot be read, or sizes differ and ``image_size`` is not given.
    """
    import numpy as np

    from ddbench.datasets import like_facts, locate
    from ddbench.datasets._arrays import Arrays

    files = _files(locate(spec, root), like_facts(spec))
    antialias = next((a for a in (spec.antialias, facts.antialias) if a is not None), True)

    def part(name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        labelled = [
            (file, label)
            for label, folder in enumerate(files["train"])
            for file in files[name].get(folder, [])
        ]
        x = np.empty((len(labelled), *facts.shape[1:], facts.shape[0]), dtype=np.uint8)
        for row, (file, _) in enumerate(labelled):
            x[row] = _image(file, facts.shape, spec.image_size, antialias)
        return x, np.array([label for _, label in labelled], dtype=np.int64)

    return Arrays(*part("train"), *part("test"))


# --- names ---------------------------------------------------------------------------------------


def _part_folder(path: Path, part: str) -> Path:
    """The folder of a part; the test part may be called test or val."""
    candidates = [path / name for name in (("train",) if part == "train" else ("test", "val"))]
    found = [candidate for candidate in candidates if candidate.is_dir()]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(f"{path} has both test and val; keep the one to test on", field=_FIELD)
    wanted = " or ".join(candidate.name for candidate in candidates)
    raise BadInput(
        f"{path} has no folder {wanted}",
        field=_FIELD,
        allowed="a folder with train/CLASS/* and test/CLASS/* or val/CLASS/*",
    )


def _files(path: Path, like: DatasetFacts | None) -> dict[str, dict[str, list[Path]]]:
    """Part, then class folder in label order, then its images sorted by name."""
    train = _part_folder(path, "train")
    order = _order(train, like)
    test = _part_folder(path, "test")
    strange = sorted(set(_folders(test)) - set(_folders(train)))
    if strange:
        raise BadInput(f"{test / strange[0]}: no class of this name in {train}", field=_FIELD)
    files = {
        "train": {name: _images(train / name) for name in order},
        "test": {name: _images(test / name) for name in order if (test / name).is_dir()},
    }
    for part, folder in (("train", train), ("test", test)):
        empty = [name for name, found in files[part].items() if not found]
        if empty or not files[part]:
            raise BadInput(f"{folder.joinpath(*empty[:1])} has no images", field=_FIELD)
    return files


def _folders(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir() if item.is_dir() and item.name[0] != ".")


def _order(train: Path, like: DatasetFacts | None) -> list[str]:
    """Class folders in label order: that of ``like`` where its names are found, else sorted.

    Folders named by WordNet ids may be more than those of ``like``: a subset is taken out of them.
    """
    found = _folders(train)
    if not found:
        raise BadInput(f"{train} has no class folders", field=_FIELD)
    if like is None:
        return found
    if like.wnids and set(like.wnids) <= set(found):
        return list(like.wnids)
    if like.classes and set(like.classes) == set(found):
        return list(like.classes)
    if like.wnids:
        absent = sorted(set(like.wnids) - set(found))
        raise BadInput(
            f"{train} lacks classes of '{like.name}': {', '.join(absent[:3])}"
            f"{', ...' if len(absent) > 3 else ''}",
            field="dataset.like",
            allowed="folders named by its WordNet ids",
        )
    if len(found) != like.num_classes:
        raise BadInput(
            f"{train} has {len(found)} classes, '{like.name}' {like.num_classes}",
            field="dataset.like",
        )
    return found


def _images(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in _ENDINGS and file.name[0] != "." and file.is_file()
    )


# --- pixels --------------------------------------------------------------------------------------


def _size(file: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BadInput(f"{file} cannot be read ({error})", field=_FIELD) from error


def _image(
    file: Path, shape: tuple[int, int, int], image_size: int | None, antialias: bool
) -> NDArray[np.uint8]:
    """One image as uint8 [H, W, C]."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert(_MODES[shape[0]]), dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInput(f"{file} cannot be read ({error})", field=_FIELD) from error
    pixels = pixels.reshape(*pixels.shape[:2], shape[0])
    if image_size is not None:
        return _resized(pixels, image_size, antialias)
    if pixels.shape[:2] != shape[1:]:
        raise BadInput(
            f"{file} has {pixels.shape[1]}x{pixels.shape[0]} pixels, the first image "
            f"{shape[2]}x{shape[1]}; give the size that all are to have",
            field="dataset.image_size",
        )
    return pixels


def _resized(pixels: NDArray[np.uint8], size: int, antialias: bool) -> NDArray[np.uint8]:
    import numpy as np
    import torch
    from torchvision.transforms.v2 import functional  # type: ignore[import-untyped]

    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    image = functional.resize(image, [size], antialias=antialias)
    image = functional.center_crop(image, [size, size])
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())
