from __future__ import annotations

import json

import pytest

from coder_engine.prediction import Candidate, Fault, Prediction

CAT = Candidate(label="cat", score=0.4, gap=0.25)
DOG = Candidate(label="dog", score=0.5, gap=-0.25)


def test_json_of_an_answer() -> None:
    found = Prediction(label="cat", score=0.4, top=(CAT, DOG), reranked=True, path="a.jpg")
    assert json.loads(json.dumps(found.to_json())) == {
        "path": "a.jpg",
        "label": "cat",
        "score": 0.4,
        "top": [{"label": "cat", "score": 0.4, "gap": 0.25}, {"label": "dog", "score": 0.5, "gap": -0.25}],
        "reranked": True,
    }
    assert list(found.to_json()) == ["path", "label", "score", "top", "reranked"]


def test_json_of_an_unknown_keeps_the_best_guess() -> None:
    found = Prediction(label="cat", score=0.4, top=(CAT,), reranked=False, unknown=True).to_json()
    assert found["unknown"] is True
    assert (found["path"], found["label"]) == (None, "cat")


def test_json_of_a_fault() -> None:
    fault = Fault(kind="empty", message="a.jpg: 0 bytes")
    found = Prediction(label=None, score=None, top=(), reranked=False, path="a.jpg", error=fault)
    assert found.to_json() == {"path": "a.jpg", "error": {"kind": "empty", "message": "a.jpg: 0 bytes"}}


@pytest.mark.parametrize(
    ("top", "reranked", "expected"),
    [((CAT, DOG), True, True), ((CAT, DOG), False, False), ((DOG, CAT), True, False), ((CAT,), True, False)],
)
def test_reordered_is_a_rerank_that_changed_the_first_place(
    top: tuple[Candidate, ...], reranked: bool, expected: bool
) -> None:
    found = Prediction(label=top[0].label, score=top[0].score, top=top, reranked=reranked)
    assert found.reordered is expected


def test_a_fault_is_not_reordered() -> None:
    fault = Fault(kind="empty", message="")
    assert not Prediction(label=None, score=None, top=(), reranked=False, error=fault).reordered
