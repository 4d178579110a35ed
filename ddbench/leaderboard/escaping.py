"""Text of files and users (names, sources, devices) set as it is in Markdown, LaTeX and HTML."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_LATEX = {  # without signs that take another font (textcomp) or encoding (T1)
    **{character: f"\\{character}" for character in "%_&#${}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{DAGGER}": r"$^\dagger$",
    "\N{DOUBLE DAGGER}": r"$^\ddagger$",
    "\N{SECTION SIGN}": r"$^\S$",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{LATIN SMALL LETTER SHARP S}": r"\ss{}",
    "\N{LATIN SMALL LETTER O WITH STROKE}": r"\o{}",
    "\N{LATIN CAPITAL LETTER O WITH STROKE}": r"\O{}",
    "\N{LATIN SMALL LETTER L WITH STROKE}": r"\l{}",
    "\N{LATIN CAPITAL LETTER L WITH STROKE}": r"\L{}",
    "\N{LATIN SMALL LETTER AE}": r"\ae{}",
    "\N{LATIN SMALL LETTER DOTLESS I}": r"\i{}",
}
_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`",
    "\N{COMBINING ACUTE ACCENT}": "'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~",
    "\N{COMBINING DIAERESIS}": '"',
    "\N{COMBINING CEDILLA}": "c",
    "\N{COMBINING CARON}": "v",
    "\N{COMBINING RING ABOVE}": "r",
    "\N{COMBINING MACRON}": "=",
    "\N{COMBINING DOT ABOVE}": ".",
    "\N{COMBINING BREVE}": "u",
}


def latex(text: str) -> str:
    r"""ASCII that LaTeX sets as ``text``; a leading minus becomes a minus sign.

    Accents are written out; what LaTeX has no letter for becomes ``?``.
    """
    escaped = "".join(_latex_character(character) for character in one_line(text))
    return re.sub(r"^-(?=[0-9])", "$-$", escaped)


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii():
        return character
    decomposed = unicodedata.normalize("NFKD", character)
    letter, marks = decomposed[0], decomposed[1:]
    if not letter.isascii() or not letter.isalnum() or not set(marks) <= set(_ACCENTS):
        return "?"
    for mark in marks:
        letter = rf"\{_ACCENTS[mark]}{{{letter}}}"
    return letter


def markdown(text: str) -> str:
    """Markdown, as a table's cell or a line of a list, that shows ``text``."""
    return _MARKDOWN.sub(lambda match: _MARKS.get(match[0], "\\" + match[0]), one_line(text))


# underscores within words are no emphasis, and brackets no link without "(" behind them
_MARKDOWN = re.compile(r"[\\|`*~<]|(?<!\w)_|_(?!\w)|\](?=[(\[:])|&(?=#?\w+;)|^#(?=#* )")
_MARKS = {"<": "&lt;", "&": "&amp;"}


def one_line(text: str) -> str:
    """``text`` without line breaks and control characters."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


@cache
def html_environment() -> Environment:
    """Templates of this package; whatever they are given is escaped."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=False,
    )
