"""Text in the columns of a terminal, where a wide letter takes two and a mark above another none."""

from __future__ import annotations

import unicodedata


def width_of(text: str) -> int:
    """The columns that ``text`` takes."""
    return sum(map(_columns, text))


def pad(text: str, columns: int) -> str:
    """``text`` with spaces behind it up to ``columns``."""
    return text + " " * (columns - width_of(text))


def cut(text: str, columns: int, *, keep_end: bool = False) -> str:
    """``text`` where it fits into ``columns``, else its start, or its end, and three dots in the place of the rest."""
    if keep_end:
        return cut(text[::-1], columns)[::-1]
    used = kept = 0
    for number, char in enumerate(text, 1):
        used += _columns(char)
        if used <= columns - 3:
            kept = number
        if used > columns:
            return text[:kept] + "..."
    return text


def _columns(char: str) -> int:
    return 1 + (unicodedata.east_asian_width(char) in "WF") - (unicodedata.combining(char) > 0)
