"""Which parts are told, and what is said where there is less to tell; the numbers are held in tests/parity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from coder_engine.errors import WeightsError
from coder_engine.explain import Explanation, explain
from coder_engine.head import Head
from coder_engine.weightfile.general_texts import KINDS
from helpers_explain import kept_weights
from parity.cases import Case, grid_case

CASE = grid_case(9, 40, "all", seed=5)
NO_TEXTS = np.empty((0, 8))


def explained(case: Case = CASE, row: int = 0, *, kept: dict[str, Any] | None = None, **options: Any) -> Explanation:
    weights = kept_weights(case, **(kept or {}))
    given = {name: value for name, value in options.items() if name in ("margin", "rerank")}
    return explain(weights, case.features, Head(weights).rank(case.features, **given), row, **options)


def changed_rows() -> list[int]:
    found = (explained(row=row) for row in range(len(CASE.features)))
    return [row for row, one in enumerate(found) if one.stage_one[0][0] != one.label]


def test_the_answer_the_runner_up_and_stage_ones_first_are_taken_apart() -> None:
    rows = changed_rows()
    assert rows
    seen = set()
    for row in rows:
        found = explained(row=row)
        first, labels = found.stage_one[0][0], [label for label, _ in found.sums]
        assert [one.label for one in found.classes] == list(dict.fromkeys([*labels[:2], first]))
        seen.add(len(found.classes))
    assert seen == {2, 3}


def test_only_the_strongest_are_listed_and_the_rest_closes_the_sum() -> None:
    everything, few = explained(texts=99), explained(texts=1)
    for whole, one in zip(everything.classes, few.classes, strict=True):
        assert one.parts == whole.parts[:2]
        assert one.kinds == whole.kinds
        assert one.rest == pytest.approx(one.o - sum(part.share for part in one.parts))
    for whole, duel in zip(everything.duels, few.duels, strict=True):
        assert (duel.parts, duel.other_parts) == (whole.parts[:1], whole.other_parts[:1])
        assert duel.rest == pytest.approx(duel.gap - sum(part.share for part in (*duel.parts, *duel.other_parts)))


def test_duels_come_the_widest_first() -> None:
    gaps = [duel.gap for duel in explained().duels]
    assert len(gaps) > 3
    assert gaps == sorted(gaps, reverse=True)


def test_stage_one_in_its_own_order_with_its_scores() -> None:
    row = changed_rows()[0]
    found = explained(row=row)
    keys = [(-o, int(label.split()[1])) for label, o, _ in found.stage_one]
    assert keys == sorted(keys)
    ranking = Head(kept_weights(CASE)).rank(CASE.features)
    scores = dict(zip(ranking.ids[row].tolist(), ranking.scores[row].tolist(), strict=True))
    assert {int(label.split()[1]): score for label, _, score in found.stage_one} == scores


def test_equal_logits_by_the_lower_class_id() -> None:
    # The only class with texts against the others wins, so the final order is not that of the ids.
    pairs = {pair: texts * (1 if 3 in pair else 0) for pair, texts in CASE.pairs.items()}
    alike = replace(CASE, class_texts=[CASE.class_texts[0]] * 5, pairs={p: t for p, t in pairs.items() if max(p) < 5})
    finals = set()
    for row in range(len(alike.features)):
        found = explained(replace(alike, places=5), row=row)
        assert [label for label, _, _ in found.stage_one] == [f"class {j}" for j in range(5)]
        finals.add(found.label)
    assert len(finals) > 1


def test_plain_python_numbers() -> None:
    found = explained()
    numbers = [found.duels[0].gap, found.sums[0][1], *found.stage_one[0][1:], found.classes[0].parts[0].share]
    assert {type(number) for number in numbers} == {float}
    assert type(found.reranked) is bool


# less to tell


def test_without_kept_texts_the_collapsed_parts_are_told_and_how_to_get_more() -> None:
    case = replace(CASE, class_texts=[{**own, "attribute": np.eye(8)[:3]} for own in CASE.class_texts])
    bare, full = explained(case, kept={"general": False, "pairs": False}), explained(case, texts=99)
    assert bare.hint == (
        "the general and one-to-one texts are not in the weight file; coder-export --keep-texts keeps them"
    )
    assert full.hint == ""
    for one, whole in zip(bare.classes, full.classes, strict=True):
        (kind, count, share), (name, names, own) = one.kinds
        assert (kind, name) == ("texts", "name")
        assert count == sum(number for what, number, _ in whole.kinds[:-1] if what != "name")
        assert share == pytest.approx(sum(part for _, _, part in whole.kinds[:-1]), abs=1e-6)
        assert (names, own) == (whole.kinds[-1][1], pytest.approx(whole.kinds[-1][2]))
        assert [(part.text, part.share) for part in one.parts] == [("", pytest.approx(own))]
        assert one.rest == pytest.approx(share, abs=1e-6)
    for duel in bare.duels:
        assert (duel.parts, duel.other_parts, duel.rest) == ((), (), duel.gap)


@pytest.mark.parametrize(("kept", "said"), [({"pairs": False}, "one-to-one"), ({"general": False}, "general")])
def test_the_hint_names_what_is_missing(kept: dict[str, bool], said: str) -> None:
    assert explained(kept=kept).hint.startswith(f"the {said} texts are not in the weight file")


def test_nothing_is_missing_where_there_are_no_pairs() -> None:
    assert explained(replace(CASE, layout="none")).hint == ""


def test_classes_of_a_name_alone() -> None:
    case = replace(
        CASE, class_texts=[{**dict.fromkeys(own, NO_TEXTS), "name": own["name"]} for own in CASE.class_texts]
    )
    for kept in ({}, {"general": False}):
        one = explained(case, kept=kept).classes[0]
        assert one.kinds == (("name", 1, one.o),)
        assert one.rest == 0


# no rerank


def reason(case: Case, **options: Any) -> str:
    found = explained(case, **options)
    assert not found.reranked
    assert found.duels == ()
    assert {total for _, total in found.sums} == {0.0}
    return found.no_rerank


def test_why_there_was_no_rerank() -> None:
    assert reason(CASE, rerank=False) == "it is switched off"
    assert reason(replace(CASE, layout="none")) == "the weight file has no one-to-one texts"
    assert reason(grid_case(1, 1, "all", seed=0)) == "one class has no other to duel with"
    apart = replace(CASE, layout="sparse", pairs={})
    assert reason(apart) == "no two of the first 5 have one-to-one texts"


def test_the_gate_tells_the_lead_it_saw() -> None:
    # o of two classes with a name each: 1 and 0, so that at scale 1 the lead is (e - 1) / (e + 1).
    names = np.eye(8)[:2]
    texts = [{"name": row[None], "attribute": NO_TEXTS, "analogous": NO_TEXTS, "synonym": NO_TEXTS} for row in names]
    pairs = {(0, 1): names[:1], (1, 0): names[1:]}
    case = Case(features=names[:1].astype(np.float32), class_texts=texts, pairs=pairs, scale=1.0, places=2)
    assert reason(case, margin=0.25) == "stage 1 leads by 0.462, which is not less than the margin 0.25"
    mild = replace(case, temperature=2.0)
    assert reason(mild, margin=0.25).startswith("stage 1 leads by 0.462 before the temperature, which")
    assert explained(mild, margin=0.5).reranked


def test_a_note_is_passed_on() -> None:
    assert explained(note="ranked by hand").note == "ranked by hand"


def test_sentences_of_other_names_than_the_banks_are_refused() -> None:
    weights = kept_weights(CASE)
    assert weights.text_kinds is not None
    broken = replace(weights, text_kinds=np.full_like(weights.text_kinds, KINDS.index("attribute")))
    with pytest.raises(WeightsError, match=r"0 names of class 'class \d' among its sentences, \d in its bank"):
        explain(broken, CASE.features, Head(broken).rank(CASE.features))
