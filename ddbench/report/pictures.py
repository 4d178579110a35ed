"""Pictures of the synthetic sets: one per set, of its lowest seed, as PNG inside the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from ddbench import store
from ddbench.distilled import DistilledSet
from ddbench.errors import BadInput
from ddbench.report.grouping import spread
from ddbench.report.sets import StoredSet, stored_sets
from ddbench.show import image_grid

MAX_PICTURES = 24
"""Sets that are shown, every dataset in turn."""
MAX_BYTES = 16 * 2**20
"""PNG bytes of all pictures together."""
CLASSES, COLUMNS = 10, 10
"""Rows of a picture, and images per row."""
SMALL = 240
"""Pixels: narrower pictures are enlarged."""


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        title: the set, without its dataset.
        alt: what is to be seen.
        source: a ``data:`` URL.
        width, height: pixels as shown: small pictures are enlarged by half.
    """

    dataset: str
    title: str
    alt: str
    source: str
    width: int
    height: int


def pictures(frame: pd.DataFrame) -> tuple[list[Picture], list[str]]:
    """The pictures of the sets of ``frame``, and sentences on what is not shown."""
    every = stored_sets(frame)
    chosen = spread(every, [each.dataset for each in every], MAX_PICTURES)
    found: list[Picture] = []
    notes: list[str] = []
    size = 0
    for each in chosen:
        try:
            picture = _picture(each)
        except BadInput as error:
            notes.append(f"No picture of {each.title} on {each.dataset}: {error.problem}.")
            continue
        size += len(picture.source)
        if size > MAX_BYTES:
            break
        found.append(picture)
    if len(found) + len(notes) < len(every):
        notes.append(
            f"Pictures of {len(found)} of {len(every)} sets are shown; "
            "'ddbench show' makes one of any set."
        )
    return found, notes


def _picture(each: StoredSet) -> Picture:
    data_set = store.read_set(Path(each.path))
    image = image_grid(data_set, COLUMNS, CLASSES, features=data_set.F is not None)
    zoom = 1.5 if image.width < SMALL else 1.0
    width, height = (round(side * zoom) for side in image.size)
    return Picture(each.dataset, each.title, _alt(each, data_set), _data_url(image), width, height)


def _alt(each: StoredSet, data_set: DistilledSet) -> str:
    """What a picture shows, for readers who cannot see it."""
    hard = data_set.kind == "index"
    labels = data_set.y if hard else data_set.y.argmax(1)
    counts = labels.bincount()
    classes, per_class = int((counts > 0).sum()), int(counts.max())
    text = (
        f"Synthetic images of {each.title} on {each.dataset}, seed {each.seed}: "
        f"{_of(CLASSES, classes)} classes as rows, {_of(COLUMNS, per_class)} images per class"
    )
    if data_set.F is None:
        return f"{text}."
    place = "row" if data_set.features.get("granularity") == "per_class" else "image"
    return f"{text}; after each {place} its privileged features F as heat maps."


def _of(limit: int, count: int) -> str:
    return f"{limit} of {count}" if count > limit else str(count)


def _data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
