from __future__ import annotations

import json

import pytest

from coder_engine.head import empty_ranking
from coder_engine.prediction import Candidate, Fault, Prediction, prediction_of

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


@pytest.mark.parametrize("top", [1, 2, 3])
@pytest.mark.parametrize(
    ("scores", "reranked", "reordered"),
    [((0.3, 0.1, 0.4), True, True), ((0.3, 0.1, 0.4), False, False), ((0.4, 0.1, 0.3), True, False)],
)
def test_reordered_is_a_rerank_that_changed_the_first_place(
    scores: tuple[float, ...], reranked: bool, reordered: bool, top: int
) -> None:
    ranking = empty_ranking(1, 3, top)
    ranking.ids[0], ranking.scores[0], ranking.gaps[0], ranking.reranked[0] = (2, 0, 1), scores, 0, reranked
    found = prediction_of(None, ranking, 0, ("cat", "dog", "elk"), top, None)
    assert found.reordered is reordered
    assert (found.label, len(found.top)) == ("elk", top)


def test_a_fault_is_not_reordered() -> None:
    fault = Fault(kind="empty", message="")
    assert not Prediction(label=None, score=None, top=(), reranked=False, error=fault).reordered
