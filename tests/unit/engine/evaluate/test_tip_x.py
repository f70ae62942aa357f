"""TIP-X and the nearest class mean against their formulas, pair by pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import reference
from coder_engine.evaluate import blocks
from coder_engine.evaluate.labelled import Labelled
from coder_engine.evaluate.tip_x import Array, TipX, class_means, log_signatures, search_tip_x
from coder_engine.fewshot.folds import Part, folds_of
from helpers_evaluate import clusters
from parity.cases import unit_rows

TEXTS = unit_rows(np.random.default_rng(5), 20, 16).astype(np.float32)
SUPPORT = clusters(4, 3, seed=1)
QUERIES = clusters(4, 5, seed=2)


def signature(x: np.ndarray) -> np.ndarray:
    return reference.softmax(TEXTS.astype(np.float64) @ x, 2.0)  # temperature 0.5


def test_divergences_are_kl_of_softmaxed_text_cosines() -> None:
    one_hot = np.eye(4, dtype=np.float32)[SUPPORT.labels]
    tip = TipX(
        support=SUPPORT.features,
        one_hot=one_hot,
        texts=TEXTS,
        signatures=log_signatures(SUPPORT.features, TEXTS),
        spread=(0, 1, 0, 1),
    )
    got = tip.divergences(QUERIES.features)
    wanted = [
        [np.sum(signature(x) * np.log(signature(x) / signature(f))) for f in SUPPORT.features.astype(np.float64)]
        for x in QUERIES.features.astype(np.float64)
    ]
    assert_allclose(got, wanted, atol=2e-6)
    assert got.min() >= -1e-6


@pytest.mark.parametrize("with_zero_shot", [False, True])
def test_logits_are_the_three_terms(with_zero_shot: bool) -> None:
    one_hot = np.eye(4, dtype=np.float32)[SUPPORT.labels]
    tip = TipX(
        support=SUPPORT.features,
        one_hot=one_hot,
        texts=TEXTS,
        signatures=log_signatures(SUPPORT.features, TEXTS),
        spread=(0.1, 0.6, -0.2, 0.9),
        alpha=0.7,
        beta=3,
        gamma=2,
    )
    zero_shot = np.random.default_rng(1).standard_normal((len(QUERIES), 4)).astype(np.float32)
    got = tip.logits(QUERIES.features, zero_shot if with_zero_shot else None)
    for i, x in enumerate(QUERIES.features.astype(np.float64)):
        wanted = 100.0 * zero_shot[i].astype(np.float64) if with_zero_shot else np.zeros(4)
        for f, label in zip(SUPPORT.features.astype(np.float64), SUPPORT.labels, strict=True):
            kl = np.sum(signature(x) * np.log(signature(x) / signature(f)))
            psi = (kl - 0.1) / (0.6 - 0.1) * (0.9 + 0.2) - 0.2
            wanted[label] += 0.7 * np.exp(-3 * (1 - x @ f)) - 2 * psi
        assert_allclose(got[i], wanted, atol=2e-4)


def search(parts: list[Part]) -> TipX:
    return search_tip_x(SUPPORT.features, SUPPORT.labels, parts, TEXTS, classes=4)


def judged_by(val: Labelled, zero_shot: Array | None = None) -> list[Part]:
    """All of the support, and validation images."""
    ids = (SUPPORT.labels.astype(np.int32), val.labels.astype(np.int32))
    return [Part(SUPPORT.features, ids[0], val.features, ids[1], zero_shot)]


def test_the_search_takes_the_best_on_validation() -> None:
    noisy = clusters(4, 40, seed=3, noise=0.6)
    found, default = search(judged_by(noisy)), search([])
    right, plain = (
        (one.logits(noisy.features).argmax(axis=1) == noisy.labels).mean()
        for one in (found, replace(default, spread=found.spread))
    )
    assert right >= plain
    assert (default.alpha, default.beta, default.gamma) == (1.0, 5.5, 1.0)
    assert found.alpha == 1.0  # without a zero-shot term only its ratio to gamma counts


def test_of_equal_candidates_the_nearest_to_the_defaults() -> None:
    found = search(judged_by(SUPPORT))  # which every candidate gets right
    assert (found.alpha, found.beta, found.gamma) == (1.0, 5.0, 1.0)


def test_folds_are_all_judged_and_answers_are_by_the_whole_support() -> None:
    found = search(list(folds_of(SUPPORT.features, SUPPORT.labels.astype(np.int32), None)))
    assert (found.support == SUPPORT.features).all()
    assert (found.one_hot.argmax(axis=1) == SUPPORT.labels).all()
    by_fold = [search([part]).spread for part in folds_of(SUPPORT.features, SUPPORT.labels.astype(np.int32), None)]
    assert found.spread == tuple(
        bound(column) for bound, column in zip((min, max, min, max), zip(*by_fold, strict=True), strict=True)
    )


def test_blocks_change_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = clusters(4, 40, seed=3, noise=0.6)
    parts = judged_by(noisy, noisy.features @ TEXTS[:4].T)
    whole = search(parts)
    monkeypatch.setattr(blocks, "BLOCK", 7)
    found = search(parts)
    assert (found.alpha, found.beta, found.gamma) == (whole.alpha, whole.beta, whole.gamma)
    assert_allclose(found.spread, whole.spread, atol=1e-6)


def test_a_harmful_zero_shot_term_is_outvoted() -> None:
    wrong = -np.eye(4, dtype=np.float32)[QUERIES.labels] * 0.05
    found = search(judged_by(QUERIES, wrong))
    assert found.alpha > 1
    assert (found.logits(QUERIES.features, wrong).argmax(axis=1) == QUERIES.labels).mean() > 0.8


def test_class_means_are_unit_means() -> None:
    wanted = [reference.unit(SUPPORT.features[SUPPORT.labels == j].astype(np.float64).mean(axis=0)) for j in range(4)]
    assert_allclose(class_means(SUPPORT.features, SUPPORT.labels, 4), wanted, atol=1e-6)
