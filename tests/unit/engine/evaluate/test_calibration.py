"""The temperature against a grid search, the calibration error by hand, the threshold by counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

import reference
from coder_engine.evaluate.calibration import (
    HIGHEST,
    LOWEST,
    calibrate,
    calibration_error,
    choose_threshold,
    confidences,
    fit_temperature,
    reliability,
    threshold_for,
)
from coder_engine.metadata import Metadata

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def drawn(true: float, count: int = 4000, classes: int = 7, seed: int = 0) -> tuple[Floats, Ints]:
    """Logits [N, C] and labels that softmax(logits / true) really drew."""
    rng = np.random.default_rng(seed)
    logits = 4 * rng.normal(size=(count, classes))
    powers = np.exp(logits / true)
    chances = np.cumsum(powers / powers.sum(axis=1, keepdims=True), axis=1)
    return logits, (rng.random((count, 1)) > chances).sum(axis=1)


def loss(logits: Floats, labels: Ints, t: float) -> float:
    return float(np.mean([-math.log(reference.softmax(o, 1 / t)[y]) for o, y in zip(logits, labels, strict=True)]))


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_drew_the_labels(true: float) -> None:
    assert fit_temperature(*drawn(true)) == pytest.approx(true, rel=0.06)


@pytest.mark.parametrize("true", [0.5, 2.0])
def test_no_temperature_near_it_is_better(true: float) -> None:
    logits, labels = drawn(true, count=300, seed=1)
    found = fit_temperature(logits, labels)
    best = loss(logits, labels, found)
    assert all(loss(logits, labels, found * factor) > best for factor in (0.5, 0.9, 0.999, 1.001, 1.1, 2))


def test_scaled_logits_scale_the_temperature() -> None:
    logits, labels = drawn(1.0, count=200)
    assert fit_temperature(7 * logits + 1000, labels) == pytest.approx(7 * fit_temperature(logits, labels), rel=1e-9)


def test_bounds() -> None:
    logits, _ = drawn(1.0, count=50)
    assert fit_temperature(logits, logits.argmax(axis=1)) == LOWEST
    assert fit_temperature(logits, logits.argmin(axis=1)) == HIGHEST


@pytest.mark.parametrize("logits", [np.ones((3, 1)), np.full((3, 4), 9.0)])
def test_logits_that_tell_no_class_from_another_keep_the_scores(logits: Floats) -> None:
    assert fit_temperature(logits, np.zeros(3, np.int64)) == 1.0


def test_logits_far_beyond_exp() -> None:
    logits = np.array([[1e6, 0.0], [1e6, 0.0], [0.0, 1e6]])
    assert fit_temperature(logits, np.array([0, 0, 0])) == HIGHEST


@pytest.mark.parametrize(
    ("logits", "labels", "said"),
    [
        (
            np.zeros((0, 3)),
            np.zeros(0, np.int64),
            r"logits must be \[N, C\] of at least one image and class, got \[0, 3",
        ),
        (np.zeros(3), np.zeros(3, np.int64), r"logits must be \[N, C\]"),
        (np.full((2, 2), np.nan), np.zeros(2, np.int64), "logits must be finite"),
        (np.zeros((2, 2)), np.zeros(3, np.int64), r"labels must be whole numbers \[2\], got int64 \[3\]"),
        (np.zeros((2, 2)), np.zeros(2), r"labels must be whole numbers \[2\], got float64"),
        (np.zeros((2, 2)), np.array([0, 2]), "labels must be class ids, 0 to 1, got 0 to 2"),
        (np.zeros((2, 2)), np.array([-1, 0]), "labels must be class ids, 0 to 1, got -1 to 0"),
    ],
)
def test_refused_logits(logits: Floats, labels: Ints, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit_temperature(logits, labels)


def test_confidences_are_the_softmax_of_the_answer() -> None:
    logits, _ = drawn(1.0, count=5)
    answers = np.array([3, 0, 6, 2, 2])
    wanted = [reference.softmax(o, 1 / 2.5)[i] for o, i in zip(logits, answers, strict=True)]
    assert_allclose(confidences(logits, answers, 2.5), wanted, rtol=1e-12)


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


def test_calibrating_sure_scores_makes_them_true() -> None:
    logits, labels = drawn(3.0)
    found = calibrate(logits, labels, logits.argmax(axis=1), data="abc")
    assert found.error_before > 0.15
    assert found.error_after < 0.03
    assert found.loss_after < found.loss_before
    assert found.loss_before == pytest.approx(loss(logits, labels, 1.0))
    assert (found.images, found.data) == (4000, "abc")


def test_the_error_is_of_the_final_answers() -> None:
    logits, labels = drawn(1.0, count=400)
    answers = logits.argsort(axis=1)[:, -2]  # as if a rerank always put the second first
    found = calibrate(logits, labels, answers, data="abc")
    wanted = calibration_error(confidences(logits, answers), answers == labels)
    assert found.error_before == wanted
    assert found.temperature == fit_temperature(logits, labels)


def test_refused_answers() -> None:
    with pytest.raises(ValueError, match="answers must be class ids, 0 to 1"):
        calibrate(np.eye(2), np.array([0, 1]), np.array([0, 2]), data="")


@pytest.mark.parametrize(
    ("false_accepts", "threshold_of", "accepted"),
    [(0.0, 0.9, 0.25), (0.19, 0.9, 0.25), (0.2, 0.7, 0.5), (0.4, 0.5, 0.75), (0.6, 0.5, 0.75), (0.8, 0.1, 1.0)],
)
def test_the_threshold_is_just_above_the_best_that_must_not_pass(
    false_accepts: float, threshold_of: float, accepted: float
) -> None:
    outside = [0.5, 0.1, 0.7, 0.9, 0.5]
    inside = [0.95, 0.8, 0.6, 0.2]
    threshold, share = threshold_for(inside, outside, false_accepts)
    assert threshold == np.nextafter(threshold_of, 1)
    assert share == accepted
    assert np.mean(np.array(outside) >= threshold) <= false_accepts


def test_every_image_allowed_is_no_threshold() -> None:
    assert threshold_for([0.3], [0.5, 0.9], 1.0) == (0.0, 1.0)


def test_shares_that_do_not_fit_into_binary() -> None:
    outside = np.arange(100) / 128
    threshold, _ = threshold_for([0.5], outside, 0.29)
    assert int((outside >= threshold).sum()) == 29


@pytest.mark.parametrize(
    ("inside", "outside", "rate", "said"),
    [
        ([], [0.5], 0.1, r"in_scores must be \[N\] of at least one image, got \[0\]"),
        ([0.5], [], 0.1, "out_scores must be"),
        ([7.0], [0.5], 0.1, "in_scores must be probabilities"),
        ([0.5], [np.nan], 0.1, "out_scores must be probabilities"),
        ([0.5], [0.5], 1.1, "false_accepts must be a share, 0 to 1, got 1.1"),
        ([0.5], [1.0, 1.0, 0.5], 0.5, "2 of 3 out-of-set images score 1.0; fit a temperature first"),
    ],
)
def test_refused_scores(inside: list[float], outside: list[float], rate: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        threshold_for(inside, outside, rate)


def test_records_fit_into_the_metadata() -> None:
    meta = Metadata(labels=("cat",), model="m", pretrained="p", tower="t", preprocess={}, logit_scale=100.0)
    logits, labels = drawn(3.0, count=200)
    fitted = calibrate(logits, labels, logits.argmax(axis=1), data="ab")
    chosen = choose_threshold([0.9, 0.05], [0.5, 0.1], 0.5, data="cd")
    changed = Metadata(**{**meta.__dict__, **fitted.changes(), **chosen.changes()})
    back = Metadata.from_json(changed.to_json())
    assert back == changed
    assert back.temperature == fitted.temperature
    assert back.calibration["error_after"] == fitted.error_after
    assert back.unknown_below == chosen.unknown_below
    assert back.unknown_record == {
        "false_accepts": 0.5, "accepted_in": 0.5, "accepted_out": 0.5, "images_in": 2, "images_out": 2, "data": "cd"
    }  # fmt: skip


def test_a_new_temperature_voids_the_threshold() -> None:
    changes = calibrate(np.eye(2), np.array([0, 1]), np.array([0, 1]), data="").changes()
    assert (changes["unknown_below"], changes["unknown_record"]) == (None, {})
