"""Accuracies by counting, and intervals that cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

import reference
from coder_engine.evaluate.answers import (
    Answers,
    answers_of,
    best_first,
    bootstrap,
    confidence_of,
    interval,
    measure,
    wilson,
)

LOGITS = np.array([[3, 1, 2, 0, 0, 0], [0, 5, 5, 1, 2, 3], [1, 1, 1, 1, 1, 1]], np.float32)


def answers(first: list[int], classes: int = 3) -> Answers:
    ids = np.array([[i, *(j for j in range(classes) if j != i)] for i in first])
    return Answers(method="m", ids=ids, confidence=np.full(len(first), 0.75))


def test_classes_are_ranked_with_ties_by_id() -> None:
    assert best_first(LOGITS).tolist() == [[0, 2, 1, 3, 4], [1, 2, 5, 4, 3], [0, 1, 2, 3, 4]]
    assert best_first(LOGITS[:, :2]).tolist() == [[0, 1], [1, 0], [0, 1]]
    many = np.tile(np.array([0, 1], np.float32), (1, 500))  # enough for a sort that is not stable to show
    assert best_first(many).tolist() == [[1, 3, 5, 7, 9]]


def test_confidence_is_the_softmax_of_the_answer() -> None:
    found = answers_of("m", LOGITS, 0.5)
    wanted = [reference.softmax(row.astype(np.float64), 0.5)[row.argmax()] for row in LOGITS]
    assert_allclose(found.confidence, wanted)
    other = np.array([1, 3, 5])
    assert_allclose(confidence_of(LOGITS, other, 2.0)[1], reference.softmax(LOGITS[1].astype(np.float64), 2.0)[3])


def test_shares_are_counted() -> None:
    labels = np.array([0, 0, 0, 2])
    first, second = measure([answers([0, 1, 0, 1]), answers([0, 0, 0, 1])], labels, 3, rounds=50)
    assert first.top_one == 0.5
    assert first.top_five == 1.0
    assert first.macro == pytest.approx((2 / 3 + 0) / 2)  # class 1 has no image
    assert [first.by_class[0], first.by_class[2]] == [pytest.approx(2 / 3), 0]
    assert math.isnan(first.by_class[1])
    assert first.confusion.tolist() == [[2, 1, 0], [0, 0, 0], [0, 1, 0]]
    assert first.gain == (0, 0, 0)
    assert second.gain[0] == 0.25
    assert first.calibration_error == pytest.approx(0.25)


def test_top_five_is_not_top_one() -> None:
    ids = np.array([[0, 1, 2, 3, 4], [0, 1, 2, 3, 5]])
    one = measure([Answers(method="m", ids=ids, confidence=np.ones(2))], np.array([4, 4]), 6, rounds=5)[0]
    assert (one.top_one, one.top_five) == (0, 0.5)


def test_resampled_intervals_are_those_of_a_binomial() -> None:
    right = (np.arange(400) < 300).astype(np.float64)[None]
    top, macro = bootstrap(right, np.zeros(400, np.int64), 1, rounds=2000, seed=0)
    half = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert_allclose(interval(top[0]), (0.75 - half, 0.75 + half), atol=0.006)
    assert_allclose(macro, top)


def test_gains_are_paired() -> None:
    # Right on the same images but one: the interval of the gain is far narrower than that of either.
    labels = np.zeros(200, np.int64)
    one = [0] * 100 + [1] * 100
    other = [0] * 101 + [1] * 99
    first, second = measure([answers(one), answers(other)], labels, 3)
    assert second.gain[0] == pytest.approx(0.005)
    assert second.gain[2] - second.gain[1] < 0.02 < 0.1 < first.interval[1] - first.interval[0]


def test_the_same_seed_gives_the_same_intervals() -> None:
    labels = np.arange(90) % 3
    given = [answers([0, 1, 1, 1, 1, 0] * 15)]
    one, again, other = (measure(given, labels, 3, rounds=7, seed=seed)[0] for seed in (3, 3, 4))
    assert (one.interval, one.macro_interval) == (again.interval, again.macro_interval)
    assert one.macro_interval != other.macro_interval
    assert one.interval == other.interval  # no resampled one


@pytest.mark.parametrize(
    ("right", "images", "wanted"),
    [(20, 20, (0.8389, 1)), (0, 20, (0, 0.1611)), (81, 263, (0.2553, 0.3662)), (1, 1, (0.2065, 1))],
)
def test_wilson(right: int, images: int, wanted: tuple[float, float]) -> None:
    assert_allclose(wilson(right, images), wanted, atol=5e-5)
    labels = np.zeros(images, np.int64)
    (one,) = measure([answers([0] * right + [1] * (images - right))], labels, 3, rounds=5)
    assert one.interval == wilson(right, images)


def test_an_interval_holds_the_share_and_covers_it() -> None:
    for images in range(1, 200):
        for right in (0, 1, images - 1, images):
            low, high = wilson(right, images)
            assert 0 <= low <= right / images <= high <= 1  # plots draw the differences
    drawn = np.random.default_rng(0).binomial(40, 0.97, 4000).tolist()  # of resamples, 69 of 100 intervals hold it
    assert np.mean([low < 0.97 < high for low, high in (wilson(right, 40) for right in drawn)]) > 0.9
