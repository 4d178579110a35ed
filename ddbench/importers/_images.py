"""Decoding image files of others: PNG and JPEG, of the size they say, and not too large."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from ddbench.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image as Picture
    from torch import Tensor

    from ddbench.importers._source import Source

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
UNREAD = {".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp"}
"""Endings of images that no published set has: refused where they lie among the others."""

_MAGIC = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff"}
_FILE_BYTES = 64 << 20
_PIXELS = 1 << 24  # 4096 x 4096


def decode(source: Source, names: Sequence[str]) -> Tensor:
    """The images as uint8 [N, C, H, W]; C is 1 where all are grey, else 3.

    Raises:
        BadInput: a file that is not what its ending says, is damaged or too large, has another
            size than the first, or pixels that are not 8-bit grey or RGB without transparency.
    """
    import numpy as np
    import torch

    first = _open(source, names[0])
    width, height = first.size
    if len(names) * width * height * 3 > source.limits.elements:
        raise source.bad(f"holds {len(names)} images of {width}x{height} pixels: too many")
    x = torch.empty(len(names), 3, height, width, dtype=torch.uint8)
    grey = True
    for row, name in enumerate(names):
        picture = _open(source, name)
        if picture.size != first.size:
            found = f"{picture.width}x{picture.height}"
            raise source.bad(
                f"has {found} pixels, '{names[0]}' {width}x{height}; all have to have one size",
                name=name,
            )
        grey = grey and picture.mode == "L"
        pixels = np.asarray(picture.convert("RGB"))
        x[row] = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    return x[:, :1].clone() if grey else x


def _open(source: Source, name: str) -> Picture:
    """A decoded image of mode L or RGB."""
    from PIL import Image

    data = source.read_bytes(name, _FILE_BYTES)
    kind = FORMATS[name[name.rindex(".") :].lower()]
    if not data.startswith(_MAGIC[kind]):
        raise source.bad(f"is no {kind} image", name=name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=[kind])
        if picture.width * picture.height > _PIXELS:
            raise source.bad(f"claims {picture.width}x{picture.height} pixels", name=name)
        picture.load()
    except BadInput:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise source.bad("claims more pixels than any image of a set has", name=name) from None
    except Exception as error:  # of a decoder: almost any type
        raise source.bad(f"cannot be decoded ({error})", name=name) from None
    if picture.mode in ("RGBA", "P", "1"):
        return _plain(source, name, picture)
    if picture.mode not in ("L", "RGB"):
        raise source.bad(f"has pixels of mode {picture.mode}", name=name, allowed="L, RGB")
    return picture


def _plain(source: Source, name: str, picture: Picture) -> Picture:
    """Palettes and opaque RGBA as RGB."""
    opaque = picture.convert("RGBA")
    if opaque.getchannel("A").getextrema() != (255, 255):
        raise source.bad("is transparent in parts", name=name)
    return opaque.convert("RGB")
