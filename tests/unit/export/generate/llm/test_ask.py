"""Many questions at once over real HTTP: what is stored is not asked again, what is refused is; which share a call."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from coder_export.generate.llm.ask import Asker, Tally, grouped
from coder_export.generate.llm.questions import prompt_sha256
from helpers_ask import ANIMALS, asking, attribute, pairs, rows, run
from llm_server import reply_to, serving

pytestmark = pytest.mark.usefixtures("impatient")


# answers and the store


def test_questions_in_answers_in_the_store(path: Path) -> None:
    questions = [*attribute(*ANIMALS), *pairs("cat", "elk", "owl")]
    seen: list[Any] = []
    ended: list[int] = []
    with serving() as server:
        asker = run(server, path, asking(questions, seen=seen, done=ended.append))
    assert all(answer.accepted for answer in seen)
    assert [len(answer.texts) for answer in seen] == [4] * 12 + [2] * 2
    assert [len(answer.against) for answer in seen] == [0] * 12 + [2] * 2
    assert asker.tally == Tally(calls=13, refused=0, failures=[], tokens=(1300, 650))
    assert sum(ended) == 13
    assert len(server.served) == len(rows(path)) == 13


def test_the_record_of_a_reply(path: Path) -> None:
    questions = pairs("cat", "elk", "owl")
    with serving() as server:
        run(server, path, asking(questions))
    [row] = rows(path)
    assert row["keys"] == [question.key("m") for question in questions]
    assert (row["kind"], row["model"], row["finish"]) == ("pair", "m", "stop")
    assert row["classes"] == [["cat", "elk"], ["cat", "owl"]]
    assert row["prompt"] == prompt_sha256("pair")
    assert row["tokens"] == [100, 50]
    assert datetime.fromisoformat(row["time"]).utcoffset() is not None
    assert set(json.loads(row["text"])) == {"pairs"}


def test_what_is_stored_is_not_asked_again(path: Path) -> None:
    first: list[Any] = []
    second: list[Any] = []
    with serving() as server:
        run(server, path, asking(attribute("cat", "elk"), seen=first))
        asker = run(server, path, asking(attribute("owl", "elk", "cat"), seen=second))
        assert len(server.served) == 3
        assert asker.tally.calls == 1
        run(server, path, asking(attribute("cat", "elk", "owl")))
        assert len(server.served) == 3
    assert second[:0:-1] == first


def test_stored_pairs_are_found_in_other_company(path: Path) -> None:
    with serving() as server:
        run(server, path, asking(pairs("cat", "elk", "owl", "fox")))
        run(server, path, asking(pairs("cat", "bat", "elk", "fox", "cod")))
    assert [row["classes"] for row in rows(path)] == [
        [["cat", "elk"], ["cat", "owl"], ["cat", "fox"]],
        [["cat", "bat"], ["cat", "cod"]],
    ]


def test_settled_and_answered(path: Path) -> None:
    [cat] = attribute("cat")

    async def work(asker: Asker) -> None:
        assert asker.answer(cat) is None
        assert not asker.settled(cat)
        assert list(asker.open_calls([cat])) == [[cat]]
        await asker.ask([cat])
        assert asker.settled(cat)
        assert list(asker.open_calls([cat])) == []

    with serving() as server:
        run(server, path, work)


# refused answers


def test_a_refused_answer_is_asked_again_with_the_reason(path: Path) -> None:
    def answer(prompt: str) -> str:
        prompts.append(prompt)
        if len(prompts) == 1:
            return '{"class": "dog", "texts": []}'
        if len(prompts) == 2:
            return json.dumps({"class": "cat", "texts": ["cat", "long whiskers"]})
        return reply_to(prompt)

    prompts: list[str] = []
    seen: list[Any] = []
    with serving(answer=answer) as server:
        asker = run(server, path, asking(attribute("cat"), seen=seen))
    assert asker.tally.calls == 3
    assert asker.tally.refused == 2
    assert seen[0].accepted
    assert prompts[1] == f"{prompts[0]}\nAn earlier reply was refused: it was about 'dog', not the class \"cat\"."
    assert "'dog'" not in prompts[2]  # the last reply's reasons only
    assert prompts[2].startswith(f"{prompts[0]}\nAn earlier reply was refused: 'cat' for \"cat\" is a class name")
    assert len(rows(path)) == 3  # the refused ones are the record of what was paid for


def test_attempts_are_used_up_and_the_best_refused_answer_stays(path: Path) -> None:
    def answer(prompt: str) -> str:
        return json.dumps({"class": "cat", "texts": next(replies)})

    replies = iter([["ears", "ears"], ["ears", "tail", "cat"], ["cat"], ["never asked for"] * 4])
    seen: list[Any] = []
    with serving(answer=answer) as server:
        asker = run(server, path, asking(attribute("cat"), seen=seen))
        assert asker.tally.calls == asker.tally.refused == 3
        assert seen[0].texts == ("ears", "tail")
        assert not seen[0].accepted
        again = run(server, path, asking(attribute("cat")))
        assert again.tally.calls == 0
        assert len(server.served) == 3


def test_attempts_of_an_earlier_run_count(path: Path) -> None:
    with serving(answer=lambda prompt: "no") as server:
        run(server, path, asking(attribute("cat")), attempts=1)
        assert run(server, path, asking(attribute("cat")), attempts=1).tally.calls == 0
        assert run(server, path, asking(attribute("cat")), attempts=4).tally.calls == 3


def test_the_first_accepted_answer_is_taken_and_not_the_longest(path: Path) -> None:
    replies = iter([["one", "two"], ["one", "two", "three", "four"]])
    seen: list[Any] = []
    with serving(answer=lambda prompt: json.dumps({"class": "cat", "texts": next(replies)})) as server:
        # Stricter the first time, so that the same question is asked twice.
        run(server, path, asking(attribute("cat")), attempts=2, fits=lambda *words: words[3] not in ("one", "two"))
        run(server, path, asking(attribute("cat"), seen=seen))
    assert len(rows(path)) == 2
    assert seen[0].texts == ("one", "two")


def test_only_the_refused_pairs_of_a_call_are_asked_again(path: Path) -> None:
    def answer(prompt: str) -> str:
        prompts.append(prompt)
        reply = json.loads(reply_to(prompt))
        if len(prompts) == 1:
            del reply["pairs"][1]
            reply["pairs"][2]["class_has"] = ["cat"]
        return json.dumps(reply)

    prompts: list[str] = []
    seen: list[Any] = []
    with serving(answer=answer) as server:
        asker = run(server, path, asking(pairs("cat", "elk", "owl", "fox", "bat"), seen=seen))
    assert all(answer.accepted for answer in seen)
    assert asker.tally == Tally(calls=2, refused=2, tokens=(200, 100))
    assert re.findall(r"^\d\. .*", prompts[1], re.MULTILINE) == ['1. "cat" and "owl"', '2. "cat" and "bat"']
    assert 'refused: the pair "cat" and "owl" was not in it.' in prompts[1]
    assert '0 good texts for "cat" against "bat"' in prompts[1]


def test_a_cut_reply_is_told_so(path: Path) -> None:
    seen: list[Any] = []
    with serving(faults={"cut-off": 1.0}) as server:
        run(server, path, asking(attribute("cat"), seen=seen), attempts=1)
    assert seen[0].problems == ("it was cut off; write less",)


def test_a_reply_that_is_whole_in_spite_of_its_length_counts(path: Path) -> None:
    seen: list[Any] = []
    with serving(faults={"cut-off": 1.0}, answer=reply_to) as server:
        run(server, path, asking(attribute("cat"), seen=seen), attempts=1)
    assert rows(path)[0]["finish"] == "length"
    assert seen[0].accepted


# which questions share a call


def test_grouping() -> None:
    questions = [
        *attribute("cat", "elk"),
        *pairs("cat", *ANIMALS[1:]),
        *pairs("elk", "owl"),
        *pairs("owl", "fox"),
        *attribute("fox", "fox"),
    ]
    calls = list(grouped(questions))
    assert [len(call) for call in calls] == [1, 1, 5, 5, 1, 1, 1, 1, 1]
    assert [question for call in calls for question in call] == questions


def test_pairs_that_are_asked_in_other_words_do_not_share_a_call() -> None:
    questions = [
        *pairs("cat", "elk", "owl"),
        *pairs("cat", "fox", wanted=3),
        *pairs("cat", "bat", wanted=3, domain="sketch"),
    ]
    assert [len(call) for call in grouped(questions)] == [2, 1, 1]


def test_nothing_to_group() -> None:
    assert list(grouped([])) == []
