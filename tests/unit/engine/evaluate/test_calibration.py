"""The temperature against a grid search, and what a fit writes into the metadata."""

from __future__ import annotations

import math

import numpy as np
import pytest

import reference
from coder_engine.evaluate.calibration import (
    HIGHEST,
    LOWEST,
    calibrate,
    fit_temperature,
)
from coder_engine.evaluate.reliability import calibration_error, confidences
from coder_engine.evaluate.threshold import choose_threshold
from coder_engine.weightfile.metadata import Metadata

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


def test_records_fit_into_the_metadata() -> None:
    meta = Metadata(labels=("cat",), model="m", pretrained="p", tower="t", preprocess={}, logit_scale=100.0)
    logits, labels = drawn(3.0, count=200)
    fitted = calibrate(logits, labels, logits.argmax(axis=1), data="ab")
    chosen = choose_threshold([0.9, 0.05], [0.5, 0.1], 0.5, data="cd", data_out="ef")
    changed = Metadata(**{**meta.__dict__, **fitted.changes(), **chosen.changes()})
    back = Metadata.from_json(changed.to_json())
    assert back == changed
    assert back.temperature == fitted.temperature
    assert back.calibration["error_after"] == fitted.error_after
    assert back.unknown_below == chosen.unknown_below
    assert back.unknown_record == {
        "false_accepts": 0.5, "accepted_in": 0.5, "accepted_out": 0.5, "images_in": 2, "images_out": 2, "data": "cd",
        "data_out": "ef",
    }  # fmt: skip
