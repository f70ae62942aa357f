"""The score under which nothing is known, for a wanted rate of false accepts."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_STEPS = 10**6
"""Thresholds are millionths, one to two above the score that must not pass: so much may scores differ by rounding."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold on scores and what it lets through.

    Attributes:
        unknown_below: answers that score less are unknown.
        false_accepts: the share of out-of-set images that was allowed, and ``accepted_out`` the share it lets through.
        accepted_in: the share of in-set images it lets through.
        images_in, images_out: how many it was chosen on, and ``data``, ``data_out`` the content hashes of them that the
            caller gave.
    """

    unknown_below: float
    false_accepts: float
    accepted_in: float
    accepted_out: float
    images_in: int
    images_out: int
    data: str
    data_out: str

    def changes(self) -> dict[str, Any]:
        """For ``update_weights``."""
        record = {key: value for key, value in asdict(self).items() if key != "unknown_below"}
        return {"unknown_below": self.unknown_below, "unknown_record": record}


def choose_threshold(
    in_scores: ArrayLike, out_scores: ArrayLike, false_accepts: float, *, data: str, data_out: str
) -> Threshold:
    """The least threshold on scores, to six digits, that accepts at most a share of the out-of-set images.

    An image is accepted where its score is at least the threshold, as ``unknown_below`` has it.

    Args:
        in_scores: [N], scores of images of the classes.
        out_scores: [M], scores of images of anything else.
        false_accepts: the share of ``out_scores`` that may be accepted, 0 to 1.
        data, data_out: content hashes of the images of the classes and of the others, for the record.

    Raises:
        ValueError: an argument is out of range or empty, or no threshold is high enough, since too many of
            ``out_scores`` are 1.
    """
    inside, outside = _checked_scores(in_scores, "in_scores"), _checked_scores(out_scores, "out_scores")
    if not 0 <= false_accepts <= 1:
        raise ValueError(f"false_accepts must be a share, 0 to 1, got {false_accepts}")
    threshold = _least(outside, false_accepts)
    return Threshold(
        unknown_below=threshold,
        false_accepts=false_accepts,
        accepted_in=float((inside >= threshold).mean()),
        accepted_out=float((outside >= threshold).mean()),
        images_in=len(inside),
        images_out=len(outside),
        data=data,
        data_out=data_out,
    )


def _least(outside: NDArray[np.float64], false_accepts: float) -> float:
    count = len(outside)
    allowed = int((np.arange(1, count + 1) / count <= false_accepts).sum())
    if allowed == count:
        return 0.0
    barred = float(np.sort(outside)[count - 1 - allowed])  # the best score that must not pass
    threshold = (math.floor(barred * _STEPS) + 2) / _STEPS
    if threshold > 1:
        sure = int((outside >= barred).sum())
        raise ValueError(
            f"no threshold keeps false accepts at {false_accepts}: {sure} of {count} out-of-set images score "
            f"{barred:.6f} or more; fit a temperature first, or allow more"
        )
    return threshold


def _checked_scores(given: ArrayLike, name: str) -> NDArray[np.float64]:
    scores = np.asarray(given, np.float64)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"{name} must be [N] of at least one image, got {list(scores.shape)}")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"{name} must be probabilities, 0 to 1; give scores, not logits")
    return scores
