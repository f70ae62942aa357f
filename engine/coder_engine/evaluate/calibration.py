"""Scores that mean what they say: a temperature for the probabilities, and a threshold under which nothing is known.

A Prediction's score is softmax(logit_scale * o / temperature) of its label, o of Eq. 8. After a rerank another class of
``top`` may have a higher one, so what has to be true is the score of the *final* answer: of the images answered with
0.8, four of five should be right. The temperature is fitted to the labels by the likelihood of stage 1, which is where
scores come from; the calibration error before and after is measured on final answers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coder_engine.evaluate.checks import checked_ids, checked_logits

Array = NDArray[np.float64]

LOWEST, HIGHEST = 0.01, 100.0
"""The temperatures that are tried. Where the likelihood rises up to a bound (every image is right, or the logits say
nothing of the labels), the bound is the answer."""

BINS = 15


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The images whose confidence is in (``lower``, ``upper``]: how many, its mean, and the share that is right."""

    lower: float
    upper: float
    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A fitted temperature and what it buys.

    Attributes:
        temperature: what the scaled logits are divided by.
        error_before, error_after: the calibration error of final answers with temperature 1 and with this one.
        loss_before, loss_after: mean negative log-likelihood of the labels, in nats.
        images: how many it was fitted on, and ``data`` the content hash of them that the caller gave.
    """

    temperature: float
    error_before: float
    error_after: float
    loss_before: float
    loss_after: float
    images: int
    data: str

    def changes(self) -> dict[str, Any]:
        """For ``update_weights``. A threshold chosen on other scores is void, so it goes."""
        record = {key: value for key, value in asdict(self).items() if key != "temperature"}
        return {
            "temperature": self.temperature, "calibration": record, "unknown_below": None, "unknown_record": {}
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold on scores and what it lets through.

    Attributes:
        unknown_below: answers that score less are unknown.
        false_accepts: the share of out-of-set images that was allowed, and ``accepted_out`` the share it lets through.
        accepted_in: the share of in-set images it lets through.
        images_in, images_out: how many it was chosen on, and ``data`` the content hash of them that the caller gave.
    """

    unknown_below: float
    false_accepts: float
    accepted_in: float
    accepted_out: float
    images_in: int
    images_out: int
    data: str

    def changes(self) -> dict[str, Any]:
        """For ``update_weights``."""
        record = {key: value for key, value in asdict(self).items() if key != "unknown_below"}
        return {"unknown_below": self.unknown_below, "unknown_record": record}


def calibrate(logits: ArrayLike, labels: ArrayLike, answers: ArrayLike, *, data: str) -> Calibration:
    """Fit the temperature and measure the calibration error of the final answers before and after.

    Args:
        logits: [N, C], logit_scale * o, temperature 1 whatever the weight file has.
        labels: [N], the true class ids.
        answers: [N], the class ids that were answered, after the rerank.
        data: a content hash of the images, for the record.

    Raises:
        ValueError: see :func:`fit_temperature`.
    """
    scaled = checked_logits(logits)
    truth = checked_ids(labels, "labels", scaled)
    answered = checked_ids(answers, "answers", scaled)
    temperature = fit_temperature(scaled, truth)
    errors, losses = [], []
    for t in (1.0, temperature):
        errors.append(calibration_error(confidences(scaled, answered, t), answered == truth))
        losses.append(_loss(scaled, truth, t))
    return Calibration(
        temperature=temperature,
        error_before=errors[0],
        error_after=errors[1],
        loss_before=losses[0],
        loss_after=losses[1],
        images=len(truth),
        data=data,
    )


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature t in [LOWEST, HIGHEST] that minimises the negative log-likelihood of softmax(logits / t).

    The loss is convex in 1/t, so its slope has one zero, and halving the interval finds it, whatever the logits are.

    Args:
        logits: [N, C], logit_scale * o.
        labels: [N], the true class ids.

    Returns:
        t; 1.0 where every t is as good (one class, or logits that are equal in every row).

    Raises:
        ValueError: shapes do not fit, there are no images, a logit is not finite, or a label is no class id.
    """
    scaled = checked_logits(logits)
    truth = checked_ids(labels, "labels", scaled)
    if not np.ptp(scaled, axis=1).any():
        return 1.0
    low, high = math.log(1 / HIGHEST), math.log(1 / LOWEST)  # of 1/t
    if _slope(scaled, truth, math.exp(low)) >= 0:
        return HIGHEST
    if _slope(scaled, truth, math.exp(high)) <= 0:
        return LOWEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _slope(scaled, truth, math.exp(middle)) > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


def confidences(logits: ArrayLike, answers: ArrayLike, temperature: float = 1.0) -> Array:
    """softmax(logits / temperature) of each image's answer: logits [N, C], answers [N] class ids -> [N]."""
    scaled = np.asarray(logits, np.float64)
    own = scaled[np.arange(len(scaled)), np.asarray(answers, np.int64)]
    return np.asarray(np.exp(own / temperature - _log_sum(scaled / temperature)))


def reliability(confidences: ArrayLike, correct: ArrayLike, bins: int = BINS) -> list[Bin]:
    """The points of a reliability diagram: bins of equal width, those without images left out.

    Args:
        confidences: [N], the scores of the final answers, 0 to 1.
        correct: [N] bool, whether the answers are right.
        bins: how many.

    Raises:
        ValueError: shapes do not fit, or a confidence is no probability.
    """
    sure, right = np.asarray(confidences, np.float64), np.asarray(correct, bool)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if sure.ndim != 1 or sure.shape != right.shape:
        raise ValueError(f"confidences and correct must both be [N], got {list(sure.shape)} and {list(right.shape)}")
    if not ((sure >= 0) & (sure <= 1 + 1e-6)).all():
        raise ValueError("confidences must be probabilities, 0 to 1; give softmax values, not logits")
    place = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    return [
        Bin(
            lower=i / bins,
            upper=(i + 1) / bins,
            images=int(own.sum()),
            confidence=float(sure[own].mean()),
            accuracy=float(right[own].mean()),
        )
        for i in range(bins)
        if (own := place == i).any()
    ]


def calibration_error(confidences: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error: by how much confidence and accuracy differ, a mean over the bins by their images.

    Args:
        confidences, correct, bins: see :func:`reliability`. No images: 0.

    Raises:
        ValueError: see :func:`reliability`.
    """
    found = reliability(confidences, correct, bins)
    total = sum(one.images for one in found)
    return sum(one.images / total * abs(one.confidence - one.accuracy) for one in found)


def choose_threshold(in_scores: ArrayLike, out_scores: ArrayLike, false_accepts: float, *, data: str) -> Threshold:
    """:func:`threshold_for` with its record; ``data`` is a content hash of the images."""
    threshold, accepted = threshold_for(in_scores, out_scores, false_accepts)
    outside = np.asarray(out_scores, np.float64)
    return Threshold(
        unknown_below=threshold,
        false_accepts=false_accepts,
        accepted_in=accepted,
        accepted_out=float((outside >= threshold).mean()),
        images_in=len(np.asarray(in_scores)),
        images_out=len(outside),
        data=data,
    )


def threshold_for(in_scores: ArrayLike, out_scores: ArrayLike, false_accepts: float = 0.05) -> tuple[float, float]:
    """The least threshold on scores that accepts at most a share of the out-of-set images.

    An image is accepted where its score is at least the threshold, as ``unknown_below`` has it.

    Args:
        in_scores: [N], scores of images of the classes.
        out_scores: [M], scores of images of anything else.
        false_accepts: the share of ``out_scores`` that may be accepted, 0 to 1.

    Returns:
        (threshold, 0 to 1; the share of ``in_scores`` it accepts).

    Raises:
        ValueError: an argument is out of range or empty, or no threshold is high enough, since too many of
            ``out_scores`` are 1.
    """
    inside, outside = (
        _checked_scores(given, name) for given, name in ((in_scores, "in_scores"), (out_scores, "out_scores"))
    )
    if not 0 <= false_accepts <= 1:
        raise ValueError(f"false_accepts must be a share, 0 to 1, got {false_accepts}")
    count = len(outside)
    allowed = int((np.arange(1, count + 1) / count <= false_accepts).sum())
    if allowed == count:
        return 0.0, 1.0
    # The best score that must not pass, and the next number above it.
    barred = float(np.sort(outside)[count - 1 - allowed])
    threshold = float(np.nextafter(barred, math.inf))
    if threshold > 1:
        sure = int((outside == 1).sum())
        raise ValueError(
            f"no threshold keeps false accepts at {false_accepts}: {sure} of {count} out-of-set images score 1.0; "
            "fit a temperature first, or allow more"
        )
    return threshold, float((inside >= threshold).mean())


def _slope(scaled: Array, truth: NDArray[np.int64], inverse: float) -> float:
    """d loss / d inverse of softmax(inverse * scaled): the mean logit expected, less the mean of the labels'."""
    powers = np.exp(inverse * (scaled - scaled.max(axis=1, keepdims=True)))
    expected = (powers * scaled).sum(axis=1) / powers.sum(axis=1)
    return float((expected - scaled[np.arange(len(truth)), truth]).mean())


def _loss(scaled: Array, truth: NDArray[np.int64], temperature: float) -> float:
    own = scaled[np.arange(len(truth)), truth] / temperature
    return float((_log_sum(scaled / temperature) - own).mean())


def _log_sum(scaled: Array) -> Array:
    top = scaled.max(axis=1)
    return np.asarray(top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)))


def _checked_scores(given: ArrayLike, name: str) -> Array:
    scores = np.asarray(given, np.float64)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"{name} must be [N] of at least one image, got {list(scores.shape)}")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"{name} must be probabilities, 0 to 1; give scores, not logits")
    return scores
