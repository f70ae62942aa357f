"""What a run came to, in lines for its user."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from coder_export.generate.config import NO_MODEL, TextsConfig
from coder_export.generate.draft import KINDS
from coder_export.textset import GENERAL_KINDS, TextSet

_SHOWN = 20
_CHARACTERS = 240
"""Of a line: a faulty reply has as many faults as texts."""


def summary(textset: TextSet, config: TextsConfig) -> list[str]:
    """Lines for the end of a run: counts and the next command."""
    folder = config.out
    kinds = [f"{sum(len(texts.get(kind, ())) for texts in textset.texts):,} {kind}" for kind in GENERAL_KINDS]
    duels = {frozenset(pair) for pair in textset.pairs}
    pairs = f"{sum(map(len, textset.pairs.values())):,} texts of {len(duels):,} pairs"
    return [
        f"wrote {folder}: {len(textset.labels):,} classes, {', '.join(kinds)}, {pairs}",
        f"next: {shlex.join(_export(config))}",
    ]


def _export(config: TextsConfig) -> list[str]:
    """The command that uses the texts, with the CLIP that they were written by."""
    model = TextsConfig.model if config.model == NO_MODEL else config.model
    given = {"--pretrained": config.pretrained, "--checkpoint": config.checkpoint}
    options = [str(word) for option, value in given.items() if value is not None for word in (option, value)]
    texts = ["--labels", str(config.out / "labels.txt"), "--texts", str(config.out)]
    return ["coder-export", "--model", model, *options, *texts]


def replaced(before: TextSet, after: TextSet) -> list[str]:
    """Lines about kinds of which a run leaves texts out that were there; both sets are of the same labels."""
    lines = []
    for kind in KINDS:
        old, new = _texts(before, kind), _texts(after, kind)
        gone = (old - new).total()
        if gone:
            left_out = f"{gone:,} {'is' if gone == 1 else 'are'} gone"
            lines.append(f"replaces {old.total():,} {kind} texts by {new.total():,}: {left_out}")
    return lines


def _texts(textset: TextSet, kind: str) -> Counter[tuple[object, str]]:
    """Texts of one kind, each with its class or pair."""
    places = textset.pairs if kind == "pair" else {i: own.get(kind, ()) for i, own in enumerate(textset.texts)}
    return Counter((place, text) for place, texts in places.items() for text in texts)


def missing(lines: Sequence[str], folder: Path) -> list[str]:
    """Lines that tell what could not be had."""
    more = len(lines) - _SHOWN
    rest = [f"  ... and {more:,} more; coder-texts check {folder} --json counts by class"] if more > 0 else []
    return [f"missing in {folder}:", *(f"  {_cut(line)}" for line in lines[:_SHOWN]), *rest]


def _cut(line: str) -> str:
    return line if len(line) <= _CHARACTERS else f"{line[: _CHARACTERS - 4]} ..."
