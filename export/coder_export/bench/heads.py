"""The head in other hands: the same collapsed algebra in NumPy, and in torch the loops over all texts it replaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coder_engine.head import CANDIDATES
from coder_engine.weights import Weights

if TYPE_CHECKING:
    import torch


def numpy_head(weights: Weights, x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Both stages in collapsed form for one image x [D]: the first five classes, best first."""
    classes = len(weights.meta.labels)
    cosines = weights.bank @ x
    best = np.maximum.reduceat(cosines[classes:], weights.name_offsets[:-1])
    logits = cosines[:classes] + weights.name_weight * best
    first = np.argsort(-logits, kind="stable")[:CANDIDATES]
    if weights.pair_rows is None:
        return first
    i, j = np.triu_indices(len(first), 1)
    low, high = np.minimum(first[i], first[j]), np.maximum(first[i], first[j])
    rows, known = _pair_rows(weights, low, high)
    gaps = np.where(known, weights.pair_rows[rows].astype(np.float32) @ x, 0)
    signed = np.where(first[i] < first[j], gaps, -gaps)
    sums = np.bincount(i, signed, len(first)) - np.bincount(j, signed, len(first))
    return first[np.argsort(-sums, kind="stable")]


def _pair_rows(
    weights: Weights, low: NDArray[np.int64], high: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of the pairs, and which of them the weight file has."""
    if weights.pair_starts is None or weights.pair_others is None:
        classes = len(weights.meta.labels)
        return low * (2 * classes - low - 1) // 2 + high - low - 1, np.ones(len(low), np.bool_)
    starts, ends = weights.pair_starts[low], weights.pair_starts[low + 1]
    found = [
        start + int(np.searchsorted(weights.pair_others[start:end], other))
        for start, end, other in zip(starts, ends, high, strict=True)
    ]
    rows = np.minimum(np.array(found, np.int64), len(weights.pair_others) - 1)
    return rows, (np.array(found) < ends) & (weights.pair_others[rows] == high)


PairTexts = Callable[[int, int], "torch.Tensor"]
"""(a, b) -> features [n, D] of what sets class a apart from class b."""


def loop_head(
    texts: torch.Tensor,
    counts: Sequence[tuple[int, int]],
    pair_texts: PairTexts | None,
    x: torch.Tensor,
) -> list[int]:
    """Both stages as the CODER authors' code goes about them, for one image: a loop over classes, a loop over duels.

    Args:
        texts: all T general texts [T, D], of unit length, by class, a class's names after its other texts; the
            authors' code brings them to it anew for every batch, which is the caller's to do.
        counts: how many other texts and how many names each class has.
        pair_texts: None stops after stage 1.
        x: one image's features [D].

    Returns:
        The first five classes, best first.
    """
    import torch

    cosines = x @ texts.T
    scores, start = [], 0
    for others, names in counts:
        middle, end = start + others, start + others + names
        scores.append(torch.cat([cosines[start:middle], cosines[middle:end].max()[None]]).mean())
        start = end
    first: list[int] = torch.stack(scores).topk(min(CANDIDATES, len(scores))).indices.tolist()
    if pair_texts is None:
        return first
    gaps = dict.fromkeys(first, 0.0)
    for a, b in permutations(first, 2):
        gaps[a] += float((x @ pair_texts(a, b).T).mean() - (x @ pair_texts(b, a).T).mean())
    return sorted(first, key=lambda one: -gaps[one])
