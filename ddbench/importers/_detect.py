"""From a path to the sets in it: which importer reads it, and what that one says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ddbench import importers
from ddbench.errors import unknown
from ddbench.importers import Found, Options, Reading
from ddbench.importers._refusals import check_foreign, explain
from ddbench.importers._source import Limits, Source

_SHOWN = 6  # names in a message


def detect(source: Source, options: Options) -> tuple[str, str]:
    """The one importer whose format this is, and why.

    Raises:
        BadInput: none, several, or an unknown ``--format``; a file that is no set at all, said why.
    """
    check_foreign(source)
    if options.format != "auto":
        if options.format not in importers.names():
            raise unknown("format", options.format, importers.names(), "--format")
        reason = importers.importer(options.format).matches(source)
        return options.format, reason or f"read as '{options.format}' because --format says so"
    reasons = {
        name: reason
        for name in importers.names()
        if (reason := importers.importer(name).matches(source)) is not None
    }
    if len(reasons) > 1:
        said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise source.bad(f"could be read in several ways ({said})", field="--format",
                         allowed=sorted(reasons))  # fmt: skip
    if not reasons:
        problem = explain(source)
        if problem is not None:
            raise source.bad(problem)
        raise source.bad(f"is of no format that is known ({_looked_at(source)})",
                         field="--format", allowed=importers.names())  # fmt: skip
    return next(iter(reasons.items()))


def read(path: Path, options: Options | None = None, limits: Limits | None = None) -> Reading:
    """All sets of a file, folder or archive, or the one that ``options.replicate`` names.

    Raises:
        BadInput: nothing there, no known format, or content that cannot be used.
    """
    options = options or Options()
    if options != Options():
        from ddbench.importers import _answers

        _answers.check(options)
    with Source.open(path, limits) as source:
        name, reason = detect(source, options)
        try:
            sets = tuple(importers.importer(name).read(source))
        except OSError as error:
            raise source.bad(f"cannot be read ({error.strerror or error})") from None
        if not sets:
            raise source.bad("holds no set")
        _check_independent(source, sets)
        return Reading(
            format=name,
            reasons=(reason,),
            sets=_replicates(source, sets, options.replicate),
            files=dict(sorted(source.used.items())),
        )


def _replicates(source: Source, sets: tuple[Found, ...], wanted: int | None) -> tuple[Found, ...]:
    if wanted is None:
        return sets
    if not 0 <= wanted < len(sets):
        raise source.bad(f"found {wanted}, but the file holds {len(sets)}", field="--replicate",
                         allowed=f"0 to {len(sets) - 1}")  # fmt: skip
    chosen = sets[wanted]
    return (replace(chosen, hints={**chosen.hints, "replicate": wanted, "replicates": len(sets)}),)


def _check_independent(source: Source, sets: tuple[Found, ...]) -> None:
    """Labels that are referenced must stay where they are; an unpacked archive goes away."""
    if any(found.views is not None for found in sets) and source.is_archive:
        raise source.bad("holds a store of labels, which is referenced, not copied: unpack it")


def _looked_at(source: Source) -> str:
    if source.is_folder:
        more = len(source.names) - _SHOWN
        names = [*source.names[:_SHOWN], *([f"{more} more"] if more > 0 else [])]
        looked = f"looked at: {', '.join(names)}; of several sets point at one"
        return looked if names else "the folder is empty"
    head = source.head(source.path.name, 8)
    return f"begins with {head!r}" if head else "is empty"
