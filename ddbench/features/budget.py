"""Bytes of a distilled set, and how many images F leaves room for (DRUPI spec a.6).

    bytes = N * S_x * b_x + F items * S_F * b_F + label bytes
    labels: N * ceil(log2 K) / 8 (index), N * K * b_y (soft)

S_x values per image, S_F values per F item (M * |item|); per class there are K items, not N.
Exact integers, and exact fractions of a byte for labels; torch-free.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddbench.features.spec import FeatureSpec

BYTES_OF = {"float32": 4, "float16": 2, "uint8": 1, "uint8_affine": 1}


@dataclass(frozen=True)
class SetSize:
    """Bytes of each part of a set. Hard labels are counted in bits, so theirs may be a fraction."""

    images: int
    features: int
    labels: float

    @property
    def total(self) -> float:
        """Bytes a user needs in order to train."""
        return self.images + self.features + self.labels


def label_bits(classes: int) -> int:
    """Bits of one hard label: ceil(log2 K)."""
    return (classes - 1).bit_length()


def set_size(
    classes: int,
    ipc: int,
    shape: tuple[int, ...],
    *,
    feature_values: int = 0,
    per_class: bool = False,
    image_bytes: int = 4,
    feature_bytes: int = 4,
    soft_label_bytes: int = 0,
) -> SetSize:
    """Size of a set of ``classes * ipc`` images [C, H, W].

    Args:
        feature_values: M * |item|, numbers of F per image (or per class with ``per_class``).
        image_bytes, feature_bytes: bytes of one stored number of x and of F.
        soft_label_bytes: bytes of one number of a soft label; 0 = hard labels.
    """
    count = classes * ipc
    bits = (
        count * classes * soft_label_bytes * 8 if soft_label_bytes else count * label_bits(classes)
    )
    return SetSize(
        images=count * prod(shape) * image_bytes,
        features=(classes if per_class else count) * feature_values * feature_bytes,
        labels=bits / 8,
    )


def neutral_ipc(
    ipc_ref: int, shape: tuple[int, ...], feature_values: int, *, per_class: bool = False
) -> int:
    """The largest IPC at which images and F take no more numbers than ``ipc_ref`` plain images.

    per image: floor(ipc_ref * S_x / (S_x + S_F)); per class: max(0, floor(ipc_ref - S_F / S_x)).
    """
    image_values = prod(shape)
    if per_class:
        return max(0, (ipc_ref * image_values - feature_values) // image_values)
    return ipc_ref * image_values // (image_values + feature_values)


def feature_values(spec: FeatureSpec | None, item: tuple[int, ...]) -> int:
    """M * |item| of a ``features`` block; 0 without one."""
    return spec.n_feat * prod(item) if spec else 0
