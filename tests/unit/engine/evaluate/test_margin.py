"""The margin by counting, and that a tie goes to the paper."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import reference
from coder_engine.evaluate.margin import GRID, MarginFit, fit_margin
from coder_engine.weightfile.metadata import Metadata

# Leads at scale 1: 0.8, 0.6, 0.4, 0.2 over two classes; stage 1 says class 0 throughout.
LEADS = np.array([0.8, 0.6, 0.4, 0.2])
O = np.stack([np.log((1 + LEADS) / (1 - LEADS)), np.zeros(4)], axis=1)  # noqa: E741


def fit(answers: list[int], labels: list[int], grid: tuple[float, ...] | None = (0.0, 0.3, 0.5, 0.7, 0.9)) -> MarginFit:
    return fit_margin(O, np.array(answers), np.array(labels), 1.0, grid, data="ab")


def test_every_margin_is_counted() -> None:
    # The rerank is wrong about the two sure images and right about the others.
    found = fit([1, 1, 1, 1], [0, 0, 1, 1])
    assert [(one.margin, one.accuracy, one.reranked, one.better, one.worse) for one in found.outcomes] == [
        (0.0, 0.50, 0.00, 2, 2),
        (0.3, 0.75, 0.25, 2, 1),
        (0.5, 1.00, 0.50, 2, 0),
        (0.7, 0.75, 0.75, 1, 0),
        (0.9, 0.50, 1.00, 0, 0),
        (None, 0.50, 1.00, 0, 0),
    ]
    assert found.best == found.outcomes[2]
    assert found.always == found.outcomes[-1]
    assert (found.images, found.data) == (4, "ab")


@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [0, 0, 0, 0]])
def test_a_tie_goes_to_the_paper(labels: list[int]) -> None:
    assert fit(labels, labels, (0.9,)).best.margin is None


def test_between_equal_gates_the_widest() -> None:
    assert fit([1, 0, 0, 1], [0, 0, 0, 1]).best.margin == 0.7


def test_ties_in_stage_one_go_to_the_lower_class() -> None:
    found = fit_margin(np.zeros((1, 3)), np.array([2]), np.array([0]), 1.0, [0.0], data="")
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
    assert back.margin_record["best"]["better"] == 2
    assert back.margin_record["always"]["accuracy"] == 0.5
