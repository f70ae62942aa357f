"""Wording that messages share."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 5


def some(names: Sequence[str]) -> str:
    """The first few of ``names``, and dots where there are more."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
