"""What a method answers, and how good that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coder_engine.evaluate.blocks import by_blocks
from coder_engine.evaluate.reliability import calibration_error, confidences
from coder_engine.head import CANDIDATES

ROUNDS = 1000
"""Bootstrap resamples; the 2.5 % and 97.5 % points of fewer wobble in the digit that is printed."""

_NORMAL = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""

Ids = NDArray[np.int64]
Logits = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of one method.

    Attributes:
        method: its name in tables.
        ids: class ids, best first, [B, n], n = min(5, C).
        confidence: the probability of the first one, [B].
    """

    method: str
    ids: Ids
    confidence: NDArray[np.float64]

    @property
    def first(self) -> Ids:
        """[B], the answers."""
        return self.ids[:, 0]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How good the answers of one method are. Shares are 0 to 1.

    Attributes:
        method: its name in tables.
        top_one, top_five: the share of images whose class is the first, or among the first five.
        interval: 95 % interval of ``top_one``, Wilson's.
        macro: the mean of the accuracies by class.
        macro_interval: its 95 % bootstrap interval, over images.
        gain: ``top_one`` less that of the first method in the table, with its paired bootstrap interval.
        calibration_error: see ``coder_engine.evaluate.reliability``, 15 bins. With the weight file's temperature for
            the method that the engine answers by, whose scores it was fitted to; with temperature 1 for all others.
        by_class: accuracy of each class, [C]; NaN where it has no image.
        confusion: [C, C] counts, row = true class, column = answer.
    """

    method: str
    top_one: float
    interval: tuple[float, float]
    top_five: float
    macro: float
    macro_interval: tuple[float, float]
    gain: tuple[float, float, float]
    calibration_error: float
    by_class: NDArray[np.float64]
    confusion: NDArray[np.int64]


def answers_of(method: str, logits: Logits, scale: float) -> Answers:
    """Rank the classes by logits [B, C], equal ones by the lower id; confidence is softmax(scale * logits)."""
    ids = best_first(logits)
    return Answers(method=method, ids=ids, confidence=confidence_of(logits, ids[:, 0], scale))


def best_first(logits: Logits, count: int = CANDIDATES) -> Ids:
    """The ``count`` best classes of logits [B, C], equal ones by the lower id: ids [B, min(count, C)]."""
    return by_blocks(lambda block: np.argsort(-block, axis=1, kind="stable")[:, :count], logits)


def confidence_of(logits: Logits, ids: Ids, scale: float) -> NDArray[np.float64]:
    """softmax(scale * logits) of the classes ``ids`` [B]: [B]."""
    return by_blocks(lambda block, own: confidences(scale * block.astype(np.float64), own), logits, ids)


def measure(
    answers: Sequence[Answers], labels: Ids, classes: int, *, rounds: int = ROUNDS, seed: int = 0
) -> list[Measured]:
    """Measure methods on the same images. All are resampled together, so that the intervals of ``gain`` are paired.

    The interval of ``top_one`` is no resampled one: where every image is right, every resample is, too.

    Args:
        answers: by method, of B images.
        labels: the true class ids, [B].
        classes: C.
        rounds, seed: of the bootstrap.
    """
    right = np.stack([one.first == labels for one in answers]).astype(np.float64)
    top, macro = bootstrap(right, labels, classes, rounds=rounds, seed=seed)
    gains = top - top[:1]
    measured = []
    for i, one in enumerate(answers):
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion, (labels, one.first), 1)
        counts = confusion.sum(axis=1)
        by_class = np.full(classes, np.nan)
        by_class[counts > 0] = confusion.diagonal()[counts > 0] / counts[counts > 0]
        measured.append(
            Measured(
                method=one.method,
                top_one=float(right[i].mean()),
                interval=wilson(int(right[i].sum()), len(labels)),
                top_five=float((one.ids == labels[:, None]).any(axis=1).mean()),
                macro=float(np.nanmean(by_class)),
                macro_interval=interval(macro[i]),
                gain=(float(right[i].mean() - right[0].mean()), *interval(gains[i])),
                calibration_error=calibration_error(one.confidence, right[i] > 0),
                by_class=by_class,
                confusion=confusion,
            )
        )
    return measured


def wilson(right: int, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the share ``right`` of ``images``, at least one; it is wide where they are few."""
    share, square = right / images, _NORMAL**2 / images
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    # The ends are exact, where rounding would put the share itself outside.
    return 0.0 if right == 0 else centre - half, 1.0 if right == images else centre + half


def bootstrap(
    right: NDArray[np.float64], labels: Ids, classes: int, *, rounds: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Resample the images: right [M, B] of M methods -> accuracy and macro accuracy, each [M, rounds].

    A class that a resample leaves out is left out of its macro mean.
    """
    rng = np.random.default_rng(seed)
    count = right.shape[1]
    top, macro = (np.empty((len(right), rounds)) for _ in range(2))
    for n in range(rounds):
        weight = np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)
        top[:, n] = right @ weight / count
        drawn = np.bincount(labels, weight, classes)
        hits = np.stack([np.bincount(labels, weight * row, classes) for row in right])
        macro[:, n] = (hits[:, drawn > 0] / drawn[drawn > 0]).mean(axis=1)
    return top, macro


def interval(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of resampled values."""
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)
