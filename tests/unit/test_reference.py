"""The oracle against numbers worked by hand, the working in the comments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import reference

NONE = np.empty((0, 2))
X = np.array([0.6, 0.8])
RIGHT, UP, LEFT, DOWN = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]  # x . these = .6, .8, -.6, -.8


def names(*rows: list[float]) -> list[dict[str, np.ndarray]]:
    """Classes of one name text each."""
    return [{"name": np.array([row])} for row in rows]


def test_unit_divides_by_length() -> None:
    assert_allclose(reference.unit([[3, 4], [0, -2]]), [[0.6, 0.8], [0, -1]])


def test_unit_refuses_zeros() -> None:
    with pytest.raises(ValueError, match="no direction"):
        reference.unit([[1.0, 0.0], [0.0, 0.0]])


def test_coder_is_the_cosine_to_each_text() -> None:
    # Eq. 4 on x = (3, 4), t1 = (2, 0), t2 = (0, 5): 6 / (5 2) = .6 and 20 / (5 5) = .8
    w = reference.unit([[2, 0], [0, 5]]).T
    assert_allclose(reference.coder(reference.unit([3, 4]), w), [0.6, 0.8])


def test_text_columns_are_class_by_class_in_the_order_of_eq_7() -> None:
    texts = [
        {"synonym": np.array([LEFT]), "analogous": np.array([UP]), "name": np.array([RIGHT])},
        {"name": np.array([DOWN]), "attribute": NONE},
    ]
    assert_array_equal(reference.text_columns(texts).T, [RIGHT, UP, LEFT, DOWN])


def test_stage_one_takes_the_best_name_and_the_mean_of_the_rest() -> None:
    texts = {
        "name": np.array([RIGHT]),
        "synonym": np.array([UP, LEFT]),
        "attribute": np.array([RIGHT, LEFT]),
        "analogous": np.array([DOWN]),
    }
    # names .6, .8, -.6: the best is .8. attribute .6, -.6, analogous -.8. mean(.6, -.6, -.8, .8) = 0
    # Second class, a name only: .6. With synonyms in the mean, as under Eq. 7, the first would not be 0.
    assert_allclose(reference.stage_one(X, [texts, *names(RIGHT)]), [0.0, 0.6], atol=1e-15)


def test_stage_one_without_analogous_texts() -> None:
    texts = {"name": np.array([RIGHT]), "attribute": np.array([UP, UP]), "analogous": NONE, "synonym": NONE}
    # mean(.8, .8, .6) = 2.2 / 3
    assert_allclose(reference.stage_one(X, [texts]), [2.2 / 3])


def test_ties_go_to_the_lower_class_id() -> None:
    o = np.array([1.0, 3.0, 2.0, 3.0, 1.0, 2.0])
    assert_array_equal(reference.stage_one_order(o), [1, 3, 2, 5, 0, 4])
    assert_array_equal(reference.top_five(o), [1, 3, 2, 5, 0])
    assert_array_equal(reference.top_five(o[:3]), [1, 2, 0])


def test_pair_gap_is_the_difference_of_means() -> None:
    # a: mean(.6, .8) = .7; b: mean(-.6, -.8, .6) = -.8 / 3
    gap = reference.pair_gap(X, [RIGHT, UP], [LEFT, DOWN, RIGHT])
    assert gap == pytest.approx(0.7 + 0.8 / 3)


@pytest.mark.parametrize(("ours", "theirs"), [(NONE, [UP]), ([UP], NONE), (NONE, NONE)])
def test_a_pair_without_texts_on_a_side_has_no_gap(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert reference.pair_gap(X, ours, theirs) == 0.0
    assert not reference.has_texts({(0, 1): ours, (1, 0): theirs}, 0, 1)


def test_pair_gaps_are_antisymmetric_and_0_where_texts_lack() -> None:
    # Candidates 7, 2, 4. 7 over 2: .8 - .6 = .2. 2 and 4: one side only. 4 over 7: -.8 - .6 = -1.4
    one = {(7, 2): [UP], (2, 7): [RIGHT], (2, 4): [UP], (4, 7): [DOWN], (7, 4): [RIGHT]}
    pairs = {pair: np.array(rows) for pair, rows in one.items()}
    want = [[0, 0.2, 1.4], [-0.2, 0, 0], [-1.4, 0, 0]]
    assert_allclose(reference.pair_gaps(X, [7, 2, 4], pairs), want, atol=1e-15)


def test_rerank_orders_by_the_sum_of_gaps_and_ties_by_first_rank() -> None:
    # Rows sum to -3, 1, 1, 1
    duels = np.array([[0.0, -1, -1, -1], [1, 0, 1, -1], [1, -1, 0, 1], [1, 1, -1, 0]])
    places, sums = reference.rerank(duels)
    assert_array_equal(places, [1, 2, 3, 0])
    assert_array_equal(sums, [1, 1, 1, -3])


def test_rerank_counts_the_size_of_a_gap_not_the_wins() -> None:
    # The first wins twice by 1 (S = 2 - 0), the second wins once by 5: S = -1 + 5 = 4, the third -1 - 5 = -6
    places, sums = reference.rerank(np.array([[0.0, 1, 1], [-1, 0, 5], [-1, -5, 0]]))
    assert_array_equal(places, [1, 0, 2])
    assert_array_equal(sums, [4, 2, -6])


def test_two_stages_reorder_the_first_five_only() -> None:
    # D = 1, x = 1: logits 7 to 1, stage 1 is 0..6. Class 6 would win any duel, but is no candidate.
    # 4 over 0 by 2 - (-1) = 3; 3 over 1 by 1 - 0 = 1. S of 0..4: -3, -1, 0, 1, 3
    classes = names([7.0], [6.0], [5.0], [4.0], [3.0], [2.0], [1.0])
    texts = {(4, 0): 2.0, (0, 4): -1.0, (3, 1): 1.0, (1, 3): 0.0, (6, 0): 9.0, (0, 6): 0.0}
    pairs = {pair: np.array([[value]]) for pair, value in texts.items()}
    got = reference.two_stage([1.0], classes, pairs)
    assert_array_equal(got.logits, [7, 6, 5, 4, 3, 2, 1])
    assert_array_equal(got.order, [4, 3, 2, 1, 0, 5, 6])
    assert_array_equal(got.gaps, [3, 1, 0, -1, -3])
    assert_array_equal(got.duels[0], [0, 0, 0, 0, 3])
    assert_array_equal(got.duels[1], [0, 0, 0, 1, 0])
    assert_array_equal(got.duels, -got.duels.T)
    assert got.reranked


def test_two_stages_without_pairs_are_one_stage() -> None:
    classes = names(RIGHT, UP, LEFT)
    got = reference.two_stage(X, classes, {})
    assert_array_equal(got.order, [1, 0, 2])
    assert_array_equal(got.gaps, [0, 0, 0])
    assert not got.reranked
    assert_array_equal(got.order, reference.one_stage(X, classes).order)


def test_one_class() -> None:
    got = reference.two_stage(X, names(UP), {})
    assert_array_equal(got.order, [0])
    assert got.duels.shape == (1, 1)
    assert reference.lead(got.logits, 100.0) == 1.0


def test_lead_is_of_the_scaled_softmax() -> None:
    # o = (0, ln 2 / 10, 0), scale 10: powers 1, 2, 1, so 2/4 - 1/4
    o = np.array([0.0, math.log(2) / 10, 0.0])
    assert_allclose(reference.softmax(o, 10.0), [0.25, 0.5, 0.25])
    assert reference.lead(o, 10.0) == pytest.approx(0.25)


@pytest.mark.parametrize(("margin", "order"), [(0.26, [0, 1]), (0.24, [1, 0]), (0.0, [1, 0])])
def test_the_gate_opens_where_the_lead_is_under_the_margin(margin: float, order: list[int]) -> None:
    # D = 1, x = 1, o = (0, ln(5/3)): probabilities 3/8 and 5/8, lead 1/4. The duel says 0 over 1.
    classes = names([0.0], [math.log(5 / 3)])
    pairs = {(0, 1): np.array([[1.0]]), (1, 0): np.array([[0.0]])}
    got = reference.two_stage_gated([1.0], classes, pairs, scale=1.0, margin=margin)
    assert_array_equal(got.order, order)
    assert got.reranked == (order == [0, 1])


def test_adapter_with_min_max() -> None:
    # W = diag(1, 2): s = (.6, 1.6) / sqrt 2.92. Supports (1, 0), (0, 1), (-1, 0) have S rows (1, 0), (0, 2),
    # (-1, 0), cut to length 1: affinities .6, 1.6, -.6 over sqrt 2.92; min-max 1.2 / 2.2, 1, 0.
    # alpha 10, beta 2, T 1: A = exp(-2 (1 - .)) = exp(-2 / 2.2), 1, exp(-2). Labels 0, 1, 0; cosines .1, .2
    got = reference.coder_adapter(
        X,
        np.diag([1.0, 2.0]),
        [RIGHT, UP, LEFT],
        [0, 1, 0],
        [0.1, 0.2],
        alpha=10.0,
        beta=2.0,
        t=1.0,
        norm="minmax",
    )
    assert_allclose(got, [10 * (math.exp(-2 / 2.2) + math.exp(-2)) + 10, 10 * 1 + 20])


def test_adapter_with_l2() -> None:
    # W = diag(1, 2): s = (.6, 1.6), |s|^2 = 2.92. Supports (1, 0), (0, 1): S rows (1, 0), (0, 2), cut to
    # (1, 0), (0, 1). Closeness .6 / sqrt 2.92, 1.6 / sqrt 2.92; T 2, beta 3, alpha 1; class 2 has no support
    closeness = np.array([0.6, 1.6]) / math.sqrt(2.92)
    got = reference.coder_adapter(
        X, np.diag([1.0, 2.0]), [RIGHT, UP], [1, 0], [0.0, 0.0, 0.5], alpha=1.0, beta=3.0, t=2.0, norm="l2"
    )
    a = np.exp(-3 * (1 - closeness / 2))
    assert_allclose(got, [a[1], a[0], 50.0])


def test_adapter_refuses_what_is_not_defined() -> None:
    with pytest.raises(ValueError, match="not defined"):
        reference.normalised_affinity(np.ones(1), np.ones((3, 1)), "minmax")
    with pytest.raises(ValueError, match="'minmax' or 'l2', got 'max'"):
        reference.normalised_affinity(np.ones(1), np.ones((3, 1)), "max")
