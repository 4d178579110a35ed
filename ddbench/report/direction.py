"""Text of results beside other text: without the characters that change its direction."""

from __future__ import annotations

_CONTROLS = dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
"""Unicode's Bidi_Control: marks, embeddings, overrides and isolates, mapped to nothing."""


def undirected(text: str) -> str:
    """``text`` without bidirectional controls, which could reorder what stands around it.

    Letters that run from right to left stay as they are.
    """
    return text.translate(_CONTROLS)
