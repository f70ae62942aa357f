"""Reliability and the calibration error by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import reference
from coder_engine.evaluate.reliability import calibration_error, confidences, reliability


def test_calibration_error_by_hand() -> None:
    # (0.5, 0.6]: 0.6, 0.55, one of two right. (0.9, 1]: 1.0, 0.95, 0.95, 0.9 + a little, three of four.
    sure = np.array([0.6, 0.55, 1.0, 0.95, 0.95, 0.9001])
    right = np.array([1, 0, 1, 1, 0, 1], bool)
    bins = reliability(sure, right, 10)
    assert [(one.lower, one.upper, one.images, one.accuracy) for one in bins] == [
        (0.5, 0.6, 2, 0.5),
        (0.9, 1.0, 4, 0.75),
    ]
    assert_allclose([one.confidence for one in bins], [0.575, 3.8001 / 4])
    assert calibration_error(sure, right, 10) == pytest.approx(2 / 6 * 0.075 + 4 / 6 * (3.8001 / 4 - 0.75))


def test_confidences_are_the_softmax_of_the_answer() -> None:
    logits = 4 * np.random.default_rng(0).normal(size=(5, 7))
    answers = np.array([3, 0, 6, 2, 2])
    wanted = [reference.softmax(o, 1 / 2.5)[i] for o, i in zip(logits, answers, strict=True)]
    assert_allclose(confidences(logits, answers, 2.5), wanted, rtol=1e-12)
    assert_allclose(confidences(np.array([[1e6, 0.0]]), np.array([0])), 1)


def test_edges_belong_to_the_lower_bin_and_0_to_the_first() -> None:
    bins = reliability(np.array([0.0, 0.5, 0.5000001]), np.ones(3, bool), 2)
    assert [(one.lower, one.images) for one in bins] == [(0.0, 2), (0.5, 1)]


def test_no_images_have_no_error() -> None:
    assert calibration_error(np.zeros(0), np.zeros(0, bool)) == 0


@pytest.mark.parametrize(
    ("sure", "right", "bins", "said"),
    [
        ([0.5], [True], 0, "bins must be at least 1, got 0"),
        ([0.5], [True, False], 5, r"confidences and correct must both be \[N\], got \[1\] and \[2\]"),
        ([1.5], [True], 5, "confidences must be probabilities"),
        ([np.nan], [True], 5, "confidences must be probabilities"),
    ],
)
def test_refused_confidences(sure: list[float], right: list[bool], bins: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        calibration_error(sure, right, bins)
