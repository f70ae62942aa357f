"""What an LLM is asked: keys, the chat, the reply's schema, and the prompts' worked examples."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest

from coder_export.generate.llm.prompts import ASK, EXAMPLES
from coder_export.generate.llm.questions import Question, messages, prompt_parts, prompt_sha256, schema
from coder_export.generate.llm.replies import judge

CAT = Question(kind="attribute", classes=("cat",))
PAIR = Question(kind="pair", classes=("cat", "elk"), wanted=3)
KINDS = ("attribute", "analogous", "pair")


def asked(*questions: Question, **options: Any) -> str:
    return messages(questions, **options)[-1]["content"]


def test_a_key_is_32_hex_digits_and_stays() -> None:
    assert CAT.key("m") == Question(kind="attribute", classes=("cat",)).key("m")
    assert len(CAT.key("m")) == 32
    assert set(CAT.key("m")) <= set("0123456789abcdef")


def test_whatever_the_model_reads_makes_another_key() -> None:
    keys = {
        CAT.key("m"),
        CAT.key("n"),
        dataclasses.replace(CAT, kind="analogous").key("m"),
        dataclasses.replace(CAT, classes=("elk",)).key("m"),
        dataclasses.replace(CAT, domain="satellite photo").key("m"),
        dataclasses.replace(CAT, wanted=7).key("m"),
        dataclasses.replace(CAT, kind="analogous", excluded=("lynx",)).key("m"),
        PAIR.key("m"),
        dataclasses.replace(PAIR, classes=("elk", "cat")).key("m"),
    }
    assert len(keys) == 9


def test_the_chat_is_system_example_reply_question() -> None:
    chat = messages([CAT])
    assert [message["role"] for message in chat] == ["system", "user", "assistant", "user"]
    assert tuple(message["content"] for message in chat[:3]) == prompt_parts("attribute")
    assert '"cat"' in chat[-1]["content"]
    assert "Write 6 texts" in chat[-1]["content"]
    assert "In a photo," in chat[-1]["content"]


def test_the_domain_brings_its_article() -> None:
    assert "In an aerial photo," in asked(dataclasses.replace(CAT, domain="aerial photo"))


def test_excluded_names_are_told_only_where_there_are_some() -> None:
    question = Question(kind="analogous", classes=("cat",), wanted=2)
    assert "Not these" not in asked(question)
    assert " Not these: lynx, ocelot." in asked(dataclasses.replace(question, excluded=("lynx", "ocelot")))


def test_pairs_are_numbered() -> None:
    text = asked(PAIR, dataclasses.replace(PAIR, classes=("cat", "owl")))
    assert '\n1. "cat" and "elk"\n2. "cat" and "owl"\n' in text
    assert "Write 3 texts for either side" in text


@pytest.mark.parametrize("name", ["{class}", "{0}", "{", "%s", 'a "quoted" one', "Übergröße 犬"])
def test_a_class_name_is_never_read_as_a_template(name: str) -> None:
    for kind in KINDS:
        assert name in asked(Question(kind=kind, classes=(name, name)))


def test_a_class_is_asked_for_with_spaces_for_underscores() -> None:
    for kind in KINDS:
        text = asked(Question(kind=kind, classes=("ceiling_fan", "sofa")[: 1 + (kind == "pair")]))
        assert '"ceiling fan"' in text
        assert "_fan" not in text
    assert '1. "sea_lion" and "sea lion"' in asked(Question(kind="pair", classes=("sea_lion", "sea lion")))


def test_replies_of_when_prompts_had_underscores_are_found() -> None:
    fan = Question(kind="attribute", classes=("ceiling_fan",))
    cat = dataclasses.replace(fan, classes=("ceiling fan",))
    assert asked(fan) == asked(cat)
    assert fan.key("m") != cat.key("m")
    text = json.dumps(["m", *prompt_parts("attribute"), asked(fan).replace("ceiling fan", "ceiling_fan")])
    assert fan.key("m") == hashlib.sha256(text.encode()).hexdigest()[:32]


def test_reasons_of_a_refusal_are_told() -> None:
    other = dataclasses.replace(PAIR, classes=("cat", "owl"))
    text = asked(PAIR, other, reasons={PAIR: ["it was too long"], other: ["it was a poem"]})
    assert text.endswith(
        "\nAn earlier reply was refused: it was too long.\nAn earlier reply was refused: it was a poem."
    )
    assert "refused" not in asked(PAIR, reasons={other: ["it was a poem"]})


def test_a_reason_for_all_of_a_call_is_told_once() -> None:
    other = dataclasses.replace(PAIR, classes=("cat", "owl"))
    assert asked(PAIR, other, reasons={PAIR: ["no JSON"], other: ["no JSON"]}).count("no JSON") == 1


def test_a_flood_of_reasons_does_not_flood_the_prompt() -> None:
    text = asked(CAT, reasons={CAT: [f"text {n} was bad" for n in range(10_000)]})
    assert "text 0 was bad" in text
    assert len(text) < 2_000


@pytest.mark.parametrize("kind", KINDS)
def test_the_worked_example_is_an_answer_that_would_be_accepted(kind: str) -> None:
    _, example, reply = prompt_parts(kind)
    wanted = {"attribute": 6, "analogous": 5, "pair": 2}[kind]
    assert f"Write {wanted} texts" in example
    for classes in EXAMPLES[kind][0]:
        answer = judge(Question(kind=kind, classes=classes, wanted=wanted), reply)
        assert answer.problems == ()
        assert len(answer.texts) == wanted
        assert len(answer.against) == (wanted if kind == "pair" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_is_strict_and_that_of_the_example(kind: str) -> None:
    def check(form: dict[str, Any], value: Any) -> None:
        if form["type"] == "object":
            assert form["additionalProperties"] is False
            assert form["required"] == list(form["properties"]) == list(value)
            for name, own in form["properties"].items():
                check(own, value[name])
        elif form["type"] == "array":
            for one in value:
                check(form["items"], one)
        else:
            assert form == {"type": "string"}
            assert isinstance(value, str)

    check(schema(kind), json.loads(prompt_parts(kind)[2]))


def test_the_wording_of_each_kind_has_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {kind: prompt_sha256(kind) for kind in KINDS}
    assert len(set(before.values())) == 3
    assert {len(value) for value in before.values()} == {64}
    monkeypatch.setitem(ASK, "attribute", ASK["attribute"] + " Please.")
    assert prompt_sha256("attribute") != before["attribute"]
    assert prompt_sha256("pair") == before["pair"]
