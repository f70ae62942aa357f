"""Run the kernels on a case, and hold what they write against the oracle.

The kernels see the collapsed weights in float32 and the pair rows in float16; the oracle sees every text, in
float64. What may differ, and by how much:

* logits and scores: 1e-5, for float32 sums;
* gaps against the paper's texts: 1e-3 a pair, and S up to k - 1 times that. Pair rows are stored as float16,
  whose rounding moves x . g by at most |x| |g| 2^-11 < 1e-3, as |g| <= 2;
* gaps against what is stored, x . float64(fp16 row): 1e-5, so the kernels add next to nothing to that;
* ids: nothing, unless the oracle's own numbers for the places that differ are nearer than those errors.

On grid cases nothing may differ but the scores.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import reference
from coder_engine import _kernels
from parity.cases import Case
from parity.collapsed import Collapsed, stored_gaps

LOGIT = SCORE = GAP = 1e-5
GAP_FP16 = 1e-3


class Answer(NamedTuple):
    """What ``Head.rank`` writes, and the coder it read."""

    coder: NDArray[np.float32]
    logits: NDArray[np.float32]
    ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    gaps: NDArray[np.float32]
    duels: NDArray[np.float32]
    reranked: NDArray[np.bool_]


def run(case: Case, isa: str, weights: Collapsed) -> Answer:
    """Both kernels on the case; buffers start as rubbish, so that a place left unwritten shows."""
    images, classes, k = len(case.features), len(case.class_texts), min(5, len(case.class_texts))
    head = _kernels.Head(*weights.arguments(), threads=case.threads, isa=isa)
    answer = Answer(
        coder=np.full((images, len(weights.bank)), np.nan, np.float32),
        logits=np.full((images, classes), np.nan, np.float32),
        ids=np.full((images, case.places), -7, np.int32),
        scores=np.full((images, case.places), np.nan, np.float32),
        gaps=np.full((images, k), np.nan, np.float32),
        duels=np.full((images, k, k), np.nan, np.float32),
        reranked=np.ones(images, np.bool_),
    )
    head.coder(case.features, answer.coder)
    outputs = {name: buffer for name, buffer in answer._asdict().items() if name != "coder"}
    switches = {
        "scale": case.scale, "temperature": case.temperature, "margin": case.margin, "rerank": case.rerank
    }  # fmt: skip
    head.rank(case.features, answer.coder, **switches, **outputs)
    return answer


def gate(case: Case, logits: NDArray[np.float64]) -> set[bool]:
    """What the gate may decide: as the oracle, or either where rounding can move the lead past it."""
    if not case.rerank or case.margin == 0:  # no lead is below 0
        return {False}
    lead = reference.lead(logits, case.scale)
    if case.margin > 0 and abs(lead - case.margin) < SCORE:
        return {True, False}
    return {case.margin < 0 or lead < case.margin}


def flags(case: Case, ids: list[int], opened: set[bool], stored: NDArray[np.float64]) -> set[bool]:
    """What ``reranked`` may say: the gate's decision where a candidate pair has texts, else False.

    In a dense table a pair without texts is a row of zeros, which the kernels may count as texts or not.
    """
    if case.layout == "dense" and not stored.any():
        return opened | {False}
    spoken = any(reference.has_texts(case.pairs, a, b) for a, b in combinations(ids, 2))
    return opened if spoken else {False}


def oracle(case: Case, x: NDArray[np.float64], reranked: bool) -> reference.Ranking:
    """The paper's answer, with or without the second stage."""
    if reranked:
        return reference.two_stage(x, case.class_texts, case.pairs)
    return reference.one_stage(x, case.class_texts)


def descending(ids: list[int], values: dict[int, float], within: float) -> bool:
    """Whether no id stands before another whose value is higher by more than ``within``."""
    return all(values[first] >= values[later] - within for first, later in combinations(ids, 2))


def explained_by_near_ties(
    case: Case, ids: list[int], logits: NDArray[np.float64], *, by_gap: list[tuple[dict[int, float], float]]
) -> bool:
    """Whether the oracle would give ``ids`` too, were its numbers moved by no more than rounding.

    Three questions: are the candidates, and then the ids listed, the best by logit; do the candidates stand
    in the order of their sums of gaps (of their logits where ``by_gap`` is empty); and do the ids past the
    k-th stand in the order of their logits.
    """
    k = min(5, len(case.class_texts))
    by_logit = dict(enumerate(logits.tolist()))
    left_out = [j for j in by_logit if j not in ids]
    chosen = all(descending([c, j], by_logit, LOGIT) for c in ids[:k] for j in [*ids[k:], *left_out])
    listed = all(descending([c, j], by_logit, LOGIT) for c in ids for j in left_out)
    order = all(descending(ids[:k], values, within) for values, within in by_gap or [(by_logit, LOGIT)])
    tail = descending(ids[k:], by_logit, LOGIT)
    return chosen and listed and order and tail


def check_image(case: Case, weights: Collapsed, answer: Answer, i: int) -> bool:
    """Hold image i's answer against the oracle; whether its ids differ, which only near ties excuse."""
    x = case.features[i].astype(np.float64)
    ids, k = answer.ids[i].tolist(), answer.gaps.shape[1]
    assert len(set(ids)) == len(ids), f"image {i}: an id twice in {ids}"
    logits = reference.stage_one(x, case.class_texts)
    np.testing.assert_allclose(answer.logits[i], logits, rtol=0, atol=LOGIT)
    scores = reference.softmax(logits, case.scale / case.temperature)[ids]
    np.testing.assert_allclose(answer.scores[i], scores, rtol=0, atol=SCORE)

    stored = stored_gaps(x, ids[:k], weights)
    reranked = bool(answer.reranked[i])
    assert reranked in flags(case, ids[:k], gate(case, logits), stored), f"image {i}: reranked is {reranked}"
    paper = reference.pair_gaps(x, ids[:k], case.pairs) * reranked
    stored = stored * reranked
    np.testing.assert_allclose(answer.duels[i], paper, rtol=0, atol=GAP_FP16)
    np.testing.assert_allclose(answer.duels[i], stored, rtol=0, atol=GAP)
    np.testing.assert_allclose(answer.gaps[i], paper.sum(axis=1), rtol=0, atol=GAP_FP16 * max(1, k - 1))
    np.testing.assert_allclose(answer.gaps[i], stored.sum(axis=1), rtol=0, atol=GAP)

    if ids == oracle(case, x, reranked).order[: case.places].tolist():
        return False
    by_paper = dict(zip(ids[:k], paper.sum(axis=1).tolist(), strict=True))
    by_stored = dict(zip(ids[:k], stored.sum(axis=1).tolist(), strict=True))
    by_gap = [(by_paper, 2 * GAP_FP16 * (k - 1)), (by_stored, GAP)] if reranked else []
    assert explained_by_near_ties(case, ids, logits, by_gap=by_gap), f"image {i}: {ids}, {logits}, {by_gap}"
    return True


def check_exactly(case: Case, answer: Answer) -> None:
    """Hold a grid case against the oracle with no tolerance, ties included; only softmax may round."""
    for i, x in enumerate(case.features.astype(np.float64)):
        logits = reference.stage_one(x, case.class_texts)
        opened = gate(case, logits)
        want = oracle(case, x, bool(answer.reranked[i]) if len(opened) == 2 else opened.pop())
        np.testing.assert_array_equal(answer.logits[i], want.logits)
        np.testing.assert_array_equal(answer.ids[i], want.order[: case.places])
        np.testing.assert_array_equal(answer.gaps[i], want.gaps)
        np.testing.assert_array_equal(answer.duels[i], want.duels)
        scores = reference.softmax(logits, case.scale / case.temperature)[answer.ids[i]]
        np.testing.assert_allclose(answer.scores[i], scores, rtol=0, atol=SCORE)
        if case.layout != "dense" or want.duels.any():
            assert bool(answer.reranked[i]) == want.reranked, f"image {i}: reranked is not {want.reranked}"
