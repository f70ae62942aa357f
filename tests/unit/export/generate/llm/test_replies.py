"""Replies judged: what is accepted, what is refused and why, and whatever else a model may write."""

from __future__ import annotations

import json
import time

import pytest

from coder_export.generate.llm.questions import Question
from coder_export.generate.llm.replies import Answer, judge

CAT = Question(kind="attribute", classes=("cat",), wanted=2)
PAIR = Question(kind="pair", classes=("cat", "elk"), wanted=2)
TEXTS = ["pointed ears", "long whiskers"]
GOOD = json.dumps({"class": "cat", "texts": TEXTS})
NO_JSON = ("it was not one complete JSON object",)


def texts_of(*texts: object, question: Question = CAT) -> Answer:
    return judge(question, json.dumps({"class": question.classes[0], "texts": texts}))


def pair(a: object, b: object, a_has: object = ("whiskers", "claws"), b_has: object = ("antlers", "hooves")) -> object:
    return {"class": a, "other": b, "class_has": a_has, "other_has": b_has}


def test_a_good_reply() -> None:
    answer = judge(CAT, GOOD)
    assert answer == Answer(texts=tuple(TEXTS))
    assert answer.accepted
    assert answer.count == 2


@pytest.mark.parametrize(
    "reply",
    [
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}```",
        f"Sure! Here it is:\n\n{GOOD}\n\nAnything else?",
        f"\ufeff \n{GOOD}",
        f"[{GOOD}]",
        f"<think>The {{class}} has {{ears}}.\nSo </think>{GOOD}",
        f"<THINK>{{}}</Think>\n{GOOD}",
        f"<think></think><think>{{</think>{GOOD}",
        f"a thought whose opening tag the server ate, {{with}} braces</think>{GOOD}",
        GOOD.replace("]}", ",]}"),
        GOOD.replace("]}", " ,\n ]\n,\n}"),
        GOOD.replace("}", ', "confidence": 1e999, "note": null}'),
        json.dumps(json.loads(GOOD), indent=4),
        GOOD.replace("cat", "a Cat"),
        GOOD.replace("cat", "The  CAT."),
    ],
)
def test_a_good_reply_in_its_wrappings(reply: str) -> None:
    assert judge(CAT, reply) == Answer(texts=tuple(TEXTS))


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " \n",
        "pointed ears, long whiskers",
        GOOD[:-1],
        GOOD[: len(GOOD) // 2],
        "{" + GOOD,
        f"{{'class': {GOOD}",
        '["pointed ears"]',
        "null",
        '{"class": "cat" "texts": []}',
        f"<think>{GOOD}",  # a thought without end: a draft at the most
        '{"class": }',
        '{"texts": ' + "[" * 100_000,
        '{"texts": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a": ' * 100_000,
        "\x00\x01\x02{\x00}",
    ],
)
def test_what_is_no_json_object(reply: str) -> None:
    assert judge(CAT, reply) == Answer(problems=NO_JSON)


@pytest.mark.parametrize("depth", [1, 10, 100, 300, 900, 950, 970, 980, 990, 995, 1000, 1100])
@pytest.mark.parametrize("ends", [("[", "]"), ('{"a": ', "}")])
def test_no_depth_is_too_much(depth: int, ends: tuple[str, str]) -> None:
    nested = ends[0] * depth + "1" + ends[1] * depth
    for reply in (f'{{"class": {nested}}}', f'{{"class": "cat", "texts": {nested}}}', f'{{"pairs": {nested}}}'):
        for question in (CAT, PAIR):
            assert not judge(question, reply).accepted


def test_huge_numbers() -> None:
    # Python reads no integer beyond some 4,300 digits, which is an error of its own.
    assert not judge(CAT, '{"class": ' + "9" * 100_000 + ', "texts": []}').accepted
    assert not judge(CAT, '{"class": 1e999999999, "texts": [NaN, -Infinity]}').accepted


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but as an AI I cannot help with that.",
        "I\u2019m sorry, I can\u2019t help with that.",
        "I can\u2019t assist with this request.",
        "I won\u2019t do this.",
        "I CANNOT describe it.",
        "I apologize, I do not have enough information.",
        "We are unable to provide texts {for} this class.",
        "<think>hm</think>As a large language model, no.",
    ],
)
def test_refusals(reply: str) -> None:
    assert judge(CAT, reply) == Answer(problems=("it was a refusal, not JSON",))


@pytest.mark.parametrize(
    ("name", "said"),
    [("dog", "'dog'"), (None, "'None'"), (["cat"], "\"['cat']\""), (7, "'7'"), ("x" * 500, repr("x" * 60)), ("", "''")],
)
def test_another_class(name: object, said: str) -> None:
    answer = judge(CAT, json.dumps({"class": name, "texts": TEXTS}))
    assert answer == Answer(problems=(f'it was about {said}, not the class "cat"',))


def test_no_class_at_all() -> None:
    assert judge(CAT, "{}").problems == ("it was about 'None', not the class \"cat\"",)


@pytest.mark.parametrize("texts", ["pointed ears", None, 5, {"1": "ears"}, ["ears", 5], [["ears"]], [None], [True]])
def test_texts_that_are_no_list_of_strings(texts: object) -> None:
    answer = judge(CAT, json.dumps({"class": "cat", "texts": texts}))
    assert answer == Answer(problems=('the texts for "cat" were not a list of strings',))


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("- pointed ears", "pointed ears"),
        ("\u2022 pointed ears", "pointed ears"),
        ("12. pointed ears", "pointed ears"),
        ("(3) pointed ears", "pointed ears"),
        (" pointed \n\t ears. ", "pointed ears"),
        ('"pointed ears"', "pointed ears"),
        ('"pointed ears".', "pointed ears"),
        ('"pointed ears."', "pointed ears"),
        ("\u201cpointed ears\u201d", "pointed ears"),
        ("pointed ears...", "pointed ears..."),
        ("2-4 dark rings", "2-4 dark rings"),
        ("1.5 times as long", "1.5 times as long"),
        ("pelo corto y orejas de 12 años, 犬", "pelo corto y orejas de 12 años, 犬"),
    ],
)
def test_what_models_put_around_a_phrase_is_taken_off(raw: str, clean: str) -> None:
    assert texts_of(raw).texts == (clean,)


def test_empty_texts_are_left_out_and_count_as_missing() -> None:
    assert texts_of("", "  ", "ears") == Answer(texts=("ears",))
    assert texts_of("", "- ").problems == ('0 good texts for "cat", of 2 asked for',)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("I'm sorry, I cannot say", "is a refusal"),
        ("a cat.", "is a class name and nothing more"),
        ("CAT", "is a class name and nothing more"),
        ("?!", "has no words"),
        ("the ears\x00", "has characters that are no text"),
        ("half \ud83d a pair", "has characters that are no text"),
        ("Pointed, ears", "is there twice"),
    ],
)
def test_a_bad_text_is_told_and_the_good_ones_are_kept(text: str, problem: str) -> None:
    answer = texts_of("pointed ears", text)
    assert answer.texts == ("pointed ears",)
    assert not answer.accepted
    [told] = answer.problems
    assert told.endswith(f' for "cat" {problem}')
    told.encode()  # can be sent


def test_an_excluded_name() -> None:
    question = Question(kind="analogous", classes=("cat",), wanted=2, excluded=("sea lion",))
    answer = texts_of("lynx", "Sea-Lion", question=question)
    assert answer == Answer(texts=("lynx",), problems=("'Sea-Lion' for \"cat\" was excluded",))


def test_too_long_a_text() -> None:
    def fits(kind: str, label: str, other: str, text: str) -> bool:
        seen.append((kind, label, other))
        return "long" not in text

    seen: list[tuple[str, str, str]] = []
    answer = judge(CAT, GOOD, fits)
    assert answer.texts == ("pointed ears",)
    assert answer.problems == ("'long whiskers' for \"cat\" is too long; write at most 15 words",)
    judge(PAIR, json.dumps(pair("cat", "elk")), fits)
    assert set(seen) == {("attribute", "cat", "cat"), ("pair", "cat", "elk"), ("pair", "elk", "cat")}


@pytest.mark.parametrize(("wanted", "enough"), [(1, 1), (2, 1), (3, 2), (6, 3), (7, 4)])
def test_half_of_what_was_asked_for_is_enough(wanted: int, enough: int) -> None:
    question = Question(kind="attribute", classes=("cat",), wanted=wanted)
    texts = [f"mark {n}" for n in range(enough)]
    assert texts_of(*texts, question=question).accepted
    less = texts_of(*texts[1:], question=question)
    assert less.problems == (f'{enough - 1} good texts for "cat", of {wanted} asked for',)


def test_no_more_than_was_asked_for_is_taken() -> None:
    question = Question(kind="attribute", classes=("cat",), wanted=3)
    texts = [f"fur of pattern {n}" for n in range(400)]
    answer = judge(question, json.dumps({"class": "cat", "texts": texts}))
    assert answer == Answer(texts=tuple(texts[:3]))


def test_thousands_of_bad_texts_are_told_in_short() -> None:
    answer = texts_of("ears", *["cat"] * 5_000)
    assert answer.texts == ("ears",)
    assert len(answer.problems) == 9
    assert answer.problems[-1] == '4,992 more texts for "cat" were no better'


def test_a_pair_both_ways() -> None:
    answer = judge(PAIR, json.dumps({"pairs": [pair("cat", "owl"), pair("Cat", "the elk")]}))
    assert answer == Answer(texts=("whiskers", "claws"), against=("antlers", "hooves"))
    assert answer.count == 4


def test_a_pair_told_the_other_way_round_is_turned() -> None:
    swapped = pair("elk", "cat", ("antlers", "hooves"), ("whiskers", "claws"))
    assert judge(PAIR, json.dumps({"pairs": [swapped]})) == judge(PAIR, json.dumps({"pairs": [pair("cat", "elk")]}))


def test_one_pair_without_the_list() -> None:
    assert judge(PAIR, json.dumps(pair("cat", "elk"))).accepted
    assert judge(PAIR, json.dumps({"pairs": None, **pair("cat", "elk")})).accepted  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "data",
    [
        {"pairs": []},
        {"pairs": "cat and elk"},
        {"pairs": {"0": pair("cat", "elk")}},
        {"pairs": [5, None, "x", ["cat", "elk"]]},
        {"pairs": [pair("cat", "owl"), pair("cat", "cat"), pair("cat", None), pair(["cat"], 7)]},
        {},
        pair("elk", "owl"),
    ],
)
def test_a_pair_that_is_not_there(data: object) -> None:
    assert judge(PAIR, json.dumps(data)) == Answer(problems=('the pair "cat" and "elk" was not in it',))


def test_each_side_of_a_pair_is_judged() -> None:
    answer = judge(PAIR, json.dumps(pair("cat", "elk", ["elk", "claws"], "antlers")))
    assert answer.texts == ("claws",)
    assert answer.against == ()
    assert answer.problems == (
        '\'elk\' for "cat" against "elk" is a class name and nothing more',
        'the texts for "elk" against "cat" were not a list of strings',
    )


@pytest.mark.parametrize(("a", "b"), [("C", "C++"), ("+", "-"), ("sea lion", "sea-lion"), ("cafe", "café")])
def test_names_that_differ_only_in_signs_are_told_apart(a: str, b: str) -> None:
    question = Question(kind="pair", classes=(a, b), wanted=2)
    one, other = ("of one", "of it"), ("of another", "of that")
    expected = Answer(texts=one, against=other)
    assert judge(question, json.dumps({"pairs": [pair(a, b, one, other)]})) == expected
    assert judge(question, json.dumps({"pairs": [pair(b, a, other, one)]})) == expected


def test_the_exact_pair_goes_before_one_that_looks_like_it() -> None:
    question = Question(kind="pair", classes=("C", "C++"), wanted=1)
    reply = {"pairs": [pair("C", "C#", ["not sharp"], ["sharp"]), pair("C", "C++", ["one"], ["two"])]}
    assert judge(question, json.dumps(reply)) == Answer(texts=("one",), against=("two",))


def test_labels_of_signs_are_no_match_for_each_other() -> None:
    question = Question(kind="attribute", classes=("+",), wanted=1)
    assert judge(question, '{"class": "+", "texts": ["two crossed strokes"]}').accepted
    assert not judge(question, '{"class": "-", "texts": ["one flat stroke"]}').accepted
    assert texts_of("!", question=question).problems[0].endswith("has no words")


@pytest.mark.parametrize(
    "reply",
    [
        "<think>" * 100_000,
        "</think>" * 100_000,
        "{" * 300_000,
        '{"texts": [' + "," * 300_000,
        "{" + ", " * 300_000,
        "{," + " " * 300_000,
        '{"class": "cat", "texts": ["' + " " * 300_000 + '"]}',
        '{"class": "cat", "texts": ["' + "- " * 100_000 + '"]}',
        '{"class": "cat", "texts": ["' + "I am " * 50_000 + '"]}',
    ],
    ids=lambda reply: reply[:28],
)
def test_a_model_that_runs_wild_is_judged_in_no_time(reply: str) -> None:
    start = time.process_time()
    judge(CAT, reply)
    assert time.process_time() - start < 1.0  # some were half a minute, by backtracking
