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
        ('a man\'s "hat"', 'a man\'s "hat"'),
        ('"flat" or "round"', '"flat" or "round"'),
        ("'the cat's ears'", "the cat's ears"),
        ("stripes like the tigers'", "stripes like the tigers'"),
        ('a screen of 27"', 'a screen of 27"'),
        ('"a lone quote', "a lone quote"),
        ('a lone quote".', "a lone quote"),
        ("has a long muzzle", "a long muzzle"),
        ("which has has a long muzzle", "a long muzzle"),
        ("It has floppy ears.", "floppy ears"),
        ("- with two horns", "two horns"),
        ("with or without spots", "with or without spots"),
        ("hasty strokes that have a lot of paint", "hasty strokes that have a lot of paint"),
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
        ("Cats", "is a class name and nothing more"),
        ("N/A", "is no answer"),
        ("None.", "is no answer"),
        ("not applicable", "is no answer"),
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


def test_analogues_lose_their_article_and_are_told_apart_by_their_singular() -> None:
    question = Question(kind="analogous", classes=("dog",), wanted=6, excluded=("sea lion",))
    names = "a coyote, Coyotes, an arctic fox, the gray wolf, the sea lions, a dog, cat in the hat, no-no bird"
    answer = texts_of(*names.split(", "), question=question)
    assert answer.texts == ("coyote", "arctic fox", "gray wolf", "cat in the hat", "no-no bird")
    assert [problem.partition(' for "dog" ')[::2] for problem in answer.problems] == [
        ("'Coyotes'", "is there twice"),
        ("'sea lions'", "was excluded"),
        ("'dog'", "is a class name and nothing more"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "no whiskers",
        "Without a tail",
        "it has no tail",
        "it lacks a tail",
        "Lack of a tail",
        "unlike a dog, slit pupils",
    ],
)
def test_what_is_missing_is_left_out_and_told_where_too_little_is_left(text: str) -> None:
    assert texts_of("pointed ears", text) == Answer(texts=("pointed ears",))
    [told, few] = texts_of(text).problems
    assert told.endswith(' for "cat" says what is missing; say what is there')
    assert few == '0 good texts for "cat", of 2 asked for'


def test_a_good_text_may_begin_like_a_negation() -> None:
    assert texts_of("notched ears", "nose").accepted
    sign = Question(kind="analogous", classes=("no entry sign",), wanted=1)
    assert texts_of("no parking sign", question=sign).texts == ("no parking sign",)


def test_a_text_of_both_sides_of_a_pair_cancels_to_nothing() -> None:
    answer = judge(PAIR, json.dumps(pair("cat", "elk", ["slit pupils", "claws"], ["hooves", "It has slit pupils."])))
    assert answer == Answer(texts=("claws",), against=("hooves",))
    answer = judge(PAIR, json.dumps(pair("cat", "elk", ["slit pupils", "claws"], ["slit pupils", "elk"])))
    assert (answer.texts, answer.against) == (("claws",), ())
    assert answer.problems == (
        '\'elk\' for "elk" against "cat" is a class name and nothing more',
        '\'slit pupils\' for "elk" against "cat" is there for the other class, too',
        '0 good texts for "elk" against "cat", of 2 asked for',
    )


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


def test_pairs_in_a_list_without_the_object_around_it() -> None:
    for reply in (
        [pair("cat", "owl"), pair("cat", "elk")],
        [pair("cat", "owl"), {"pairs": [pair("cat", "elk")]}],
    ):
        assert judge(PAIR, f"```json\n{json.dumps(reply)}\n```").texts == ("whiskers", "claws")


@pytest.mark.parametrize(
    "before",
    [
        'Format: {"class": ..., "texts": [...]}',
        json.dumps({"class": "lighthouse", "texts": ["a round tower"]}),
        '{"class": "cat", "texts": "see below"}',
        "[1] {as {you} said}",
        "[",
    ],
)
def test_what_is_not_wanted_before_a_good_reply(before: str) -> None:
    assert judge(CAT, f"{before}\n{GOOD}") == Answer(texts=tuple(TEXTS))
    assert judge(CAT, f"{before}\n{GOOD.replace(']}', ',]}')}") == Answer(texts=tuple(TEXTS))


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
        "{x}" * 100_000,
        "[{}," * 100_000,
        '{"' * 100_000 + "}" * 100_000,
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
