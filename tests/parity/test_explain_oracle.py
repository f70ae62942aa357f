"""Explanations against the oracle: every share is a text's, and all shares make the numbers of the ranking.

Grid cases are exact throughout. Random directions round: pair rows and kept pair texts to float16, so that a gap may
differ by ``GAP_FP16`` from the paper's, in ``rest``; o by 1e-5.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

import reference
from coder_engine.explain import ClassParts, Duel, explain
from coder_engine.head import Head
from helpers_explain import kept_weights, text_of
from parity.cases import Case, cases, grid_case
from parity.compare import GAP_FP16, LOGIT

examples = settings(max_examples=60, deadline=None)


def check_class(case: Case, x: np.ndarray, found: ClassParts, *, within: float) -> None:
    label_id = int(found.label.split()[1])
    own = case.class_texts[label_id]
    o = reference.stage_one(x, case.class_texts)[label_id]
    assert sum(part.share for part in found.parts) + found.rest == pytest.approx(found.o, abs=1e-9)
    assert found.o == pytest.approx(o, abs=within)
    assert found.rest == pytest.approx(0, abs=within)  # all texts are listed
    assert sum(share for _, _, share in found.kinds) == pytest.approx(o, abs=within)
    count = len(own["attribute"]) + len(own["analogous"]) + 1
    shares = {
        text_of(kind, label_id, n): float(x @ t) / count for kind in reference.KINDS for n, t in enumerate(own[kind])
    }
    for part in found.parts:
        assert part.share == pytest.approx(shares[part.text], abs=within)
        assert part.cosine == pytest.approx(shares[part.text] * count, abs=within)
        assert part.text.startswith(part.kind)
    name, *described = found.parts
    assert len(described) == count - 1
    assert name.kind in ("name", "synonym")
    best = max(float(x @ t) for kind in ("name", "synonym") for t in own[kind])
    assert name.cosine == pytest.approx(best, abs=within)
    assert [part.share for part in described] == sorted((part.share for part in described), reverse=True)


def check_duel(case: Case, x: np.ndarray, found: Duel, *, within: float) -> None:
    a, b = (int(label.split()[1]) for label in (found.label, found.other))
    assert found.gap > 0
    shares = [part.share for part in (*found.parts, *found.other_parts)]
    assert sum(shares) + found.rest == pytest.approx(found.gap, abs=1e-9)
    assert sum(shares) == pytest.approx(reference.pair_gap(x, case.pairs[a, b], case.pairs[b, a]), abs=within)
    assert found.gap == pytest.approx(sum(shares), abs=within)
    for parts, side, sign in ((found.parts, (a, b), 1), (found.other_parts, (b, a), -1)):
        texts = case.pairs[side]
        assert sorted(part.text for part in parts) == [text_of("pair", side, n) for n in range(len(texts))]
        for part in parts:
            cosine = float(x @ texts[int(part.text.split()[2])])
            assert part.cosine == pytest.approx(cosine, abs=within)
            assert part.share == pytest.approx(sign * cosine / len(texts), abs=within)
        assert [part.cosine for part in parts] == sorted((part.cosine for part in parts), reverse=True)


def check(case: Case, *, logits: float, gaps: float) -> int:
    weights = kept_weights(case)
    margin = None if case.margin < 0 else case.margin
    ranking = Head(weights).rank(case.features, margin=margin, rerank=case.rerank)
    duels = 0
    for row, x in enumerate(case.features.astype(np.float64)):
        found = explain(weights, case.features, ranking, row, margin=margin, rerank=case.rerank, texts=99)
        for one in found.classes:
            check_class(case, x, one, within=logits)
        for duel in found.duels:
            check_duel(case, x, duel, within=gaps)
        for label, total in found.sums:
            signed = [d.gap if d.label == label else -d.gap for d in found.duels if label in (d.label, d.other)]
            assert sum(signed) == pytest.approx(total, abs=1e-5)
        assert found.reranked == bool(ranking.reranked[row])
        assert bool(found.no_rerank) != found.reranked
        duels += len(found.duels)
    return duels


def listed(case: Case) -> Case:
    """With pairs that have rows where they have texts, and only there, as the exporter makes them."""
    full = all(reference.has_texts(case.pairs, a, b) for b in range(len(case.class_texts)) for a in range(b))
    return case if full or case.layout != "dense" else replace(case, layout="sparse")


@examples
@given(case=cases(dyadic=True))
def test_shares_are_exact_where_numbers_are(case: Case) -> None:
    check(listed(case), logits=1e-6, gaps=1e-9)


@examples
@given(case=cases(dyadic=False))
def test_shares_of_random_directions(case: Case) -> None:
    check(listed(case), logits=LOGIT, gaps=GAP_FP16)


@pytest.mark.parametrize("layout", ["sparse", "dense"])
@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 6])
def test_few_classes(classes: int, layout: str) -> None:
    duels = check(grid_case(classes, 9, "all", seed=classes, layout=layout), logits=1e-6, gaps=1e-9)
    assert (duels > 0) == (classes > 1)
