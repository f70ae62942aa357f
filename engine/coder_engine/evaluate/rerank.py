"""What stage 2 does to the answers of stage 1: votes instead of gaps, changes for better and worse, pairs it lacked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coder_engine.head import Ranking
from coder_engine.weights import Weights

Ids = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Rerank:
    """What stage 2 did to the answers of stage 1.

    Attributes:
        better, worse: images whose answer became right, or wrong.
        otherwise: images that went from one wrong class to another.
        coverage: the share of the candidate pairs that have one-to-one texts.
    """

    better: int
    worse: int
    otherwise: int
    coverage: float


def what_changed(ranking: Ranking, labels: Ids, weights: Weights) -> Rerank:
    """Compare the answers before and after stage 2, of B images with the true class ids ``labels`` [B]."""
    before, after = ranking.logits.argmax(axis=1), ranking.ids[:, 0]
    was_right, right = before == labels, after == labels
    return Rerank(
        better=int((right & ~was_right).sum()),
        worse=int((was_right & ~right).sum()),
        otherwise=int(((before != after) & ~right & ~was_right).sum()),
        coverage=coverage(ranking, weights),
    )


def votes(ranking: Ranking) -> Ids:
    """The candidates by duels won, equal numbers by the stage-1 rank: what section 4.3 sets Eq. 15 against: [B, k]."""
    k = ranking.gaps.shape[1]
    ids = ranking.ids[:, :k].astype(np.int64)
    won = (ranking.duels > 0).sum(axis=2)
    o = np.take_along_axis(ranking.logits, ids, axis=1)
    return np.take_along_axis(ids, np.lexsort((ids, -o, -won), axis=1), axis=1)


def coverage(ranking: Ranking, weights: Weights) -> float:
    """The share of the pairs of candidates, over all images, that have a row in the weight file."""
    k = ranking.gaps.shape[1]
    if weights.pair_rows is None or k < 2:
        return 0.0
    if weights.pair_starts is None or weights.pair_others is None:
        return 1.0
    classes = len(weights.meta.labels)
    lower = np.repeat(np.arange(classes), np.diff(weights.pair_starts))
    ids = np.sort(ranking.ids[:, :k].astype(np.int64), axis=1)
    first, second = np.triu_indices(k, 1)
    wanted = ids[:, first] * classes + ids[:, second]
    return float(np.isin(wanted, lower * classes + weights.pair_others).mean())
