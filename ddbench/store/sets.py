"""A distilled set as datasets of the result file, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ddbench.distilled import DistilledSet, LabelKind, Space, SpaceName, Whitening
from ddbench.store.precision import (
    Encoded,
    FeatureDtype,
    ImageDtype,
    decode_features,
    decode_images,
    encode_features,
    encode_images,
)
from ddbench.store.tree import Array, Attribute, Leaf, TreeFile

_WHITENING_PARTS = ("mean", "matrix", "inverse")


class SetWriter:
    """Turns sets into leaves; sets with the same whitening share one copy of it."""

    def __init__(self, x_dtype: ImageDtype) -> None:
        self.leaves: dict[str, Leaf] = {}
        self._x_dtype = x_dtype
        self._whitenings: dict[str, Whitening] = {}

    def add(self, group: str, distilled: DistilledSet) -> None:
        """Add ``distilled`` under ``group``.

        Raises:
            ValueError: a dtype that the file does not hold, values that were not rounded to the
                dtype they are to be stored at, or settings of F that are not plain data.
        """
        x = _exact(distilled.x, "x")
        self.leaves[f"{group}/x"] = Leaf(
            self._images(x, distilled.space), self._space_attributes(group, distilled.space)
        )
        y = distilled.y.detach().cpu().numpy()
        self.leaves[f"{group}/y"] = Leaf(y, {"kind": distilled.kind})
        if distilled.F is not None:
            self.leaves[f"{group}/F"] = _features_leaf(distilled.F, distilled.features)
        if distilled.lr is not None:
            self.leaves[f"{group}/lr"] = Leaf(np.asarray(distilled.lr, np.float64))

    def _images(self, x: Array, space: Space) -> Array:
        if self._x_dtype == "float32":
            return x
        pixels = encode_images(x, space)
        if not _same_bits(decode_images(pixels, space), x):
            raise ValueError("x is not exact as uint8; pass it through round_images first")
        return pixels

    def _space_attributes(self, group: str, space: Space) -> dict[str, Attribute]:
        attrs: dict[str, Attribute] = {"space": space.name}
        if space.mean:
            attrs["mean"] = np.asarray(space.mean, np.float64)
            attrs["std"] = np.asarray(space.std, np.float64)
        if space.whitening is not None:
            attrs["whitening"] = self._whitening_path(group, space.whitening)
        return attrs

    def _whitening_path(self, group: str, whitening: Whitening) -> str:
        for path, known in self._whitenings.items():
            if _same_whitening(known, whitening):
                return path
        path = f"{group}/zca"
        self._whitenings[path] = whitening
        for part in _WHITENING_PARTS:
            tensor = getattr(whitening, part)
            self.leaves[f"{path}/{part}"] = Leaf(_exact(tensor, f"the whitening's {part}"))
        return path


class SetReader:
    """Reads sets from an open file; whitenings that are shared there are shared here."""

    def __init__(self, file: TreeFile) -> None:
        self._file = file
        self._whitenings: dict[str, Whitening] = {}

    def read(self, group: str) -> DistilledSet:
        """The set under ``group``.

        Raises:
            BadInput: a part is missing, damaged, or does not fit the others.
        """
        x, y = self._file.leaf(f"{group}/x"), self._file.leaf(f"{group}/y")
        F, features = self._features(f"{group}/F")
        lr = self._lr(f"{group}/lr")
        path = x.attrs.get("whitening")
        whitening = self._whitening(str(path)) if path is not None else None
        try:
            space = _space(x, whitening)
            pixels = _array(x)
            images = decode_images(pixels, space) if pixels.dtype == np.uint8 else pixels
            return DistilledSet(
                x=torch.from_numpy(images),
                y=torch.from_numpy(_array(y)),
                space=space,
                kind=cast(LabelKind, y.attrs["kind"]),
                F=F,
                features=features,
                lr=lr,
            )
        except (ValueError, KeyError) as error:
            raise self._file.bad(f"'{group}' is not a valid set: {error}") from error

    def _whitening(self, path: str) -> Whitening:
        if path not in self._whitenings:
            parts = [
                torch.from_numpy(_array(self._file.leaf(f"{path}/{part}")))
                for part in _WHITENING_PARTS
            ]
            self._whitenings[path] = Whitening(*parts)
        return self._whitenings[path]

    def _features(self, path: str) -> tuple[Tensor | None, dict[str, Any]]:
        if not self._file.has(path):
            return None, {}
        leaf = self._file.leaf(path)
        scale, zero = leaf.attrs.get("scale"), leaf.attrs.get("zero")
        encoded = Encoded(_array(leaf), cast(Array, scale), cast(Array, zero))
        features = json.loads(str(leaf.attrs["features"]))
        return torch.from_numpy(decode_features(encoded)), features

    def _lr(self, path: str) -> float | tuple[float, ...] | None:
        if not self._file.has(path):
            return None
        values = _array(self._file.leaf(path))
        return tuple(values.tolist()) if values.ndim else float(values)


def _space(x: Leaf, whitening: Whitening | None) -> Space:
    mean, std = (tuple(np.asarray(x.attrs.get(name, ())).tolist()) for name in ("mean", "std"))
    return Space(cast(SpaceName, x.attrs["space"]), mean, std, whitening)


def _features_leaf(F: Tensor, features: Mapping[str, Any]) -> Leaf:
    dtype = cast(FeatureDtype, features.get("dtype", "float32"))
    values = _exact(F, "F")
    encoded = encode_features(values, dtype)
    if not _same_bits(decode_features(encoded), values):
        raise ValueError(f"F is not exact as {dtype}; pass it through round_features first")
    try:
        text = json.dumps(features, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"the settings of F must be plain data: {error}") from None
    attrs: dict[str, Attribute] = {"features": text, "dtype": dtype}
    if encoded.scale is not None and encoded.zero is not None:
        attrs |= {"scale": encoded.scale, "zero": encoded.zero}
    return Leaf(encoded.values, attrs)


def _exact(tensor: Tensor, name: str) -> Array:
    if tensor.dtype != torch.float32:
        raise ValueError(f"{name} must be float32, found {str(tensor.dtype)[6:]}")
    return np.ascontiguousarray(tensor.detach().cpu().numpy())


def _same_bits(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool((a.view(np.uint32) == b.view(np.uint32)).all())


def _same_whitening(a: Whitening, b: Whitening) -> bool:
    pairs = [(getattr(a, part), getattr(b, part)) for part in _WHITENING_PARTS]
    return all(x is y or torch.equal(x.cpu(), y.cpu()) for x, y in pairs)


def _array(leaf: Leaf) -> Array:
    if not isinstance(leaf.value, np.ndarray):
        raise ValueError("expected an array")
    return leaf.value
