"""The log of a run: scalars by iteration, kept on the device until they are asked for.

A scalar of one stage of several is named ``PREFIX_stage_K``: whatever draws it puts all stages of a
prefix into one plot. Torch-free at the top.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ddbench.methods import Step

Row = tuple[int, dict[str, float]]
"""An iteration and what was logged of it."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_STAGE = re.compile(r"(.+)_stage_([0-9]+)")


def stage_of(name: str) -> tuple[str, int] | None:
    """``("loss", 3)`` of ``loss_stage_3``; None of a scalar that belongs to no stage."""
    found = _STAGE.fullmatch(name)
    return (found[1], int(found[2])) if found else None


class ScalarLog:
    """Scalars of the iterations so far; not every iteration has to have every name.

    A step's values are copied where they are. They are brought to the CPU together, when a
    checkpoint, a tracker or the result asks for them.
    """

    def __init__(self) -> None:
        self._iterations: list[int] = []
        self._columns: dict[str, list[float]] = {}
        self._waiting: list[tuple[int, dict[str, Tensor]]] = []

    def __len__(self) -> int:
        return len(self._iterations) + len(self._waiting)

    def note(self, step: Step) -> None:
        """Add an iteration, without waiting for the device.

        Raises:
            ValueError: the method logs what is no scalar, or by a name that no column can have.
        """
        from torch import Tensor

        for name, value in step.scalars.items():
            if not isinstance(value, Tensor):
                raise ValueError(f"'{name}' is no tensor and cannot be logged")
            if value.dim() or not _NAME.fullmatch(name) or name == "iteration":
                raise ValueError(f"'{name}' of shape {list(value.shape)} cannot be logged")
        # a copy: a learned step size, for one, is updated in place
        copies = {name: value.detach().clone() for name, value in step.scalars.items()}
        self._waiting.append((step.iteration, copies))

    def rows(self, first: int = 0) -> Iterator[Row]:
        """What was logged, from the ``first``-th iteration on."""
        self._settle()
        for index in range(first, len(self._iterations)):
            row = {name: values[index] for name, values in self._columns.items()}
            present = {name: value for name, value in row.items() if not math.isnan(value)}
            yield self._iterations[index], present

    def columns(self) -> dict[str, np.ndarray[Any, Any]]:
        """float64 [T] by name and int64 ``iteration`` [T]; NaN where a name was not logged."""
        import numpy as np

        self._settle()
        columns = {name: np.asarray(values, float) for name, values in self._columns.items()}
        iterations = {"iteration": np.asarray(self._iterations, dtype=np.int64)}
        return columns | iterations if columns else {}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        import torch

        self._settle()
        columns = self._columns.items()
        return {
            "log_iterations": list(self._iterations),
            "log": {name: torch.tensor(values, dtype=torch.float64) for name, values in columns},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, of which other entries are ignored."""
        self._iterations = list(state["log_iterations"])
        self._columns = {name: values.double().tolist() for name, values in state["log"].items()}
        self._waiting = []

    def _settle(self) -> None:
        """Bring what is new to the CPU: the device is waited for once per name."""
        import torch

        waiting, self._waiting = self._waiting, []
        known = len(self._iterations)
        self._iterations += [iteration for iteration, _ in waiting]
        fresh = (name for _, scalars in waiting for name in scalars)
        for name in dict.fromkeys([*self._columns, *fresh]):
            found = [scalars[name] for _, scalars in waiting if name in scalars]
            values = iter(torch.stack(found).double().tolist() if found else ())
            column = self._columns.setdefault(name, [math.nan] * known)
            column += [next(values) if name in scalars else math.nan for _, scalars in waiting]
