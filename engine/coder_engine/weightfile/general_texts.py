"""The general texts that a weight file may keep (Eq. 5): for CODER's own features, few-shot, evaluation, explanations.

Five tensors, all or none, the texts of a class side by side:

    texts                float32 [T, D]     features
    text_starts          int64   [C + 1]    class j has texts[starts[j] : starts[j + 1]]
    text_kinds           uint8   [T]        places in ``KINDS``
    text_sentences       uint8   [bytes]    see ``coder_engine.weightfile.sentences``
    text_sentence_starts int64   [T + 1]

Features and sentences are mapped, never read whole: opening a file costs the same with them as without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.weightfile.sentences import last_of, pack, starts_of, starts_problem, unpack

TENSORS = ("texts", "text_starts", "text_kinds", "text_sentences", "text_sentence_starts")

NAME_KINDS = ("name", "synonym")
"""Kinds of whose texts only the strongest counts in Eq. 8."""

KINDS = (*NAME_KINDS, "attribute", "analogous")


@dataclass(frozen=True, kw_only=True)
class GeneralTexts:
    """The five tensors of an open weight file, under their names there."""

    texts: NDArray[np.float32]
    text_starts: NDArray[np.int64]
    text_kinds: NDArray[np.uint8]
    text_sentences: NDArray[np.uint8]
    text_sentence_starts: NDArray[np.int64]

    def of_class(self, label_id: int) -> tuple[list[str], list[str], NDArray[np.float32]]:
        """Kinds, sentences and features [n, D] of a class's texts."""
        first, last = self.text_starts[label_id : label_id + 2].tolist()
        kinds = [KINDS[kind] for kind in self.text_kinds[first:last].tolist()]
        sentences = unpack(self.text_sentences, self.text_sentence_starts, first, last)
        return kinds, sentences, self.texts[first:last]

    def rows_by_kind(self) -> list[dict[str, list[int]]]:
        """By class, kind -> its rows in ``texts``."""
        found = []
        for first, last in pairwise(self.text_starts.tolist()):
            own: dict[str, list[int]] = {}
            for row, kind in enumerate(self.text_kinds[first:last].tolist(), start=first):
                own.setdefault(KINDS[kind], []).append(row)
            found.append(own)
        return found


def pack_texts(features: NDArray[Any], classes: Sequence[Sequence[tuple[str, str]]]) -> dict[str, NDArray[Any]]:
    """The five tensors.

    Args:
        features: [T, D], in the order of the flattened ``classes``.
        classes: kind and sentence of each text of each of the C classes.
    """
    letters, starts = pack([sentence for own in classes for _, sentence in own])
    return {
        "texts": features,
        "text_starts": starts_of([len(own) for own in classes]),
        "text_kinds": np.array([KINDS.index(kind) for own in classes for kind, _ in own], np.uint8),
        "text_sentences": letters,
        "text_sentence_starts": starts,
    }


def shapes(tensors: Mapping[str, NDArray[Any] | None], classes: int, width: int) -> dict[str, tuple[int, ...]]:
    """The shapes they must have for C classes of width D; none where there are no such tensors."""
    if all(array is None for array in tensors.values()):
        return {}
    count = last_of(tensors["text_starts"])
    return {
        "text_starts": (classes + 1,),
        "texts": (count, width),
        "text_kinds": (count,),
        "text_sentence_starts": (count + 1,),
        "text_sentences": (last_of(tensors["text_sentence_starts"]),),
    }


def problem(tensors: Mapping[str, NDArray[Any] | None]) -> str | None:
    """What is wrong with tensors of the right shapes, or None."""
    if wrong := starts_problem(tensors, ("text_starts", "text_sentence_starts")):
        return wrong
    kinds = tensors["text_kinds"]
    if kinds is not None and (kinds >= len(KINDS)).any():
        return f"text_kinds must be below {len(KINDS)}, got {int(kinds.max())}"
    return None
