"""Real data as methods and protocols use it: tensors in their value space, on the device.

Axes: n images, C channels, H, W, K classes, B samples of one class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench import datasets
from ddbench.distilled import Space
from ddbench.errors import BadInput
from ddbench.spec import fingerprint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ddbench.datasets import DatasetFacts, DatasetSpec
    from ddbench.datasets._arrays import Images

_MEASURE_ROWS = 4096


@dataclass(frozen=True, eq=False)
class RealData:
    """A dataset ready for use; everything on one device.

    Attributes:
        x_train, x_test: float32 [n, C, H, W] in ``space``.
        y_train, y_test: int64 [n] in 0..K-1.
        x_val, y_val: the held-out part of the training images, or None.
        space: the value space of x.
        num_classes: K.
        shape: (C, H, W).
        sha256: over the arrays as stored, before any split, resizing or normalisation.
        preparation: identifies how they were split, resized and normalised, with ``sha256``.
        class_index: int64 [K, n_max], rows of x_train per class in ascending order, then -1.
        class_count: int64 [K], how many rows of ``class_index`` are real.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    x_val: Tensor | None
    y_val: Tensor | None
    space: Space
    num_classes: int
    shape: tuple[int, int, int]
    sha256: str
    class_index: Tensor
    class_count: Tensor
    preparation: str = ""

    def without_tests(self) -> RealData:
        """The same training data with empty test and validation parts: what a method may see."""
        x, y = self.x_test[:0], self.y_test[:0]
        return replace(self, x_test=x, y_test=y, x_val=None, y_val=None)

    def class_batches(self, u: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """For every class, ``min(size, n_c)`` rows of x_train, uniform without replacement.

        A function of ``u`` alone: the entries of ``u`` order the rows of each class and the first
        ones are taken. Shapes do not depend on values and nothing waits for the device.

        Args:
            u: uniform float [K, n_max] in [0, 1), on the data's device.
            size: samples wanted per class, at least 1.

        Returns:
            index: int64 [B, K] rows of x_train, B = min(size, n_max); 0 where not valid.
            valid: bool [B, K], false where the class has no further row.

        Raises:
            ValueError: ``u`` has another shape, or ``size`` is below 1.
        """
        if u.shape != self.class_index.shape:
            raise ValueError(f"u is {list(u.shape)}, needs {list(self.class_index.shape)}")
        if size < 1:
            raise ValueError(f"size is {size}, needs at least 1")
        keys = u.masked_fill(self.class_index < 0, torch.inf)
        order = keys.sort(dim=1, stable=True).indices[:, :size]
        index = self.class_index.gather(1, order).T
        return index.clamp(min=0), index >= 0


def load(
    spec: DatasetSpec,
    device: torch.device | str,
    root: Path | None = None,
    download: bool = False,
) -> RealData:
    """Read, split, resize and normalise a dataset.

    Pixels go to [0, 1] and then, by channel, to (pixel - mean) / std with the constants of the
    family that ``spec`` names; with ``zca`` they are whitened instead (``kip``: each image first
    brought to mean 0 and norm 1). Whitening, and mean and std where no constants exist, are fitted
    on the training part without the held-out images.

    Args:
        device: where the tensors go.
        root: where datasets lie; None: ``datasets.data_root()``.
        download: fetch missing public files from the network.

    Raises:
        BadInput: the files are missing or unusable, or too few for the validation part.
        RunFailed: a download failed.
    """
    arrays = datasets.read(spec, root, download=download)
    facts = datasets.facts(spec, root)
    kept, held = _held_out(arrays.y_train, spec.validation)
    x_train = pixels_of(arrays.x_train[kept], facts, spec, device)
    space = space_of(x_train, facts, spec)
    y_train = torch.from_numpy(arrays.y_train[kept]).to(device)
    class_index, class_count = _by_class(y_train, facts.num_classes)
    x_val = y_val = None
    if held is not None:
        x_val = normalise(pixels_of(arrays.x_train[held], facts, spec, device), space)
        y_val = torch.from_numpy(arrays.y_train[held]).to(device)
    return RealData(
        x_train=normalise(x_train, space),
        y_train=y_train,
        x_test=normalise(pixels_of(arrays.x_test, facts, spec, device), space),
        y_test=torch.from_numpy(arrays.y_test).to(device),
        x_val=x_val,
        y_val=y_val,
        space=space,
        num_classes=facts.num_classes,
        shape=facts.shape,
        sha256=arrays.sha256(),
        class_index=class_index,
        class_count=class_count,
        preparation=fingerprint(spec.model_dump(mode="json", exclude={"path", "label"})),
    )


def normalise(x: Tensor, space: Space) -> Tensor:
    """Pixels in [0, 1], float32 [n, C, H, W], taken to ``space``.

    Raises:
        ValueError: a whitened space without its transform.
    """
    if space.name == "unit":
        return x
    if space.name == "meanstd":
        return (x - _channels(space.mean, x)).div_(_channels(space.std, x))
    if space.whitening is None:
        raise ValueError(f"space '{space.name}' without its whitening")
    from ddbench import zca

    pixels = zca.standardise(x) if space.name == "kip_zca" else x
    return zca.whiten(pixels, space.whitening)


def unnormalise(x: Tensor, space: Space, *, clamp: bool = True) -> Tensor:
    """The pixels of x, float32 [n, C, H, W] in ``space``; clamped to [0, 1] for display.

    Args:
        clamp: False keeps what lies outside [0, 1], so that ``normalise`` gives x back.

    Raises:
        ValueError: a whitened space without its transform; ``kip_zca``.
    """
    if space.name == "unit":
        pixels = x
    elif space.name == "meanstd":
        pixels = x * _channels(space.std, x) + _channels(space.mean, x)
    elif space.whitening is None:
        raise ValueError(f"space '{space.name}' without its whitening")
    elif space.name == "kip_zca":
        raise ValueError("space 'kip_zca' cannot be undone: each image's mean and norm are lost")
    else:
        from ddbench import zca

        pixels = zca.unwhiten(x, space.whitening)
    return pixels.clamp(0, 1) if clamp else pixels


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    return like.new_tensor(values).view(1, -1, 1, 1)


def _held_out(
    y: NDArray[np.int64], fraction: float | None
) -> tuple[slice | NDArray[np.int64], NDArray[np.int64] | None]:
    """Rows to train on and rows held out; the same for every seed of a recipe."""
    import numpy as np
    from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

    if fraction is None:
        return slice(None), None
    try:
        kept, held = train_test_split(
            np.arange(len(y)), test_size=fraction, random_state=0, stratify=y
        )
    except ValueError as error:
        raise BadInput(
            f"{fraction} of {len(y)} training images cannot be held out ({error})",
            field="dataset.validation",
        ) from None
    return np.sort(kept), np.sort(held)


def pixels_of(
    x: Images, facts: DatasetFacts, spec: DatasetSpec, device: torch.device | str
) -> Tensor:
    """Stored images as float32 [n, C, H, W] in [0, 1] of the size that the facts give."""
    stored = torch.from_numpy(x).to(device).permute(0, 3, 1, 2).contiguous()
    pixels = stored.float().div_(255) if stored.dtype == torch.uint8 else stored
    if pixels.shape[2:] == facts.shape[1:]:
        return pixels
    antialias = next((a for a in (spec.antialias, facts.antialias) if a is not None), True)
    return torch.nn.functional.interpolate(
        pixels, size=facts.shape[1:], mode="bilinear", antialias=antialias
    )


def space_of(x: Tensor, facts: DatasetFacts, spec: DatasetSpec) -> Space:
    """The value space of a dataset's images; x float32 [n, C, H, W] in [0, 1], to be fitted on.

    Raises:
        BadInput: a channel that has the same value everywhere.
    """
    if spec.zca:
        from ddbench import zca

        if spec.zca == "kip":
            return Space("kip_zca", whitening=zca.fit_kip(x))
        return Space("zca", whitening=zca.fit(x))
    if facts.constants:
        constants = facts.constants[spec.constants]
        return Space("meanstd", mean=constants.mean, std=constants.std)
    mean, std = _measured(x)
    return Space("meanstd", mean=mean, std=std)


def _measured(x: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel in float64, in chunks to bound memory."""
    count = x.shape[0] * x.shape[2] * x.shape[3]
    chunks = torch.tensor_split(x, list(range(_MEASURE_ROWS, len(x), _MEASURE_ROWS)))
    mean = sum((c.double().sum((0, 2, 3)) for c in chunks), x.new_zeros(())) / count
    centre = mean.view(1, -1, 1, 1)
    square = sum((((c.double() - centre) ** 2).sum((0, 2, 3)) for c in chunks), x.new_zeros(()))
    std = (square / count).sqrt()
    if not bool((std > 0).all()):
        raise BadInput("a channel has the same value in every training image", field="dataset")
    return tuple(mean.tolist()), tuple(std.tolist())


def _by_class(y: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Rows per class, int64 [K, n_max] padded with -1, and their numbers, int64 [K]."""
    counts = torch.bincount(y, minlength=num_classes)
    rows = torch.tensor_split(y.argsort(stable=True), counts.cumsum(0)[:-1].tolist())
    index = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=-1)
    return index, counts
