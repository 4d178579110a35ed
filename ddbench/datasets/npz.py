"""The user's own images in one NumPy file: x_train, y_train, x_test, y_test."""

from __future__ import annotations

import zipfile
from typing import IO, TYPE_CHECKING, Any

from ddbench.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ddbench.datasets import DatasetFacts, DatasetSpec
    from ddbench.datasets._arrays import Arrays

KEYS = ("x_train", "y_train", "x_test", "y_test")
_FIELD = "dataset.path"


def derive(spec: DatasetSpec, path: Path, like: DatasetFacts | None) -> DatasetFacts:
    """Facts from the headers of the images and from the labels.

    Raises:
        BadInput: not an npz file, a missing array, or one of the wrong kind.
    """
    from ddbench.datasets import DatasetFacts, network_for

    headers = _headers(path)
    _check_headers(path, headers)
    count = _label_counts(path, like)
    shape_nhwc = headers["x_train"][0]
    shape = (shape_nhwc[3], shape_nhwc[1], shape_nhwc[2])
    if like is not None and like.shape[0] != shape[0]:
        raise BadInput(
            f"{path}: images have {shape[0]} channels, those of '{like.name}' {like.shape[0]}",
            field="dataset.like",
        )
    return DatasetFacts(
        name=spec.name,
        family=spec.name,
        title=spec.label or path.stem,
        shape=shape,
        num_classes=len(count),
        train_size=headers["x_train"][0][0],
        test_size=headers["x_test"][0][0],
        smallest_class=min(count),
        classes=like.classes if like else (),
        wnids=like.wnids if like else (),
        indices=like.indices if like else (),
        constants=like.constants if like else {},
        network=like.network if like and like.shape == shape else network_for(shape),
        mirror=like.mirror if like else False,
        where="your own file",
        source="your own file",
    )


def content_files(spec: DatasetSpec, path: Path, like: DatasetFacts | None) -> Mapping[str, Path]:
    """The file itself, under a name that does not depend on where it lies."""
    return {"npz": path}


def load(facts: DatasetFacts, spec: DatasetSpec, root: Path, *, download: bool = False) -> Arrays:
    """Images uint8 [n, H, W, C], labels of any integer type as int64."""
    import numpy as np

    from ddbench.datasets import locate
    from ddbench.datasets._arrays import Arrays

    x_train, y_train, x_test, y_test = _arrays(locate(spec, root), KEYS)
    return Arrays(x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64))


def _arrays(path: Path, keys: tuple[str, ...]) -> list[NDArray[Any]]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            return [stored[key] for key in keys]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} cannot be read ({error})", field=_FIELD) from error


def _headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of every array that the file is to hold."""
    headers = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for key in KEYS:
                if f"{key}.npy" not in archive.namelist():
                    found = [name.removesuffix(".npy") for name in archive.namelist()]
                    raise BadInput(
                        f"{path} has no array '{key}', only {', '.join(found) or 'nothing'}",
                        field=_FIELD,
                        allowed=KEYS,
                    )
                with archive.open(f"{key}.npy") as stream:
                    headers[key] = _header(stream)
    except (OSError, zipfile.BadZipFile, ValueError, EOFError) as error:
        raise BadInput(f"{path} is not a NumPy .npz file ({error})", field=_FIELD) from error
    return headers


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    from numpy.lib import format as npy

    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _check_headers(path: Path, headers: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> None:
    for key, (shape, dtype) in headers.items():
        images = key[0] == "x"
        fits = (
            dtype == "uint8" and len(shape) == 4 and shape[3] in (1, 3)
            if images
            else dtype.kind in "iu" and len(shape) == 1
        )
        if not fits or 0 in shape:
            raise BadInput(
                f"{path}: {key} is {dtype} {list(shape)}",
                field=_FIELD,
                allowed="uint8 [n, H, W, 1 or 3]" if images else "whole numbers [n]",
            )
    for part in ("train", "test"):
        images_n, labels_n = headers[f"x_{part}"][0][0], headers[f"y_{part}"][0][0]
        if images_n != labels_n:
            raise BadInput(
                f"{path}: x_{part} has {images_n} images, y_{part} {labels_n} labels", field=_FIELD
            )
    if headers["x_train"][0][1:] != headers["x_test"][0][1:]:
        sizes = [list(headers[key][0][1:]) for key in ("x_train", "x_test")]
        raise BadInput(
            f"{path}: images of x_train are {sizes[0]}, of x_test {sizes[1]}", field=_FIELD
        )


def _label_counts(path: Path, like: DatasetFacts | None) -> list[int]:
    """Training images per class; K from ``like``, else from the largest training label."""
    import numpy as np

    y_train, y_test = _arrays(path, ("y_train", "y_test"))
    classes = like.num_classes if like else int(y_train.max()) + 1
    for key, y in (("y_train", y_train), ("y_test", y_test)):
        if y.min() < 0 or y.max() >= classes:
            raise BadInput(
                f"{path}: labels of {key} go from {y.min()} to {y.max()}",
                field=_FIELD,
                allowed=f"0 to {classes - 1}",
            )
    present, found = np.unique(y_train, return_counts=True)
    if len(present) < classes:
        absent = min(set(range(classes)) - set(present.tolist()))
        raise BadInput(f"{path}: class {absent} has no training image", field=_FIELD)
    return [int(number) for number in found]
