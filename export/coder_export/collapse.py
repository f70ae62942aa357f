"""Stage 4 of the pipeline: thousands of text features to the few rows the run time needs. Exact, in float64.

The heuristic classifier of Eq. 8 is a mean over attribute and analogous texts and one maximum over names and synonyms;
the mean is linear in the image's feature, so its texts collapse into one row a class:

    o_j = x.q_j + w_j * max over n in N_j of x.n,   q_j = sum over t in Q_j of t / (m_j + 1),   w_j = 1 / (m_j + 1)

The gap of a pair (Eq. 13-14) is linear too: g_ab = mean(t of a against b) - mean(t of b against a), one row a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.weightfile import pair_texts
from coder_engine.weightfile.general_texts import NAME_KINDS
from coder_export.encode import TextEncoder
from coder_export.textset import Sentence, TextSet

_PAIRS_A_BLOCK = 512
"""Pairs encoded at once: bounds memory whatever the number of pairs, and fills the text tower's batches."""


@dataclass(frozen=True, kw_only=True)
class GeneralRows:
    """Stage 1 of the method, collapsed.

    Attributes:
        bank: float32 [C + R, D], the rows q_j, then the name rows.
        name_offsets: int32 [C + 1].
        name_weight: float32 [C].
    """

    bank: NDArray[np.float32]
    name_offsets: NDArray[np.int32]
    name_weight: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PairRows:
    """Stage 2 of the method, collapsed. ``starts`` and ``others`` are None where every pair has its row (dense).

    Attributes:
        rows: float16 [P, D].
        starts: int64 [C + 1].
        others: int32 [P].
        texts: the tensors of ``coder_engine.weightfile.pair_texts``, where they were to be kept.
    """

    rows: NDArray[np.float16]
    starts: NDArray[np.int64] | None
    others: NDArray[np.int32] | None
    texts: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def collapse_general(features: NDArray[np.floating], sentences: Sequence[Sequence[Sentence]]) -> GeneralRows:
    """Collapse the general texts.

    Args:
        features: [T, D], unit length, in the order of the flattened ``sentences``.
        sentences: by class; each class has at least one of the kinds ``NAME_KINDS``.
    """
    exact = np.asarray(features, np.float64)
    sums, names, offsets, weights = [], [], [0], []
    start = 0
    for own in sentences:
        rows = exact[start : start + len(own)]
        named = np.array([sentence.kind in NAME_KINDS for sentence in own], bool)
        weight = 1.0 / (int((~named).sum()) + 1)
        sums.append(rows[~named].sum(axis=0) * weight)
        names.append(rows[named])
        offsets.append(offsets[-1] + int(named.sum()))
        weights.append(weight)
        start += len(own)
    return GeneralRows(
        bank=np.concatenate([np.stack(sums), *names]).astype(np.float32),
        name_offsets=np.array(offsets, np.int32),
        name_weight=np.array(weights, np.float32),
    )


def stage_one(coder: NDArray[np.float32], rows: GeneralRows) -> NDArray[np.float32]:
    """Logits [N, C] of Eq. 8 in its collapsed form, from bank cosines [N, C + R]."""
    classes = len(rows.name_weight)
    names = np.maximum.reduceat(coder[:, classes:], rows.name_offsets[:-1], axis=1)
    return np.asarray(coder[:, :classes] + rows.name_weight * names)


def duelling_pairs(textset: TextSet) -> list[tuple[int, int]]:
    """The pairs a < b that have one-to-one texts in both directions, in row order; one side alone makes no gap."""
    return sorted((a, b) for a, b in textset.pairs if a < b and (b, a) in textset.pairs)


def one_sided_pairs(textset: TextSet) -> list[tuple[int, int]]:
    """The (class, other) directions whose opposite has no texts."""
    return sorted((a, b) for a, b in textset.pairs if (b, a) not in textset.pairs)


def collapse_pairs(
    textset: TextSet,
    encoder: TextEncoder,
    progress: Callable[[int], object] | None = None,
    *,
    keep_texts: bool = False,
) -> PairRows | None:
    """Encode and collapse the one-to-one texts block by block; None where no pair has texts on both sides.

    Memory is P rows of float16 and one block of texts, never all texts' features; with ``keep_texts`` these too, in
    float16. ``progress`` is told of pairs done.
    """
    pairs = duelling_pairs(textset)
    if not pairs:
        return None
    rows, kept = np.empty((0, 0), np.float16), []
    for start in range(0, len(pairs), _PAIRS_A_BLOCK):
        block = pairs[start : start + _PAIRS_A_BLOCK]
        sides = list(_sides(textset, block))
        features = encoder.encode([text for side in sides for text in side])
        means = _means(features, [len(side) for side in sides])
        if not rows.size:
            rows = np.empty((len(pairs), means.shape[1]), np.float16)
        rows[start : start + len(block)] = means[0::2] - means[1::2]
        if keep_texts:
            kept.append(features.astype(np.float16))
        if progress is not None:
            progress(len(block))
    starts, others = pair_index(pairs, len(textset.labels))
    texts = pair_texts.pack_sides(np.concatenate(kept), list(_sides(textset, pairs))) if keep_texts else {}
    return PairRows(rows=rows, starts=starts, others=others, texts=texts)


def count_duel_texts(textset: TextSet) -> int:
    """K: the one-to-one texts of all pairs that duel."""
    return sum(map(len, _sides(textset, duelling_pairs(textset))))


def pair_index(
    pairs: Sequence[tuple[int, int]], classes: int
) -> tuple[NDArray[np.int64] | None, NDArray[np.int32] | None]:
    """The sparse index of sorted ``pairs``, or (None, None) where they are all C (C - 1) / 2 of them."""
    if len(pairs) == classes * (classes - 1) // 2:
        return None, None
    lower = np.fromiter((a for a, _ in pairs), np.int64, len(pairs))
    starts = np.searchsorted(lower, np.arange(classes + 1)).astype(np.int64)
    return starts, np.fromiter((b for _, b in pairs), np.int32, len(pairs))


def _sides(textset: TextSet, pairs: Sequence[tuple[int, int]]) -> Iterator[list[str]]:
    """The sentences of a against b, and of b against a, for each pair in turn."""
    return (textset.duel_sentences(*side) for a, b in pairs for side in ((a, b), (b, a)))


def _means(features: NDArray[np.float32], counts: Iterable[int]) -> NDArray[np.float64]:
    """Mean feature of each run of rows, in float64."""
    counts = np.fromiter(counts, np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums: NDArray[np.float64] = np.add.reduceat(features.astype(np.float64), starts, axis=0)
    return sums / counts[:, None]
