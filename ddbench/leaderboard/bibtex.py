"""What to cite for a table: the BibTeX of the methods, benchmarks and features in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ddbench import published
from ddbench.errors import BadInput, printable

_HEAD = re.compile(r"\s*@(\w+)\s*\{\s*([^\s,{}]+)")
_NAME = re.compile(r"\s*,\s*(\w+)\s*=\s*\{")
_END = re.compile(r"\s*,?\s*\}\s*")


def entries(methods: Iterable[str], *, features: bool, protocols: Iterable[str] = ()) -> str:
    """BibTeX entries, each once, one field a line, by citation key; whatever order is asked in.

    Args:
        methods: slugs; those without a paper are named in a comment above the entries.
        features: whether a row was trained with F.
        protocols: names of evaluation protocols. One that is called after a method or a benchmark
            (``mtt``, ``ddranking-hard``, ``dcbench-2022``) cites it; others are ddbench's own.

    Returns:
        Text that ends with a line break; empty if there is nothing to say.

    Raises:
        BadInput: a method's ``bibtex`` that is no BibTeX with fields in braces.
    """
    slugs = sorted(set(methods))
    works = ["drupi"] if features else []
    works += sorted({name.split("-")[0] for name in protocols})
    without = [slug for slug in slugs if published.reference(slug) is None]
    found = {entry.key: entry for slug in (*slugs, *works) for entry in _cited(slug)}
    parts = [str(found[key]) for key in sorted(found)]
    if without:
        names = ", ".join(printable(published.title_of(slug)) for slug in without)
        parts.insert(0, f"% Without a paper: {names}")
    return "\n\n".join(parts) + "\n" if parts else ""


@dataclass(frozen=True)
class _Entry:
    kind: str
    key: str
    fields: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        fields = ",\n".join(f"  {name} = {{{value}}}" for name, value in self.fields)
        return f"@{self.kind}{{{self.key},\n{fields}\n}}"


def _cited(slug: str) -> list[_Entry]:
    try:
        return list(_parsed(published.reference(slug) or ""))
    except ValueError:
        raise BadInput(f"the BibTeX of '{slug}' cannot be read", field="bibtex",
                       allowed="entries @kind{key, name = {value}, ...}") from None  # fmt: skip


def _parsed(text: str) -> Iterator[_Entry]:
    """The entries of BibTeX text; raises ``ValueError`` where it is none."""
    place = 0
    while text[place:].strip():
        head = _HEAD.match(text, place)
        if head is None:
            raise ValueError
        place, fields = head.end(), []
        while name := _NAME.match(text, place):
            place = _closing(text, name.end())
            fields.append((name[1], " ".join(text[name.end() : place - 1].split())))
        end = _END.match(text, place)
        if end is None:
            raise ValueError
        place = end.end()
        yield _Entry(head[1], head[2], tuple(fields))


def _closing(text: str, start: int) -> int:
    """The place behind the brace that closes what was opened before ``start``."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    raise ValueError
