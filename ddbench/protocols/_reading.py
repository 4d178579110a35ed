"""Reading the parts of protocols: names of augmentations and networks, rates, schedules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ddbench import augment, networks, plugins
from ddbench.augment import Augmentation
from ddbench.errors import BadInput, unknown
from ddbench.networks import Network
from ddbench.protocols._schedules import Schedule

LearningRate = float | Literal["learned", "search"]


def parse_augmentation(data: object) -> Augmentation | None:
    """``none``, ``dsa``, ``dc`` or their fields; raises ``BadInput`` with the known names."""
    if data is None or data == "none" or isinstance(data, Augmentation):
        return None if data == "none" else data  # type: ignore[return-value]
    fields = {"name": data} if isinstance(data, str) else data
    name = fields.get("name") if isinstance(fields, dict) else data
    known = plugins.names(augment.__name__)
    if name not in known:
        raise unknown("augmentation", name, ["none", *known])
    family: type[Augmentation] = plugins.load(augment.__name__, str(name)).AUGMENTATION
    return family.parse(fields)


def parse_networks(value: object) -> list[Network] | None:
    """One or several networks by name or fields, each once; raises ``BadInput``."""
    if value is None:
        return None
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    found: list[Network] = []
    for index, item in enumerate(items):
        try:
            network = networks.resolve(item)
        except BadInput as error:
            raise error.at(prefix=f"networks.{index}") from None
        if network.identity() in [other.identity() for other in found]:
            raise BadInput(f"'{network.label}' stands twice", field=f"networks.{index}")
        found.append(network)
    return found


def check_lr(lr: LearningRate | None) -> LearningRate | None:
    """A rate in (0, 100], or a word for where it comes from; raises ``BadInput``."""
    if isinstance(lr, float | int) and not 0 < lr <= 100:
        raise BadInput(f"found {lr}", field="lr",
                       allowed="a number above 0 and up to 100, learned, search")  # fmt: skip
    return lr


def check_grid(grid: list[float] | None) -> list[float] | None:
    """Increasing rates in (0, 100]; raises ``BadInput``."""
    if grid is not None and (
        not grid or sorted(set(grid)) != grid or not 0 < grid[0] <= grid[-1] <= 100
    ):
        raise BadInput(f"found {grid}", field="lr_grid",
                       allowed="increasing rates above 0 and up to 100")  # fmt: skip
    return grid


def check_schedule(schedule: Schedule, epochs: int, warmup: int) -> None:
    """Refuse a warm-up that leaves nothing to train; raises ``BadInput``."""
    if warmup >= epochs:
        raise BadInput(f"found {warmup}", field="warmup", allowed=f"0 to {epochs - 1}")
    if warmup and schedule == "staged":
        raise BadInput(f"found {warmup}", field="warmup", allowed="0 with schedule staged")
