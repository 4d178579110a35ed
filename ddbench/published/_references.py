"""Titles and BibTeX by slug: those of ddbench's own methods, else those of references.yaml."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from ddbench import methods
from ddbench.errors import BadInput
from ddbench.spec import Spec, read_yaml

_FILE = Path(__file__).with_name("references.yaml")


class Reference(Spec):
    """A method or another work: its title in tables, and its BibTeX or whose paper it stands in."""

    title: str
    bibtex: str = ""
    paper_of: str | None = Field(None, description="slug of the method that the paper is about")


class Dataset(Spec):
    """A dataset that ddbench has no facts of; ``at_size``: its name in ddbench, at other sizes."""

    title: str
    at_size: str | None = None


class References(Spec):
    """The file ``references.yaml``: entries by slug."""

    methods: dict[str, Reference]
    works: dict[str, Reference]
    datasets: dict[str, Dataset]
    networks: dict[str, str]

    @model_validator(mode="after")
    def _papers_are_known(self) -> Self:
        for slug, entry in self.methods.items():
            if entry.paper_of and entry.paper_of not in {*self.methods, *methods.names()}:
                raise BadInput(f"found '{entry.paper_of}'", field=f"methods.{slug}.paper_of",
                               allowed="the slug of a method")  # fmt: skip
        return self


@cache
def references() -> References:
    """The file, read once; raises ``BadInput`` naming the field that is wrong."""
    return References.parse(read_yaml(_FILE), file=_FILE)


def title_of(slug: str) -> str:
    """What tables call a method or work: ``datm`` is DATM. A slug that nobody knows is its own."""
    if slug in methods.names():
        return methods.method_class(slug).title or slug
    entry = _entry(slug)
    return entry.title if entry else slug


def reference(slug: str) -> str | None:
    """The BibTeX of a method or of another work (``drupi``, ``ddranking``, ``dcbench``).

    None for one without a paper, such as random images, and for a slug that nobody knows.
    """
    if slug in methods.names():
        return methods.method_class(slug).bibtex.strip() or None
    entry = _entry(slug)
    if entry is None:
        return None
    if entry.paper_of:
        return reference(entry.paper_of)
    return entry.bibtex.strip() or None


def _entry(slug: str) -> Reference | None:
    known = references()
    return known.methods.get(slug) or known.works.get(slug)
