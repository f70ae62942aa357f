"""An answer taken apart: what stage 1 said, who beat whom, and that the parts make the sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from coder_engine.explain import Duel, Explanation, explain
from coder_engine.head import Ranking

LABELS = ("cat", "dog", "elk", "owl", "ant", "bee", "fly")


def antisymmetric(**gaps: float) -> np.ndarray[Any, Any]:
    """``ij=g``: place i beats place j of the answer by g."""
    duels = np.zeros((5, 5), np.float32)
    for places, gap in gaps.items():
        i, j = map(int, places[1:])
        duels[i, j], duels[j, i] = gap, -gap
    return duels


# elk goes from second place to the first; its duel with ant has no texts.
DUELS = antisymmetric(_01=0.5, _02=0.25, _03=0.125, _12=0.0625, _31=0.03125, _24=0.25, _14=0.5)


def ranking(duels: np.ndarray[Any, Any] = DUELS, reranked: bool = True) -> Ranking:
    """Two images of 7 classes: row 0 a stand-in of other numbers, row 1 the one that is looked at."""
    logits = np.array([[9] * 7, [0.31, 0.25, 0.30, 0.20, 0.10, 0.05, 0.04]], np.float32)
    ids = np.array([[6, 5, 4, 3, 2, 1, 0], [2, 0, 1, 3, 4, 5, 6]], np.int32)
    scores = np.array([[0.1] * 7, [0.25, 0.375, 0.1875, 0.125, 0.03125, 0.02, 0.01]], np.float32)
    gaps = np.stack([np.zeros(5, np.float32), duels.sum(axis=1)])
    both = np.stack([np.ones((5, 5), np.float32), duels])
    return Ranking(
        logits=logits, ids=ids, scores=scores, gaps=gaps, duels=both, reranked=np.array([not reranked, reranked])
    )


def test_stage_one_is_told_in_its_own_order() -> None:
    found = explain(ranking(), 1, LABELS)
    assert [label for label, _, _ in found.stage_one] == ["cat", "elk", "dog", "owl", "ant"]
    assert_allclose([o for _, o, _ in found.stage_one], [0.31, 0.30, 0.25, 0.20, 0.10], rtol=1e-6)
    assert [score for _, _, score in found.stage_one] == [0.375, 0.25, 0.1875, 0.125, 0.03125]


def test_equal_logits_by_the_lower_class_id() -> None:
    given = ranking()
    given.logits[1, :5] = 0.5
    assert [label for label, _, _ in explain(given, 1, LABELS).stage_one] == ["cat", "dog", "elk", "owl", "ant"]


def test_every_duel_with_a_winner_the_widest_first() -> None:
    assert explain(ranking(), 1, LABELS).duels == (
        Duel(label="elk", other="cat", gap=0.5),
        Duel(label="cat", other="ant", gap=0.5),
        Duel(label="elk", other="dog", gap=0.25),
        Duel(label="dog", other="ant", gap=0.25),
        Duel(label="elk", other="owl", gap=0.125),
        Duel(label="cat", other="dog", gap=0.0625),
        Duel(label="owl", other="cat", gap=0.03125),
    )


def test_the_parts_make_the_sums() -> None:
    rng = np.random.default_rng(0)
    upper = np.triu(rng.normal(size=(5, 5)), 1).astype(np.float32)
    for duels in (DUELS, upper - upper.T):
        found = explain(ranking(duels), 1, LABELS)
        for label, total in found.sums:
            won = sum(duel.gap for duel in found.duels if duel.label == label)
            lost = sum(duel.gap for duel in found.duels if duel.other == label)
            assert won - lost == pytest.approx(total, rel=1e-6, abs=1e-6)
    assert dict(explain(ranking(), 1, LABELS).sums) == {
        "elk": 0.875, "cat": 0.03125, "dog": -0.0625, "owl": -0.09375, "ant": -0.75
    }  # fmt: skip


def test_the_answer_is_the_first_of_the_final_order() -> None:
    found = explain(ranking(), 1, LABELS)
    assert [label for label, _ in found.sums] == ["elk", "cat", "dog", "owl", "ant"]
    assert (found.label, found.reranked) == ("elk", True)


def test_plain_python_numbers() -> None:
    found = explain(ranking(), 1, LABELS)
    assert {type(number) for _, o, score in found.stage_one for number in (o, score)} == {float}
    assert {type(duel.gap) for duel in found.duels} | {type(total) for _, total in found.sums} == {float}
    assert type(found.reranked) is bool


def test_words_of_a_rerank_that_changes_the_answer() -> None:
    assert str(explain(ranking(), 1, LABELS)).splitlines() == [
        "stage 1 said cat 0.3100 (38%), elk 0.3000 (25%), dog 0.2500 (19%), owl 0.2000 (12%), ant 0.1000 (3%)",
        "  elk beats cat by 0.5000",
        "  cat beats ant by 0.5000",
        "  elk beats dog by 0.2500",
        "  dog beats ant by 0.2500",
        "  elk beats owl by 0.1250",
        "  cat beats dog by 0.0625",
        "  owl beats cat by 0.0312",
        "sums of gaps: elk +0.8750, cat +0.0312, dog -0.0625, owl -0.0938, ant -0.7500",
        "the rerank goes from cat to elk",
    ]


def test_words_of_a_rerank_that_keeps_the_answer() -> None:
    found = Explanation(
        stage_one=(("cat", 0.5, 0.75), ("dog", 0.25, 0.25)),
        duels=(Duel(label="cat", other="dog", gap=0.125),),
        sums=(("cat", 0.125), ("dog", -0.125)),
        reranked=True,
    )
    assert str(found).splitlines() == [
        "stage 1 said cat 0.5000 (75%), dog 0.2500 (25%)",
        "  cat beats dog by 0.1250",
        "sums of gaps: cat +0.1250, dog -0.1250",
        "the rerank keeps cat",
    ]


def test_without_a_rerank() -> None:
    given = ranking(np.zeros((5, 5), np.float32), reranked=False)
    given.ids[1, :3] = [0, 2, 1]
    given.scores[1, :2] = [0.375, 0.25]
    found = explain(given, 1, LABELS)
    assert (found.duels, found.reranked, found.label) == ((), False, "cat")
    assert {total for _, total in found.sums} == {0.0}
    first, last = str(found).splitlines()
    assert first.startswith("stage 1 said cat 0.3100 (38%), elk 0.3000 (25%), dog")
    assert last == "no rerank; the answer is cat"


def test_fewer_than_five_classes() -> None:
    duels = np.array([[[0, 0.5], [-0.5, 0]]], np.float32)
    given = Ranking(
        logits=np.array([[0.5, 0.25]], np.float32),
        ids=np.array([[1, 0]], np.int32),
        scores=np.array([[0.25, 0.75]], np.float32),
        gaps=duels.sum(axis=2),
        duels=duels,
        reranked=np.array([True]),
    )
    found = explain(given, 0, LABELS)
    assert found.stage_one == (("cat", 0.5, 0.75), ("dog", 0.25, 0.25))
    assert found.duels == (Duel(label="dog", other="cat", gap=0.5),)
    assert found.sums == (("dog", 0.5), ("cat", -0.5))


def test_a_single_class() -> None:
    one = np.ones((1, 1), np.float32)
    given = Ranking(
        logits=0.5 * one,
        ids=np.zeros((1, 1), np.int32),
        scores=one,
        gaps=0 * one,
        duels=np.zeros((1, 1, 1), np.float32),
        reranked=np.array([False]),
    )
    assert str(explain(given, 0, LABELS)) == "stage 1 said cat 0.5000 (100%)\nno rerank; the answer is cat"
