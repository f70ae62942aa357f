"""Scores that mean what they say: the temperature of the probabilities.

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
from coder_engine.evaluate.reliability import calibration_error, confidences, log_sum

Array = NDArray[np.float64]

LOWEST, HIGHEST = 0.01, 100.0
"""The temperatures that are tried. Where the likelihood rises up to a bound (every image is right, or the logits say
nothing of the labels), the bound is the answer, and none to keep: scores of 0 or 1, or all alike."""


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
        """For ``update_weights``; a threshold that was chosen on other scores is the caller's to take out."""
        record = {key: value for key, value in asdict(self).items() if key != "temperature"}
        return {"temperature": self.temperature, "calibration": record}


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


def _slope(scaled: Array, truth: NDArray[np.int64], inverse: float) -> float:
    """d loss / d inverse of softmax(inverse * scaled): the mean logit expected, less the mean of the labels'."""
    powers = np.exp(inverse * (scaled - scaled.max(axis=1, keepdims=True)))
    expected = (powers * scaled).sum(axis=1) / powers.sum(axis=1)
    return float((expected - scaled[np.arange(len(truth)), truth]).mean())


def _loss(scaled: Array, truth: NDArray[np.int64], temperature: float) -> float:
    own = scaled[np.arange(len(truth)), truth] / temperature
    return float((log_sum(scaled / temperature) - own).mean())
