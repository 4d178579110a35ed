"""The colours of the page and of the figures, told apart by colour-blind readers too.

A slot is a colour and a symbol. The colours are distinct hues of different lightness, each with a
contrast of at least 3 : 1 to the paper of its theme; where they repeat, the symbol differs.
"""

from __future__ import annotations

from collections.abc import Sequence

Colour = tuple[int, int, int]

LIGHT = ("#0067a5", "#c4500a", "#00795a", "#9b3f8f", "#8a6500", "#1491b5", "#5a5f66")
"""One per slot, on white paper."""
DARK = ("#5cb3f0", "#ff9255", "#2cc795", "#e08fd6", "#e6bf3f", "#7fdbea", "#b6bcc4")
"""The same hues on dark paper."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon")
"""As plotly names them; as many as share no divisor with the colours, so that pairs repeat late."""

_SCALE: tuple[Colour, ...] = (  # from low to high: lightness alone tells the order
    (247, 251, 240), (197, 228, 193), (117, 196, 190), (46, 141, 184), (15, 83, 143), (6, 40, 85),
)  # fmt: skip
_INKS: tuple[Colour, Colour] = ((0, 0, 0), (255, 255, 255))


def colour(slot: int, colours: Sequence[str] = LIGHT) -> str:
    """The colour of a slot."""
    return colours[slot % len(colours)]


def symbol(slot: int) -> str:
    """The symbol of a slot, as plotly names it."""
    return SYMBOLS[slot % len(SYMBOLS)]


def heat(share: float) -> tuple[str, str]:
    """Background and text colour of a cell whose value lies at ``share`` in [0, 1] of the range.

    The text is black or white, whichever contrasts more: 4.5 : 1 or better for every share.
    """
    position = min(max(share, 0.0), 1.0) * (len(_SCALE) - 1)
    step = min(int(position), len(_SCALE) - 2)
    low, high = _SCALE[step], _SCALE[step + 1]
    part = position - step
    back = tuple(round(a + (b - a) * part) for a, b in zip(low, high, strict=True))
    ink = max(_INKS, key=lambda ink: contrast(ink, back))
    return _hex(back), _hex(ink)


def contrast(one: Sequence[int], other: Sequence[int]) -> float:
    """The contrast ratio of two sRGB colours by WCAG 2, from 1 to 21."""
    lights = sorted((_luminance(one), _luminance(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def parse(text: str) -> Colour:
    """``#rrggbb`` as three numbers from 0 to 255."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _luminance(colour: Sequence[int]) -> float:
    parts = (value / 255 for value in colour)
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _hex(colour: Sequence[int]) -> str:
    return "#" + "".join(f"{value:02x}" for value in colour)
