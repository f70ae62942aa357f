"""The margin by counting, and that what may be chance goes to the paper."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import reference
from coder_engine.evaluate.margin import GRID, MarginFit, clearly_better, fit_margin
from coder_engine.weightfile.metadata import Metadata

# Leads at scale 1: 0.8, 0.6, 0.4, 0.2 over two classes; stage 1 says class 0 throughout.
LEADS = np.array([0.8, 0.6, 0.4, 0.2])
O = np.stack([np.log((1 + LEADS) / (1 - LEADS)), np.zeros(4)], axis=1)  # noqa: E741


def fit(
    answers: list[int],
    labels: list[int],
    grid: tuple[float, ...] | None = (0.0, 0.3, 0.5, 0.7, 0.9),
    *,
    times: int = 10,
) -> MarginFit:
    """Of each of the four images ``times``, so that what is better is clearly so."""
    return fit_margin(np.tile(O, (times, 1)), np.tile(answers, times), np.tile(labels, times), 1.0, grid, data="ab")


def test_every_margin_is_counted() -> None:
    # The rerank is wrong about the two sure images and right about the others.
    found = fit([1, 1, 1, 1], [0, 0, 1, 1])
    assert [(one.margin, one.accuracy, one.reranked, one.better, one.worse) for one in found.outcomes] == [
        (0.0, 0.50, 0.00, 20, 20),
        (0.3, 0.75, 0.25, 20, 10),
        (0.5, 1.00, 0.50, 20, 0),
        (0.7, 0.75, 0.75, 10, 0),
        (0.9, 0.50, 1.00, 0, 0),
        (None, 0.50, 1.00, 0, 0),
    ]
    assert found.best == found.outcomes[2]
    assert found.always == found.outcomes[-1]
    assert (found.images, found.data) == (40, "ab")


@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [0, 0, 0, 0]])
def test_a_tie_goes_to_the_paper(labels: list[int]) -> None:
    assert fit(labels, labels, (0.9,)).best.margin is None


@pytest.mark.parametrize(("times", "margin"), [(2, None), (3, 0.5)])
def test_a_gate_that_may_be_chance_goes_to_the_paper(times: int, margin: float | None) -> None:
    found = fit([1, 1, 1, 1], [0, 0, 1, 1], times=times)  # 4 better and 0 worse, 6 better and 0 worse
    assert found.best.margin == margin
    assert found.outcomes[2].better == 2 * times
    assert found.best == (found.always if margin is None else found.outcomes[2])


@pytest.mark.parametrize(
    ("better", "worse", "clear"), [(0, 0, False), (4, 0, False), (5, 0, True), (60, 40, False), (61, 39, True)]
)
def test_clear_is_two_standard_errors(better: int, worse: int, clear: bool) -> None:
    assert clearly_better(better, worse) == clear


def test_gains_worth_nothing_seldom_make_a_gate() -> None:
    chosen = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        o = 1.5 * rng.normal(size=(400, 6))
        second, first = o.argsort(axis=1)[:, -2:].T
        final = np.where(rng.random(400) < 0.2, second, first)  # a rerank that is right as often as stage 1
        labels = np.where(rng.random(400) < 0.5, first, second)
        chosen += fit_margin(o, final, labels, 1.0, data="").best.margin is not None
    assert chosen < 15


def test_between_equal_gates_the_widest() -> None:
    assert fit([1, 0, 0, 1], [0, 0, 0, 1]).best.margin == 0.7


def test_ties_in_stage_one_go_to_the_lower_class() -> None:
    found = fit_margin(np.zeros((9, 3)), np.full(9, 2), np.zeros(9, int), 1.0, [0.0], data="")
    assert (found.best.margin, found.best.accuracy) == (0.0, 1.0)


def test_the_lead_is_that_of_the_gate() -> None:
    o = np.random.default_rng(0).normal(size=(200, 6))
    answers = (o.argmax(axis=1) + 1) % 6
    for outcome in fit_margin(o, answers, answers, 3.0, data="").outcomes[:-1]:
        gate = [reference.lead(row, 3.0) < outcome.margin for row in o]
        assert outcome.reranked == np.mean(gate)
        assert outcome.accuracy == np.mean(gate)


def test_the_default_grid() -> None:
    found = fit([1, 1, 1, 1], [1, 1, 1, 1], None)
    assert [one.margin for one in found.outcomes] == [*GRID, None]
    assert_allclose(GRID[-3:], [0.7, 0.8, 0.9])


def test_one_class() -> None:
    found = fit_margin(np.zeros((2, 1)), np.zeros(2, int), np.zeros(2, int), 100.0, data="")
    assert (found.best.margin, found.best.accuracy) == (None, 1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"grid": [0.5, 1.5]}, "grid must hold differences of probabilities, 0 to 1"),
        ({"grid": [np.nan]}, "grid must hold"),
        ({"scale": 0.0}, "scale must be positive and finite, got 0.0"),
        ({"scale": np.nan}, "scale must be positive"),
        ({"answers": np.array([0, 1, 2, 0])}, "answers must be class ids, 0 to 1, got 0 to 2"),
        ({"labels": np.zeros(3, int)}, r"labels must be whole numbers \[4\]"),
        ({"logits": np.full((4, 2), np.inf)}, "logits must be finite"),
    ],
)
def test_refused(change: dict[str, object], said: str) -> None:
    given: dict[str, object] = {"logits": O, "answers": np.zeros(4, int), "labels": np.zeros(4, int), "scale": 1.0}
    with pytest.raises(ValueError, match=said):
        fit_margin(**{**given, **change}, data="")  # type: ignore[arg-type]


def test_the_record_fits_into_the_metadata() -> None:
    changes = fit([1, 1, 1, 1], [0, 0, 1, 1]).changes()
    meta = Metadata(labels=("cat",), model="m", pretrained="p", tower="t", preprocess={}, logit_scale=100.0, **changes)
    back = Metadata.from_json(meta.to_json())
    assert back == meta
    assert back.margin == 0.5
    assert back.margin_record["best"]["better"] == 20
    assert back.margin_record["always"]["accuracy"] == 0.5
