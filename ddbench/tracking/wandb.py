"""Weights & Biases, offline unless its own variables ask for its server.

``WANDB_MODE`` decides; without it a ``WANDB_API_KEY`` means online. Every process opens the run by
the same id. Code, console and git are not sent: a result file names the commit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ddbench.scalars import Row
from ddbench.tracking import Run, tag

if TYPE_CHECKING:
    import wandb

PACKAGE = "wandb"
_PATIENCE = 60.0
"""Seconds that a server may keep a run waiting at its beginning and at its end."""


def start(run: Run) -> WeightsAndBiases:
    """Open the run; raises what ``wandb`` does without its server or a key."""
    import wandb

    otherwise = "online" if os.environ.get("WANDB_API_KEY") else "offline"
    mode: Any = os.environ.get("WANDB_MODE") or otherwise
    offline = mode == "offline"
    return WeightsAndBiases(
        wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "ddbench", mode=mode,
            id=run.id, name=run.name, group=run.group, config=dict(run.config), dir=run.folder,
            resume=None if offline else "allow",
            reinit="create_new",  # whoever calls ddbench may have a run open
            settings=wandb.Settings(
                console="off", silent=offline, disable_git=True, save_code=False,
                disable_job_creation=True, init_timeout=_PATIENCE, finish_timeout=_PATIENCE,
                finish_timeout_raises=True,
            ),
        )
    )  # fmt: skip


class WeightsAndBiases:
    """The run as one process sees it. A step that the server has is not taken again."""

    def __init__(self, run: wandb.Run) -> None:
        self._run = run

    def rows(self, rows: Iterable[Row]) -> None:
        """See ``Tracker``."""
        for iteration, scalars in rows:
            self._run.log({tag(name): value for name, value in scalars.items()},
                          step=iteration, commit=True)  # fmt: skip

    def summary(self, values: Mapping[str, float], iteration: int) -> None:
        """See ``Tracker``."""
        self._run.summary.update(dict(values))

    def close(self, *, failed: bool) -> None:
        """See ``Tracker``."""
        self._run.finish(exit_code=int(failed))
