"""Writing a distilled set in other programs' formats, one file per format, found by location.

A module has ``SUMMARY`` and ``write``; ``ddbench export`` publishes what it writes as a whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from ddbench import plugins

if TYPE_CHECKING:
    from ddbench.datasets import DatasetFacts
    from ddbench.distilled import DistilledSet


class Exporter(Protocol):
    """A module of this package.

    Attributes:
        SUFFIX: of the file it writes, such as ``.npz``; empty where it writes a folder.
    """

    SUMMARY: str
    SUFFIX: str

    def write(self, data_set: DistilledSet, facts: DatasetFacts, path: Path) -> list[str]:
        """Write the set to ``path``, a file or folder that does not exist yet.

        Returns:
            What the format cannot hold and was left out or rounded, in sentences.

        Raises:
            BadInput: a set that the format cannot hold at all.
        """


def names() -> tuple[str, ...]:
    """All exporters, sorted."""
    return plugins.names(__name__)


def exporter(name: str) -> Exporter:
    """One exporter's module."""
    return cast(Exporter, plugins.load(__name__, name))
