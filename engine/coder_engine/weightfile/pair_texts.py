"""The one-to-one texts behind the pair rows, which a weight file may keep for explanations.

Four tensors, all or none. Side 2p of pair row p, a < b, are the texts of a against b, side 2p + 1 those of b against a:

    pair_texts            float16 [K, D]    features, side by side
    pair_text_starts      int64   [2P + 1]  the texts of side s are pair_texts[starts[s] : starts[s + 1]]
    pair_sentences        uint8   [bytes]   their sentences, see ``coder_engine.weightfile.sentences``
    pair_sentence_starts  int64   [K + 1]

Features and sentences are mapped, never read whole; the two indices are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.weightfile.sentences import last_of, pack, starts_of, starts_problem, unpack

TENSORS = ("pair_texts", "pair_text_starts", "pair_sentences", "pair_sentence_starts")


def pack_sides(features: NDArray[np.float16], sides: Sequence[Sequence[str]]) -> dict[str, NDArray[Any]]:
    """The four tensors.

    Args:
        features: [K, D], in the order of the flattened ``sides``.
        sides: the sentences of each of the 2P sides.
    """
    letters, starts = pack([sentence for side in sides for sentence in side])
    return {
        "pair_texts": features,
        "pair_text_starts": starts_of([len(side) for side in sides]),
        "pair_sentences": letters,
        "pair_sentence_starts": starts,
    }


def side(tensors: Mapping[str, NDArray[Any]], number: int) -> tuple[list[str], NDArray[np.float16]]:
    """The sentences of a side and their features [n, D]."""
    start, end = tensors["pair_text_starts"][number : number + 2].tolist()
    sentences = unpack(tensors["pair_sentences"], tensors["pair_sentence_starts"], start, end)
    return sentences, tensors["pair_texts"][start:end]


def shapes(tensors: Mapping[str, NDArray[Any] | None], pairs: int, width: int) -> dict[str, tuple[int, ...]]:
    """The shapes they must have beside P pair rows of width D; none where there are no such tensors."""
    if all(array is None for array in tensors.values()):
        return {}
    count, length = (last_of(tensors[name]) for name in ("pair_text_starts", "pair_sentence_starts"))
    return {
        "pair_texts": (count, width),
        "pair_text_starts": (2 * pairs + 1,),
        "pair_sentences": (length,),
        "pair_sentence_starts": (count + 1,),
    }


def index_problem(tensors: Mapping[str, NDArray[Any] | None]) -> str | None:
    """What is wrong with indices of the right shapes, which would reach past an end; or None."""
    return starts_problem(tensors, ("pair_text_starts", "pair_sentence_starts"))
