"""From result files to the table of a paper: ``collect``, ``summarise``, ``render``."""

from collections.abc import Sequence
from pathlib import Path

from ddbench.leaderboard.records import collect
from ddbench.leaderboard.render import FORMATS, render
from ddbench.leaderboard.summary import summarise
from ddbench.leaderboard.view import footer


def table(
    paths: Sequence[Path], *, fmt: str = "github", by_bytes: bool = False, published: bool = False
) -> str:
    """The table of all results at or below ``paths``: the three steps in one.

    Args:
        fmt: one of ``FORMATS``.
        by_bytes: sort by bytes instead of by IPC.
        published: always with the columns of published numbers, and with their sources.

    Raises:
        BadInput: a path that does not exist or holds toy runs, or an unknown format.
    """
    return render(summarise(collect(paths), by_bytes=by_bytes), fmt, published=published)


__all__ = ["FORMATS", "collect", "footer", "render", "summarise", "table"]
