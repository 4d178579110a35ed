"""The exceptions that reach a user, each worded so that the next step is clear."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class BadInput(Exception):
    """Something the user wrote cannot be used. The command line prints it and exits with 2.

    Not a ``ValueError`` on purpose: pydantic passes other exceptions through unchanged, so a
    validator can name the field itself.

    Args:
        problem: what is wrong, without the place.
        file: the file it stands in, as the user named it.
        field: dotted path of the field, such as ``method.lr_img``.
        allowed: what would have been accepted.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: object | None = None,
        field: str | None = None,
        allowed: str | Iterable[object] | None = None,
    ) -> None:
        self.problem = problem
        self.file = file
        self.field = field
        self.allowed = (
            allowed
            if allowed is None or isinstance(allowed, str)
            else ", ".join(str(item) for item in allowed)
        )
        super().__init__(problem)

    def at(self, *, file: object | None = None, prefix: str | None = None) -> BadInput:
        """The same problem with its place completed; what is already known stays."""
        field = ".".join(part for part in (prefix, self.field) if part) or None
        return BadInput(self.problem, file=self.file or file, field=field, allowed=self.allowed)

    def __str__(self) -> str:
        place = ": ".join(str(part) for part in (self.file, self.field) if part)
        text = f"{place}: {self.problem}" if place else self.problem
        text = f"{text}; allowed: {self.allowed}" if self.allowed else text
        # One line, whatever the user's text holds.
        return printable(text)


def printable(text: str) -> str:
    """``text`` on one line and without control characters, which could steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class RunFailed(Exception):
    """A run could not be completed (exit code 1); what was finished before it is kept."""


class CutOff(Exception):
    """A run was stopped from outside and can be resumed (exit code 75)."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like ``name``, or None. Short slips such as ``dn`` for ``dm`` count."""

    def likeness(candidate: str) -> tuple[float, int, int]:
        pair = candidate.lower(), name.lower()
        ratio = difflib.SequenceMatcher(None, *pair).ratio()
        # of equally alike ones the one as long, then the nearer in the alphabet (dn: dm, not dc)
        apart = sum(abs(ord(a) - ord(b)) for a, b in zip(*pair, strict=False))
        return ratio, -abs(len(candidate) - len(name)), -apart

    best = max(sorted(set(known)), key=likeness, default=None)
    return best if best is not None and likeness(best)[0] >= 0.5 else None


def unknown(kind: str, name: object, known: Sequence[str], field: str | None = None) -> BadInput:
    """The error for a name that is not one of ``known``, with the nearest one that is."""
    guess = nearest(str(name), known)
    hint = f"; did you mean '{guess}'?" if guess else ""
    return BadInput(f"unknown {kind} '{name}'{hint}", field=field, allowed=sorted(known))
