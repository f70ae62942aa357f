"""What a weight file says of single classes and pairs: names, texts and rows, kept or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coder_engine.errors import WeightsError
from coder_engine.weightfile import pair_texts
from coder_engine.weightfile.general_texts import NAME_KINDS
from coder_engine.weights import Weights

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Texts:
    """n sentences, their kinds and features [n, D] in float64."""

    kinds: tuple[str, ...]
    sentences: tuple[str, ...]
    features: Array


def name_rows(weights: Weights, label_id: int) -> Array:
    """The name texts' features of a class [n, D]."""
    first, last = weights.name_offsets[label_id : label_id + 2] + len(weights.meta.labels)
    return weights.bank[first:last].astype(np.float64)


def general_texts(weights: Weights, label_id: int) -> Texts | None:
    """All general texts of a class, names in the order of ``name_rows``; None where they were not kept.

    Raises:
        WeightsError: they are not those that the bank was made of.
    """
    kept = weights.general_texts
    if kept is None:
        return None
    kinds, sentences, features = kept.of_class(label_id)
    names = sum(kind in NAME_KINDS for kind in kinds)
    if names != len(name_rows(weights, label_id)):
        raise WeightsError(
            f"{weights.path}: {names} names of class {weights.meta.labels[label_id]!r} among its sentences, "
            f"{len(name_rows(weights, label_id))} in its bank; export it again with coder-export"
        )
    return Texts(kinds=tuple(kinds), sentences=tuple(sentences), features=features.astype(np.float64))


def pair_row(weights: Weights, a: int, b: int) -> int | None:
    """The row of the pair a < b; None where it has no texts."""
    if weights.pair_rows is None:
        return None
    if weights.pair_starts is None or weights.pair_others is None:
        return a * (2 * len(weights.meta.labels) - a - 1) // 2 + (b - a - 1)
    start, end = weights.pair_starts[a : a + 2].tolist()
    place = start + int(np.searchsorted(weights.pair_others[start:end], b))
    return place if place < end and weights.pair_others[place] == b else None


def duel_texts(weights: Weights, label_id: int, other: int) -> Texts | None:
    """The texts of a class against another; None where the pair has none, or they were not kept."""
    row = pair_row(weights, min(label_id, other), max(label_id, other))
    if row is None or weights.pair_texts is None:
        return None
    tensors = {name: getattr(weights, name) for name in pair_texts.TENSORS}
    sentences, features = pair_texts.side(tensors, 2 * row + (label_id > other))
    return Texts(kinds=("pair",) * len(sentences), sentences=tuple(sentences), features=features.astype(np.float64))
