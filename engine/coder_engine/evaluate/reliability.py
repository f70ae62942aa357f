"""Confidences and how true they are: the reliability diagram and the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 15


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The images whose confidence is in (``lower``, ``upper``]: how many, its mean, and the share that is right."""

    lower: float
    upper: float
    images: int
    confidence: float
    accuracy: float


def confidences(logits: ArrayLike, answers: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """softmax(logits / temperature) of each image's answer: logits [N, C], answers [N] class ids -> [N]."""
    scaled = np.asarray(logits, np.float64) / temperature
    own = scaled[np.arange(len(scaled)), np.asarray(answers, np.int64)]
    return np.asarray(np.exp(own - log_sum(scaled)))


def log_sum(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """log sum exp of each row: [N, C] -> [N]; never overflows."""
    top = logits.max(axis=1)
    return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))


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
