"""What our safetensors files say of themselves, as JSON in the file's metadata.

The fields are those that a set needs beside its tensors in order to be evaluated.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from ddbench.errors import BadInput
from ddbench.importers import KindOption, SpaceOption
from ddbench.spec import Spec

if TYPE_CHECKING:
    from ddbench.datasets import DatasetFacts
    from ddbench.distilled import DistilledSet

KEY = "ddbench"
WHITENING = ("mean", "matrix", "inverse")
"""Tensors ``whitening.NAME`` of a whitened set: z = (x - mean) @ matrix, x = z @ inverse + mean."""


class Description(Spec):
    """Everything but the tensors x, y, F, lr and the whitening.

    Attributes:
        version: of these fields.
        dataset: its name.
        classes: WordNet ids, or names, in the order of y's indices; empty where it has none.
        space: the value space of x.
        mean, std: per channel, space ``meanstd`` only.
        constants: the family whose mean and std these are.
        kind: what y holds.
        features: the settings of F; empty without F.
    """

    version: Literal[1] = 1
    dataset: str
    classes: tuple[str, ...] = ()
    space: SpaceOption
    mean: tuple[float, ...] = ()
    std: tuple[Annotated[float, Field(gt=0)], ...] = ()
    constants: str | None = None
    kind: KindOption
    features: dict[str, Any] = Field(default_factory=dict)


def describe(data_set: DistilledSet, facts: DatasetFacts) -> str:
    """The JSON text for a set of a dataset."""
    space = data_set.space
    description = Description(
        dataset=facts.name,
        classes=facts.wnids or facts.classes,
        space=space.name,
        mean=space.mean,
        std=space.std,
        constants=family(space.mean, space.std, facts),
        kind=data_set.kind,
        features=data_set.features,
    )
    return json.dumps(description.model_dump(mode="json"), sort_keys=True)


def family(mean: tuple[float, ...], std: tuple[float, ...], facts: DatasetFacts) -> str | None:
    """The first family of constants with this mean and std; None where none has them."""
    return next(
        (name for name, c in facts.constants.items() if (c.mean, c.std) == (mean, std)), None
    )


def parse(text: str, file: object) -> Description:
    """The description in a file; raises ``BadInput`` for one that is not of ours."""
    try:
        return Description.parse(json.loads(text), file=file, field=f"metadata.{KEY}")
    except (ValueError, RecursionError) as error:
        raise BadInput(f"is no JSON ({error})", file=file, field=f"metadata.{KEY}") from None
