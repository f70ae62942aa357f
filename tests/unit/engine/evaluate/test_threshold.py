"""The threshold by counting."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from coder_engine.evaluate.threshold import choose_threshold


def chosen(inside: ArrayLike, outside: ArrayLike, false_accepts: float) -> tuple[float, float]:
    """The threshold, and the share of images of the classes it lets through."""
    found = choose_threshold(inside, outside, false_accepts, data="", data_out="")
    return found.unknown_below, found.accepted_in


@pytest.mark.parametrize(
    ("false_accepts", "threshold_of", "accepted"),
    [(0.0, 0.9, 0.25), (0.19, 0.9, 0.25), (0.2, 0.7, 0.5), (0.4, 0.5, 0.75), (0.6, 0.5, 0.75), (0.8, 0.1, 1.0)],
)
def test_the_threshold_is_just_above_the_best_that_must_not_pass(
    false_accepts: float, threshold_of: float, accepted: float
) -> None:
    outside = [0.5, 0.1, 0.7, 0.9, 0.5]
    inside = [0.95, 0.8, 0.6, 0.2]
    threshold, share = chosen(inside, outside, false_accepts)
    assert 1e-6 <= threshold - threshold_of <= 2.1e-6
    assert share == accepted
    assert np.mean(np.array(outside) >= threshold) <= false_accepts


def test_a_score_that_is_the_threshold_is_accepted() -> None:
    assert chosen([0.500002, 0.500001, 0.5], [0.5], 0.0) == (0.500002, 1 / 3)


def test_scores_that_round_differently_do_not_slip_through() -> None:
    rng = np.random.default_rng(0)
    for outside in rng.random((50, 40)):
        threshold, _ = chosen([0.5], outside, 0.1)
        assert (outside.astype(np.float32) + np.float32(5e-7) >= threshold).sum() <= 4


def test_every_image_allowed_is_no_threshold() -> None:
    assert chosen([0.3], [0.5, 0.9], 1.0) == (0.0, 1.0)


def test_shares_that_do_not_fit_into_binary() -> None:
    outside = np.arange(100) / 128
    threshold, _ = chosen([0.5], outside, 0.29)
    assert int((outside >= threshold).sum()) == 29


@pytest.mark.parametrize(
    ("inside", "outside", "rate", "said"),
    [
        ([], [0.5], 0.1, r"in_scores must be \[N\] of at least one image, got \[0\]"),
        ([0.5], [], 0.1, "out_scores must be"),
        ([7.0], [0.5], 0.1, "in_scores must be probabilities"),
        ([0.5], [np.nan], 0.1, "out_scores must be probabilities"),
        ([0.5], [0.5], 1.1, "false_accepts must be a share, 0 to 1, got 1.1"),
        ([0.5], [1.0, 1.0, 0.5], 0.5, "2 of 3 out-of-set images score 1.000000 or more; fit a temperature first"),
    ],
)
def test_refused_scores(inside: list[float], outside: list[float], rate: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        chosen(inside, outside, rate)
