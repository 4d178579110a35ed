"""Augmentations as pure functions of (images, parameters).

Axes: B images of a batch, K members of a stack of networks trained side by side, C channels, H, W;
n uniform numbers per image and member. Every augmentation splits in three: numbers are drawn
(``draw``), numbers become parameters (``Augmentation.record``), parameters change images
(``Augmentation.apply``). The last two never make the host wait for the device and have static
shapes, so they can be captured in a CUDA graph (after one call outside the capture, which fills
their caches of constants).

An augmentation is added by adding a module here that binds ``AUGMENTATION`` to its class.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from ddbench import plugins
from ddbench.errors import unknown
from ddbench.spec import Spec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Shape = tuple[int, int, int]
Record = dict[str, "Tensor"]
Convert = Callable[["Tensor"], "Tensor"]
"""Images float [n, C, H, W] of one value space to the same in another."""


class Augmentation(Spec):
    """A pure function of (x, record).

    x is [B, K, C, H, W], or [B, 1, C, H, W] for images that all members share. The leading axes of
    a record's tensors are [B, K], or [1, K] for parameters that all images of a batch share; both
    broadcast, and the result is always [B, K, C, H, W].

    The siamese rule of DSA (one record for the real and the synthetic batch of a class; Zhao and
    Bilen, ICML 2021, section 3.2) needs nothing of its own: draw numbers for a batch of one, build
    the record once and apply it to both batches.
    """

    needs_pixels: ClassVar[bool] = False
    """Whether ``bind`` must give it the way from the value space to pixels and back."""

    name: str

    def bind(self, to_pixels: Convert, from_pixels: Convert) -> Self:
        """The augmentation for images of one value space; whoever trains binds it once.

        Only augmentations of pixels need it (those that pad with black or round to 8 bits); the
        others return themselves. What is bound is no field: keys and recipes do not change.

        Args:
            to_pixels: takes images of the space to pixels in [0, 1].
            from_pixels: takes them back.
        """
        return self

    @abstractmethod
    def uniforms(self, shape: Shape) -> int:
        """How many numbers from [0, 1) one image of ``shape`` (C, H, W) needs."""

    @abstractmethod
    def record(self, u: Tensor, shape: Shape) -> Record:
        """Parameters from uniform numbers; the same numbers always give the same parameters.

        Args:
            u: float [B, K, n] in [0, 1), n = ``uniforms(shape)``. Choices made once per batch read
                ``u[0, k, 0]`` of each member k.
            shape: (C, H, W) of one image.
        """

    @abstractmethod
    def apply(self, x: Tensor, record: Record) -> Tensor:
        """Augmented images [B, K, C, H, W] in the dtype of x; gradients flow to x."""


def names() -> tuple[str, ...]:
    """The known augmentations, sorted."""
    return plugins.names(__name__)


def load(name: str) -> type[Augmentation]:
    """The class of augmentation ``name``; raises ``BadInput`` naming the known ones."""
    if name not in names():
        raise unknown("augmentation", name, names())
    found: type[Augmentation] = plugins.load(__name__, name).AUGMENTATION
    return found


def draw(
    augmentation: Augmentation,
    generators: Sequence[torch.Generator],
    steps: int,
    batch: int,
    shape: Shape,
) -> Tensor:
    """Uniform float32 numbers in [0, 1) for ``steps`` batches, [steps, B, K, n], K generators.

    Member k's numbers come from ``generators[k]`` alone, so they do not depend on the size of the
    stack. The result is on the generators' device.
    """
    import torch

    size = (steps, batch, augmentation.uniforms(shape))
    members = [
        torch.rand(size, generator=each, device=each.device, dtype=torch.float32)
        for each in generators
    ]
    return torch.stack(members, dim=2)


# --- shared by the augmentations ---------------------------------------------------------------


def parse_strategy(strategy: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """The operations of a strategy such as ``crop_scale_rotate``, in its order.

    Raises:
        ValueError: an operation that is not allowed or stands twice (pydantic adds the field).
    """
    found = tuple(strategy.split("_"))
    for index, operation in enumerate(found):
        if operation not in allowed:
            raise ValueError(str(unknown("operation", operation, allowed)))
        if operation in found[:index]:
            choices = ", ".join(sorted(allowed))
            raise ValueError(f"operation '{operation}' stands twice; allowed once each: {choices}")
    return found


def integers(u: Tensor, count: int) -> Tensor:
    """Uniform int64 in 0..count-1 from u in [0, 1)."""
    import torch

    # In float32 the product of the largest u can round up to count.
    return (u * count).floor().clamp(max=count - 1).to(torch.int64)


def spread(x: Tensor, parameter: Tensor) -> Tensor:
    """x [B, K or 1, C, H, W] expanded to the members of ``parameter`` [B or 1, K, ...]."""
    members = max(x.shape[1], parameter.shape[1])
    return x.expand(-1, members, -1, -1, -1)


def per_image(parameter: Tensor) -> Tensor:
    """A parameter [B, K] as [B, K, 1, 1, 1], to combine with images."""
    return parameter[..., None, None, None]


def shift(x: Tensor, rows: Tensor, columns: Tensor, fill: Tensor | float) -> Tensor:
    """out[b, k, c, i, j] = x[b, k, c, i + rows[b, k], j + columns[b, k]], ``fill`` outside of x.

    Args:
        x: [B, K, C, H, W].
        rows, columns: int64 [B or 1, K].
        fill: a number, or a tensor that broadcasts to x.
    """
    import torch

    down = torch.arange(x.shape[-2], device=x.device) + rows[..., None]
    right = torch.arange(x.shape[-1], device=x.device) + columns[..., None]
    return take(x, down, right, fill)


def mirror(x: Tensor, chosen: Tensor) -> Tensor:
    """x [B, K, C, H, W] flipped left to right where ``chosen``, bool [B or 1, K]."""
    import torch

    return torch.where(per_image(chosen), x.flip(-1), x)


def take(x: Tensor, rows: Tensor, columns: Tensor, fill: Tensor | float) -> Tensor:
    """out[b, k, c, i, j] = x[b, k, c, rows[b, k, i], columns[b, k, j]], ``fill`` outside of x.

    Args:
        x: [B, K, C, H, W].
        rows: int64 [B or 1, K, H], any value; outside 0..H-1 means outside of the image.
        columns: int64 [B or 1, K, W], likewise.
        fill: a number, or a tensor that broadcasts to x.
    """
    import torch

    height, width = x.shape[-2:]
    row_inside = (rows >= 0) & (rows < height)
    column_inside = (columns >= 0) & (columns < width)
    inside = row_inside[:, :, None, :, None] & column_inside[:, :, None, None, :]
    row_index = rows.clamp(0, height - 1)[:, :, None, :, None].expand(x.shape)
    column_index = columns.clamp(0, width - 1)[:, :, None, None, :].expand(x.shape)
    return torch.where(inside, x.gather(-2, row_index).gather(-1, column_index), fill)
