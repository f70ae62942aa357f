"""Numbers of things, in words."""

from __future__ import annotations


def count_of(number: int, noun: str) -> str:
    """``1 thread``, ``2 threads``, ``2 classes``."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"
