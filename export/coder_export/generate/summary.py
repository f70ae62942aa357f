"""What a run came to, and the check of a text set on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import open_clip

from coder_export.encode import count_tokens
from coder_export.generate.check.check import Check, check_textset
from coder_export.shipped import open_textset
from coder_export.textset import GENERAL_KINDS, TextSet

_SHOWN = 20
_LONGEST = 512
"""Lengths are counted up to here; a sentence past CLIP's 77 tokens is told by how much."""


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


def check_file(name_or_folder: str) -> Check:
    """Check a text set, its sentences' lengths by CLIP's tokenizer."""
    textset = open_textset(name_or_folder)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    return check_textset(
        textset, token_lengths=lambda sentences: count_tokens(tokenizer, sentences, context_length=_LONGEST)
    )
