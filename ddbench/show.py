"""A distilled set as one picture: a row per class, its images side by side, F beside them.

Axes: N synthetic images, C channels, H, W, K classes, M features per image or class.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddbench import store
from ddbench.data import unnormalise
from ddbench.distilled import DistilledSet
from ddbench.errors import BadInput
from ddbench.store.atomic import publish

log = logging.getLogger(__name__)

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

MIN_SIDE = 32  # pixels of the shorter side of an image in the picture
GAP = 2  # pixels between tiles and around them
_BACKGROUND = 255
_HEAT = np.array(  # from low to high
    [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], np.float64
)


def save(path: Path, out: Path, features: bool = False) -> None:
    """Write the picture of the final set of a result file as PNG.

    Raises:
        BadInput: the file holds no set (or no F, with ``features``), or ``out`` is no ``*.png``.
        OSError: the file system refused.
    """
    if out.suffix.lower() != ".png":
        raise BadInput("is not the name of a PNG picture", file=out, allowed="NAME.png")
    data_set = store.read_set(path)
    try:
        picture = image_grid(data_set, features=features)
    except BadInput as error:
        raise error.at(file=path) from None
    with publish(out) as temporary:
        picture.save(temporary, format="PNG")


def image_grid(
    data_set: DistilledSet, columns: int = 10, classes: int = 100, features: bool = False
) -> Image.Image:
    """The set as a picture: images in [0, 1] without normalisation or whitening.

    Every pixel becomes a square of equal pixels, so that an image is at least ``MIN_SIDE`` wide
    and high. Images of 1 channel are grey; of another number than 3, the grey mean of them.
    With ``features`` every image is followed by M heat maps of its F (a row by those of its class,
    where F is per class): the mean over channels, or for items without positions one cell per
    channel, wrapped into lines. Colours run from the least to the largest value of feature set m.

    Args:
        columns: at most so many images per class.
        classes: at most so many classes.

    Raises:
        BadInput: features asked for but the set has none, or a whitened set without its transform.
    """
    if features and data_set.F is None:
        raise BadInput("the set has no features F to show", field="--features")
    rows = _rows_of(data_set, columns, classes)
    tiles = _tiles(data_set)
    height, width = tiles.shape[1:3]
    maps = _maps(data_set.F, height, width) if features and data_set.F is not None else None
    per_class = data_set.features.get("granularity") == "per_class"
    lines: list[list[Pixels]] = []
    for label, members in rows:
        line: list[Pixels] = []
        for member in members:
            line.append(tiles[member])
            line += [] if maps is None or per_class else list(maps[member])
        line += list(maps[label]) if maps is not None and per_class else []
        lines.append(line)
    return _assemble(lines, height, width)


def _rows_of(data_set: DistilledSet, columns: int, classes: int) -> list[tuple[int, list[int]]]:
    """Per class its label and the rows of its images; what is left out is logged."""
    hard = data_set.kind == "index"
    labels = (data_set.y if hard else data_set.y.argmax(1)).cpu()
    known = sorted(set(labels.tolist()))
    members = {label: torch.nonzero(labels == label)[:, 0].tolist() for label in known}
    if len(known) > classes or max(map(len, members.values()), default=0) > columns:
        log.info("showing at most %d images of each of at most %d classes", columns, classes)
    return [(label, members[label][:columns]) for label in known[:classes]]


def _tiles(data_set: DistilledSet) -> Pixels:
    """Images as uint8 [N, H * f, W * f, 3], f the factor of enlargement."""
    try:
        x = unnormalise(data_set.x.detach(), data_set.space).cpu()
    except ValueError as error:
        raise BadInput(f"its images cannot be shown: {error}") from None
    channels, height, width = x.shape[1:]
    x = x if channels == 3 else x.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    factor = max(1, math.ceil(MIN_SIDE / min(height, width)))
    pixels: Pixels = x.nan_to_num().mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    return pixels.repeat(factor, 1).repeat(factor, 2)


def _maps(F: Tensor, height: int, width: int) -> Pixels:
    """F [N or K, M, c, h, w] as heat maps, uint8 [N or K, M, height, width, 3]."""
    values = F.detach().float().cpu().nan_to_num()
    if values.dim() != 5:
        raise BadInput(f"F has shape {list(F.shape)}", allowed="[N or K, M, c, h, w]")
    cells = (_strip(values) if values.shape[3:] == (1, 1) else values.mean(2)).double().numpy()
    seen = np.isfinite(cells)
    low = np.where(seen, cells, np.inf).min((0, 2, 3), keepdims=True)
    high = np.where(seen, cells, -np.inf).max((0, 2, 3), keepdims=True)
    share = np.where(seen, (cells - low) / np.where(high > low, high - low, 1), 0)
    colours = _heat(share)
    colours[~seen] = _BACKGROUND
    return _stretch(colours, height, width)


def _strip(values: Tensor) -> Tensor:
    """Channels [n, M, c, 1, 1] wrapped into lines [n, M, side, side]; NaN where there is none."""
    count, sets, channels = values.shape[:3]
    side = math.ceil(math.sqrt(channels))
    cells = values.new_full((count, sets, side * side), torch.nan)
    cells[..., :channels] = values[..., 0, 0]
    return cells.view(count, sets, side, side)


def _heat(share: np.ndarray[Any, np.dtype[np.float64]]) -> Pixels:
    """Numbers in [0, 1] as colours: uint8 with a last axis of 3."""
    stops = np.linspace(0, 1, len(_HEAT))
    parts = [np.interp(share, stops, _HEAT[:, channel]) for channel in range(3)]
    return np.rint(np.stack(parts, -1)).astype(np.uint8)


def _stretch(colours: Pixels, height: int, width: int) -> Pixels:
    """The nearest cell for every pixel: [n, M, h, w, 3] to [n, M, height, width, 3]."""
    h, w = colours.shape[2:4]
    return colours[:, :, np.arange(height) * h // height][:, :, :, np.arange(width) * w // width]


def _assemble(lines: list[list[Pixels]], height: int, width: int) -> Image.Image:
    """Tiles of one size on a white page."""
    across = max((len(line) for line in lines), default=0)
    page = np.full(
        (GAP + len(lines) * (height + GAP), GAP + across * (width + GAP), 3), _BACKGROUND, np.uint8
    )
    for row, line in enumerate(lines):
        for column, tile in enumerate(line):
            top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
            page[top : top + height, left : left + width] = tile
    return Image.fromarray(page)
