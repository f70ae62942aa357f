"""What a run came to, in lines for its user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coder_export.textset import GENERAL_KINDS, TextSet

_SHOWN = 20


def summary(textset: TextSet, folder: Path) -> list[str]:
    """Lines for the end of a run: counts and the next command."""
    kinds = [f"{sum(len(texts.get(kind, ())) for texts in textset.texts):,} {kind}" for kind in GENERAL_KINDS]
    duels = {frozenset(pair) for pair in textset.pairs}
    pairs = f"{sum(map(len, textset.pairs.values())):,} texts of {len(duels):,} pairs"
    return [
        f"wrote {folder}: {len(textset.labels):,} classes, {', '.join(kinds)}, {pairs}",
        f"next: coder-export --model ViT-B/16 --labels {folder / 'labels.txt'} --texts {folder}",
    ]


def missing(lines: Sequence[str], folder: Path) -> list[str]:
    """Lines that tell what could not be had."""
    more = len(lines) - _SHOWN
    rest = [f"  ... and {more:,} more; coder-texts check {folder} --json lists every hole"] if more > 0 else []
    return [f"missing in {folder}:", *(f"  {line}" for line in lines[:_SHOWN]), *rest]
