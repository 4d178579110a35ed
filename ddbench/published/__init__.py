"""Numbers that papers report, each with its source, and what to cite for them.

``numbers.csv`` holds one row per published number; ``references.yaml`` titles and BibTeX of methods
that ddbench does not have. Nothing here was measured by ddbench. See docs/published.md.
"""

from __future__ import annotations

from ddbench.published._numbers import (
    KINDS,
    LABELS,
    Kind,
    Labels,
    PublishedNumber,
    find,
    load,
    methods_at,
    read,
)
from ddbench.published._references import References, reference, references, title_of

__all__ = [
    "KINDS", "LABELS", "Kind", "Labels", "PublishedNumber", "References", "find", "load",
    "methods_at", "read", "reference", "references", "title_of",
]  # fmt: skip
