"""TensorBoard: event files, written by ``torch.utils.tensorboard``.

Every process appends a file. It begins with a purge: TensorBoard drops what earlier files have of
its first iteration and later ones. The stages of a prefix are one plot in "Custom Scalars".
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ddbench.scalars import Row, stage_of
from ddbench.tracking import Run, tag

if TYPE_CHECKING:
    from pathlib import Path

    from torch.utils.tensorboard import SummaryWriter

PACKAGE = "tensorboard"


def start(run: Run) -> TensorBoard:
    """Nothing is written before there is something to show."""
    return TensorBoard(run)


class TensorBoard:
    """The event file of one process."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._writer: SummaryWriter | None = None
        self._prefixes: set[str] = set()

    def rows(self, rows: Iterable[Row]) -> None:
        """See ``Tracker``."""
        for iteration, scalars in rows:
            writer = self._writer_at(iteration)
            for name, value in scalars.items():
                self._plot_stages(name, writer)
                writer.add_scalar(tag(name), value, iteration)
        self._flush()

    def summary(self, values: Mapping[str, float], iteration: int) -> None:
        """Scalars after the last iteration; those of an earlier summary are purged."""
        writer = self._writer_at(iteration)
        for name, value in values.items():
            writer.add_scalar(name, value, iteration)
        self._flush()

    def close(self, *, failed: bool) -> None:
        """See ``Tracker``."""
        if self._writer is not None:
            self._writer.close()

    def _writer_at(self, iteration: int) -> SummaryWriter:
        """The writer; a new one replaces what there is of ``iteration`` and later ones."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            _await_next_second(self._run.folder)
            self._writer = SummaryWriter(str(self._run.folder), purge_step=iteration)
            if iteration == 0:
                indented = self._run.recipe.replace("\n", "\n    ")  # Markdown for "verbatim"
                self._writer.add_text("recipe", f"    {indented}", 0)
        return self._writer

    def _plot_stages(self, name: str, writer: SummaryWriter) -> None:
        """Lay out one plot per prefix of stages, again when another one turns up."""
        staged = stage_of(name)
        if staged and staged[0] not in self._prefixes:
            self._prefixes.add(staged[0])
            tags = {each: f"{re.escape(each)}/stage_[0-9]+" for each in sorted(self._prefixes)}
            plots = {each: ["Multiline", [pattern]] for each, pattern in tags.items()}
            writer.add_custom_scalars({"stages": plots})

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()


def _await_next_second(folder: Path) -> None:
    """Wait, for a second at most, until the name of a new file sorts behind those there are.

    TensorBoard reads files by their names, which begin with the second they were made in.
    """
    seconds = [int(file.name.split(".")[3]) for file in folder.glob("events.out.tfevents.*")]
    if seconds:
        time.sleep(min(1.0, max(0.0, max(seconds) + 1 - time.time())))
