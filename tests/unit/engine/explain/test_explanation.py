"""An explanation as JSON."""

from __future__ import annotations

import json

from coder_engine.explain import ClassParts, Duel, Explanation, Part

PART = Part(kind="attribute", text="a cat, which has whiskers", cosine=0.25, share=0.125)
CLASS = ClassParts(label="cat", o=0.5, kinds=(("attribute", 3, 0.25), ("name", 1, 0.25)), parts=(PART,), rest=0.375)
DUEL = Duel(label="cat", other="dog", gap=0.5, parts=(PART,), other_parts=(), rest=0.375)
FOUND = Explanation(
    stage_one=(("dog", 0.75, 0.625), ("cat", 0.5, 0.375)),
    classes=(CLASS,),
    duels=(DUEL,),
    sums=(("cat", 0.5), ("dog", -0.5)),
    reranked=True,
)


def test_json_is_plain_and_whole() -> None:
    part = {"kind": "attribute", "text": "a cat, which has whiskers", "cosine": 0.25, "share": 0.125}
    assert json.loads(json.dumps(FOUND.to_json(), allow_nan=False)) == {
        "label": "cat",
        "reranked": True,
        "stage_one": [{"label": "dog", "o": 0.75, "score": 0.625}, {"label": "cat", "o": 0.5, "score": 0.375}],
        "classes": [
            {
                "label": "cat",
                "o": 0.5,
                "kinds": [
                    {"kind": "attribute", "texts": 3, "share": 0.25},
                    {"kind": "name", "texts": 1, "share": 0.25},
                ],
                "parts": [part],
                "rest": 0.375,
            }
        ],
        "duels": [
            {"label": "cat", "other": "dog", "gap": 0.5, "parts": [part], "other_parts": [], "rest": 0.375},
        ],
        "sums": [{"label": "cat", "gap": 0.5}, {"label": "dog", "gap": -0.5}],
    }


def test_remarks_are_there_where_they_say_something() -> None:
    found = Explanation(
        stage_one=(("cat", 0.5, 1.0),),
        classes=(CLASS,),
        duels=(),
        sums=(("cat", 0.0),),
        reranked=False,
        no_rerank="it is switched off",
        hint="keep the texts",
        note="ranked by hand",
    ).to_json()
    assert (found["no_rerank"], found["hint"], found["note"]) == (
        "it is switched off",
        "keep the texts",
        "ranked by hand",
    )


def test_the_answer_is_the_first_of_the_final_order() -> None:
    assert FOUND.label == "cat"
