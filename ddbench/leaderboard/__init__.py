"""From result files to the table of a paper: ``collect``, ``summarise``, ``render``."""

from ddbench.leaderboard.notes import footer
from ddbench.leaderboard.paper import VIEWS, table
from ddbench.leaderboard.pivot import AXES
from ddbench.leaderboard.recipe_facts import DIVISIONS
from ddbench.leaderboard.records import collect
from ddbench.leaderboard.render import FORMATS, render, sections
from ddbench.leaderboard.section import Section
from ddbench.leaderboard.summary import summarise

__all__ = [
    "AXES", "DIVISIONS", "FORMATS", "VIEWS", "Section", "collect", "footer", "render",
    "sections", "summarise", "table",
]  # fmt: skip
