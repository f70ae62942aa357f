"""The oracle: CODER as the paper writes it, slow and plain, Eq. 3-20 in NumPy float64.

Every fast path of the project is held against this file, so nothing here is clever: every text is a column,
every class and every pair is a loop, one image at a time, and no sum is rearranged. Where the sentence under
Eq. 7 and Eq. 8 disagree (the sentence says synonyms where Eq. 8 has analogous classes), Eq. 8 is followed.

Letters: C classes, R name rows, T general texts, D width, k = min(5, C) candidates, NM support images.
Features are unit length in the paper. That is ``unit``; no other function here normalises, so that numbers
whose sums are exact can be put through the same code.

Ties, which the paper leaves open: stage 1 puts the lower class id first, stage 2 keeps the stage-1 rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Ids = NDArray[np.int64]
ClassTexts = Mapping[str, Array]  # kind -> [n, D] features; a kind that is absent or [0, D] has no texts
PairTexts = Mapping[tuple[int, int], Array]  # (a, b) -> [K1, D] features of the texts of a against b

KINDS = ("name", "attribute", "analogous", "synonym")  # the order of Eq. 7
CANDIDATES = 5


class Ranking(NamedTuple):
    """One image's answer: float64 and int64 arrays.

    ``logits`` [C] is o of Eq. 8; ``order`` [C] class ids, best first; ``gaps`` [k] the sums of Eq. 15 and
    ``duels`` [k, k] the gaps of Eq. 14, both for ``order[:k]`` and 0 where stage 2 did not run;
    ``reranked`` says whether stage 2 ran and had a text to go by.
    """

    logits: Array
    order: Ids
    gaps: Array
    duels: Array
    reranked: bool


def unit(rows: ArrayLike) -> Array:
    """Divide each row by its length, the x / |x| and t / |t| of Eq. 4-6: [..., D] -> [..., D] float64."""
    rows = np.asarray(rows, np.float64)
    length = np.sqrt((rows * rows).sum(axis=-1, keepdims=True))
    if (length == 0).any():
        raise ValueError("a row of zeros has no direction")
    return rows / length


def coder(x: ArrayLike, w: ArrayLike) -> Array:
    """Eq. 3-6, s = x W, d the cosine, psi the identity: x [..., D], W [D, T] -> s [..., T] float64."""
    return np.asarray(np.asarray(x, np.float64) @ np.asarray(w, np.float64))


def text_columns(class_texts: Sequence[ClassTexts]) -> Array:
    """Eq. 5, all general texts: C classes' texts -> W [D, T] float64, class by class, kinds as in Eq. 7."""
    parts = [np.asarray(texts[kind], np.float64) for texts in class_texts for kind in KINDS if kind in texts]
    return np.concatenate(parts).T


def split_by_kind(s: Array, class_texts: Sequence[ClassTexts]) -> list[dict[str, Array]]:
    """Eq. 7, s_j cut into its parts: s [T] -> for each of C classes, kind -> [n] float64, n = 0 for none."""
    parts: list[dict[str, Array]] = []
    start = 0
    for texts in class_texts:
        parts.append({})
        for kind in KINDS:
            stop = start + (len(texts[kind]) if kind in texts else 0)
            parts[-1][kind] = s[start:stop]
            start = stop
    return parts


def stage_one(x: ArrayLike, class_texts: Sequence[ClassTexts]) -> Array:
    """Eq. 7-8, mean(attribute + analogous + [max(name + synonym)]): x [D], C classes -> o [C] float64."""
    s = coder(x, text_columns(class_texts))
    logits = []
    for part in split_by_kind(s, class_texts):
        best_name = np.max(np.concatenate([part["name"], part["synonym"]]))
        logits.append(np.mean(np.concatenate([part["attribute"], part["analogous"], [best_name]])))
    return np.array(logits)


def stage_one_order(o: Array) -> Ids:
    """All classes by logit: o [C] -> ids [C] int64, higher first, equal logits by the lower class id."""
    return np.array(sorted(range(len(o)), key=lambda j: (-o[j], j)), np.int64)


def top_five(o: Array) -> Ids:
    """Eq. 9, the candidates C5: o [C] -> ids [k] int64 in stage-1 order; all where there are fewer than 5."""
    return stage_one_order(o)[:CANDIDATES]


def has_texts(pairs: PairTexts, a: int, b: int) -> bool:
    """Whether the pair {a, b} has one-to-one texts on both sides; Eq. 13 has no mean of nothing."""
    return len(pairs.get((a, b), ())) > 0 and len(pairs.get((b, a), ())) > 0


def pair_gap(x: ArrayLike, texts_ab: ArrayLike, texts_ba: ArrayLike) -> float:
    """Eq. 11-14, gap_ab of one image for one pair, float64; gap_ba is its negative.

    x [D]; texts_ab [K1, D] of a against b; texts_ba [K2, D] of b against a. Either side empty: 0.
    """
    count_a, count_b = len(np.asarray(texts_ab)), len(np.asarray(texts_ba))
    if count_a == 0 or count_b == 0:
        return 0.0
    w_ab = np.concatenate([np.asarray(texts_ab, np.float64), np.asarray(texts_ba, np.float64)]).T  # Eq. 11
    s_ab = coder(x, w_ab)  # Eq. 12
    return float(np.mean(s_ab[:count_a]) - np.mean(s_ab[count_a:]))  # Eq. 13, 14


def pair_gaps(x: ArrayLike, candidates: Sequence[int] | Ids, pairs: PairTexts) -> Array:
    """Eq. 10-14 for every pair of the candidates: x [D], ids [k] -> duels [k, k] float64.

    duels[i, j] is the gap of candidate i over candidate j; 0 on the diagonal and where a pair lacks texts.
    """
    duels = np.zeros((len(candidates), len(candidates)))
    for i, j in combinations(range(len(candidates)), 2):  # Eq. 10
        a, b = int(candidates[i]), int(candidates[j])
        if has_texts(pairs, a, b):
            duels[i, j] = pair_gap(x, pairs[a, b], pairs[b, a])
            duels[j, i] = -duels[i, j]
    return duels


def rerank(duels: Array) -> tuple[Ids, Array]:
    """Eq. 15: duels [k, k] in stage-1 order -> (places [k] int64, S [k] float64), both in the final order.

    places[i] is the stage-1 rank of the i-th best candidate. Higher S first, equal S by stage-1 rank.
    """
    k = len(duels)
    sums = np.array([sum(duels[c, j] for j in range(k) if j != c) for c in range(k)], np.float64)
    places = np.array(sorted(range(k), key=lambda c: (-sums[c], c)), np.int64)
    return places, sums[places]


def one_stage(x: ArrayLike, class_texts: Sequence[ClassTexts]) -> Ranking:
    """Eq. 3-9 alone, for one image x [D]: the stage-1 order, gaps and duels 0."""
    o = stage_one(x, class_texts)
    k = len(top_five(o))
    return Ranking(o, stage_one_order(o), np.zeros(k), np.zeros((k, k)), False)


def two_stage(x: ArrayLike, class_texts: Sequence[ClassTexts], pairs: PairTexts) -> Ranking:
    """Eq. 3-15, the zero-shot method for one image x [D]; classes past the fifth keep their stage-1 order."""
    o = stage_one(x, class_texts)
    first = top_five(o)
    duels = pair_gaps(x, first, pairs)
    places, sums = rerank(duels)
    order = np.concatenate([first[places], stage_one_order(o)[len(first) :]])
    reranked = any(has_texts(pairs, int(a), int(b)) for a, b in combinations(first, 2))
    return Ranking(o, order, sums, duels[np.ix_(places, places)], reranked)


def softmax(o: Array, scale: float) -> Array:
    """softmax(scale * o): o [C] -> [C] float64, sums to 1."""
    powers = np.exp(scale * (o - np.max(o)))
    return np.asarray(powers / powers.sum())


def lead(o: Array, scale: float) -> float:
    """softmax(scale * o), the largest minus the second largest: o [C] -> float64; 1 for a single class."""
    best = np.sort(softmax(o, scale))[::-1]
    return float(best[0] - best[1]) if len(best) > 1 else 1.0


def two_stage_gated(
    x: ArrayLike, class_texts: Sequence[ClassTexts], pairs: PairTexts, *, scale: float, margin: float
) -> Ranking:
    """The two stages for one image x [D], the second only where ``lead`` is under ``margin``.

    Not in the paper, which reranks every image: the gate of the authors' code, without its look at labels.
    """
    if lead(stage_one(x, class_texts), scale) < margin:
        return two_stage(x, class_texts, pairs)
    return one_stage(x, class_texts)


def coder_adapter(
    x: ArrayLike,
    w: ArrayLike,
    support: ArrayLike,
    labels: ArrayLike,
    zero_shot: ArrayLike,
    *,
    alpha: float,
    beta: float,
    t: float,
    norm: str,
) -> Array:
    """Eq. 16-20, CODER-Adapter in its T-wide form: -> o [C] float64 for one image.

    x [D]; w [D, T]; support [NM, D]; labels [NM] class ids; zero_shot [C] cosines, added as logits, times
    100. ``norm`` is Norm of Eq. 19, see ``normalised_affinity``.
    """
    zero_shot = np.asarray(zero_shot, np.float64)
    s_train = coder(support, w)  # Eq. 16
    one_hot = np.eye(len(zero_shot))[np.asarray(labels, np.int64)]  # Eq. 17
    s = coder(x, w)  # Eq. 18
    closeness = normalised_affinity(s, s_train, norm)
    affinity = np.exp(-beta * (1.0 - closeness / t))  # Eq. 19
    return np.asarray(alpha * (affinity @ one_hot) + 100.0 * zero_shot)  # Eq. 20


def normalised_affinity(s: Array, s_train: Array, norm: str) -> Array:
    """Norm(s S_train^T) of Eq. 19: s [T], S_train [NM, T] -> [NM] float64.

    Every CODER is cut to unit length first. The paper does not say so, its authors' code does; without it the longest
    row of S_train is next to every image (1 % right on Caltech-101, in place of 79 %). "l2" is no more than that,
    "minmax" then moves the image's NM affinities to 0..1, which is not defined where all are equal: ValueError.
    """
    if norm not in ("minmax", "l2"):
        raise ValueError(f"norm must be 'minmax' or 'l2', got {norm!r}")
    affinity = np.asarray(unit(s_train) @ unit(s))
    if norm == "l2":
        return affinity
    spread = affinity.max() - affinity.min()
    if spread == 0:
        raise ValueError("all affinities of the row are equal: min-max is not defined")
    return np.asarray((affinity - affinity.min()) / spread)
