"""An explanation in words: what a terminal shows."""

from __future__ import annotations

from dataclasses import replace

from coder_engine.explain import ClassParts, Duel, Explanation, Part
from coder_engine.explain.words import WIDTH

ELK = ClassParts(
    label="elk",
    o=0.3,
    kinds=(("attribute", 4, 0.15), ("analogous", 1, 0.05), ("synonym", 3, 0.1)),
    parts=(
        Part(kind="synonym", text="a photo of a moose.", cosine=0.5, share=0.1),
        Part(kind="attribute", text="an elk, which has broad antlers", cosine=0.25, share=0.05),
        Part(kind="analogous", text="an elk, similar to a caribou", cosine=0.25, share=0.05),
        Part(kind="attribute", text="an elk, which has\na  bell", cosine=0.2, share=0.04),
        Part(kind="attribute", text="never told", cosine=0.1, share=0.02),
    ),
    rest=0.04,
)
CAT = ClassParts(label="cat", o=0.31, kinds=(("name", 1, 0.31),), parts=(), rest=0.31)
ANTLERS = Part(kind="pair", text="Because of its antlers, an elk is different from a cat.", cosine=0.4, share=0.4)
WHISKERS = Part(kind="pair", text="Because of its whiskers, a cat is different from an elk.", cosine=0.2, share=-0.2)
CHANGED = Explanation(
    stage_one=(("cat", 0.31, 0.375), ("elk", 0.3, 0.25), ("dog", 0.25, 0.1875)),
    classes=(ELK, CAT),
    duels=(
        Duel(label="cat", other="dog", gap=0.25),
        Duel(label="elk", other="cat", gap=0.2, parts=(ANTLERS,), other_parts=(WHISKERS,)),
    ),
    sums=(("elk", 0.2), ("cat", 0.05), ("dog", -0.25)),
    reranked=True,
)


def test_a_rerank_that_changes_the_answer() -> None:
    assert str(CHANGED).splitlines() == [
        "elk; stage 1 said cat, the rerank changed it",
        "  stage 1       o  score  sum of gaps",
        "  cat      0.3100  37.5%      +0.0500",
        "  elk      0.3000  25.0%      +0.2000",
        "  dog      0.2500  18.8%      -0.2500",
        "elk, the answer: o = 0.3000, of which",
        "  0.1500 by 4 attribute texts",
        "  0.0500 by 1 analogous text",
        "  0.1000 by the strongest of 3 names",
        "    0.5000 synonym    a photo of a moose.",
        "    0.2500 attribute  an elk, which has broad antlers",
        "    0.2500 analogous  an elk, similar to a caribou",
        "    0.2000 attribute  an elk, which has a bell",
        "cat, the runner-up: o = 0.3100, of which",
        "  0.3100 by its name",
        "duels",
        "  elk beats cat by 0.2000",
        "    0.4000 for elk: Because of its antlers, an elk is different from a cat.",
        "    0.2000 for cat: Because of its whiskers, a cat is different from an elk.",
        "  cat beats dog by 0.2500",
    ]


def test_a_rerank_that_keeps_the_answer() -> None:
    kept = replace(CHANGED, stage_one=(("elk", 0.3, 0.5), ("cat", 0.2, 0.25)))
    assert str(kept).splitlines()[0] == "elk, as stage 1 said; the rerank keeps it"


def test_without_a_rerank_it_says_why() -> None:
    plain = replace(
        CHANGED,
        duels=(),
        sums=(("cat", 0.0), ("elk", 0.0), ("dog", 0.0)),
        reranked=False,
        no_rerank="it is switched off",
        hint="the texts are not here",
    )
    lines = str(plain).splitlines()
    assert lines[:3] == ["cat, as stage 1 said; no rerank:", "  it is switched off", "  stage 1       o  score"]
    assert lines[-1] == "the texts are not here"
    assert "duels" not in lines


def test_texts_that_were_not_kept_are_counted_together() -> None:
    name = Part(kind="name", text="", cosine=0.25, share=0.05)
    bare = replace(ELK, kinds=(("texts", 4, 0.25), ("name", 1, 0.05)), parts=(name,))
    lines = str(replace(CHANGED, classes=(bare,), duels=())).splitlines()
    assert lines[5:] == [
        "elk, the answer: o = 0.3000, of which",
        "  0.2500 by 4 attribute and analogous texts",
        "  0.0500 by its name",
        "duels",
    ]


def test_one_class() -> None:
    one = Explanation(
        stage_one=(("cat", 0.31, 1.0),),
        classes=(CAT,),
        duels=(),
        sums=(("cat", 0.0),),
        reranked=False,
        no_rerank="one class has no other to duel with",
    )
    assert str(one).splitlines()[-2:] == ["cat, the answer: o = 0.3100, of which", "  0.3100 by its name"]


def test_a_note_comes_first() -> None:
    assert str(replace(CHANGED, note="ranked by the few-shot adapter")).startswith(
        "ranked by the few-shot adapter\nelk;"
    )


def test_no_line_is_longer_than_a_terminal_shows() -> None:
    long = "x" * 60
    texts = tuple(replace(part, text=long * 2) for part in ELK.parts)
    wide = replace(
        CHANGED,
        stage_one=((long, 0.31, 0.375), ("elk", 0.3, 0.25)),
        sums=(("elk", 0.2), (long, -0.2)),
        classes=(replace(ELK, parts=texts), replace(CAT, label=long)),
        duels=(Duel(label="elk", other=long, gap=0.2, parts=texts[:1], other_parts=texts[:1]),),
    )
    lines = str(wide).splitlines()
    assert max(map(len, lines)) == WIDTH
    assert any(line.endswith("...") for line in lines)


def test_wide_letters_take_two_columns() -> None:
    labels = ("猫" * 5, "dog")
    found = replace(
        CHANGED,
        stage_one=((labels[0], 0.31, 0.375), (labels[1], 0.3, 0.25)),
        sums=((labels[1], 0.2), (labels[0], -0.2)),
        classes=(replace(ELK, label="鹿" * 60),),
    )
    lines = str(found).splitlines()
    assert lines[2:4] == [f"  {labels[0]}  0.3100  37.5%      -0.2000", "  dog         0.3000  25.0%      +0.2000"]
    assert lines[4] == "鹿" * ((WIDTH - 3) // 2) + "..."


def test_remarks_are_wrapped_where_texts_are_cut() -> None:
    remark = "one of the many words of an advice that nobody can follow once it was cut off in the middle --of-it"
    for changes in ({"hint": remark}, {"note": remark}, {"reranked": False, "no_rerank": remark}):
        lines = str(replace(CHANGED, **changes)).splitlines()
        assert remark in " ".join(line.strip() for line in lines)
        assert max(map(len, lines)) <= WIDTH
