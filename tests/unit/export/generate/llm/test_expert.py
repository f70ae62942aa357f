"""The LLM as expert: questions, rounds of analogues replayed from the store, and what is collected or missing."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coder_export.generate.analogues import AnalogueFilter
from coder_export.generate.llm import waits
from coder_export.generate.llm.ask import Asker
from coder_export.generate.llm.client import Client
from coder_export.generate.llm.expert import ROUNDS, LlmExpert
from coder_export.generate.llm.questions import prompt_sha256
from coder_export.generate.llm.store import ReplyStore
from coder_export.report import Report
from llm_server import LlmServer, reply_to, serving

LABELS = ("cat", "elk", "owl")
CHOOSE = AnalogueFilter(labels=LABELS, synonyms=[("tom",), (), ()], space=None, threshold=0.9)
FOUR = ["lynx", "civet", "genet", "fossa"]


@contextmanager
def expert(server: LlmServer, path: Path, *, attempts: int = 1) -> Iterator[LlmExpert]:
    client = Client(model="m", base_url=server.url, key="k", timeout=5.0, tries=1)
    with ReplyStore(path / "replies.jsonl") as store:
        yield LlmExpert(
            asker=Asker(client=client, store=store, attempts=attempts, concurrency=2),
            labels=LABELS,
            domain="sketch",
            wanted={"attribute": 3, "analogous": 4, "pair": 2},
            report=Report(quiet=True),
        )


class Names:
    """Answers each class's questions for analogues with its lists in turn, then with none."""

    def __init__(self, **rounds: list[list[str]]) -> None:
        self.asked: list[str] = []
        self._rounds = rounds

    def __call__(self, prompt: str) -> str:
        self.asked.append(prompt)
        name = re.findall(r'the class "(.*?)"', prompt)[0]
        lists = self._rounds[name]
        return json.dumps({"class": name, "texts": lists.pop(0) if lists else []})


def analogues(
    path: Path, answer: Callable[[str], str], choose: AnalogueFilter = CHOOSE
) -> tuple[list[list[str]], list[str]]:
    async def write(asking: LlmExpert) -> None:
        await asking.analogues(choose)
        await asking.asker.client.close()

    with serving(answer=answer) as server, expert(server, path) as asking:
        asyncio.run(write(asking))
        return asking.collect_analogues(choose), asking.missing


def asked_all(asking: LlmExpert, *questions: object) -> None:
    async def write() -> None:
        await asking.ask("all", list(questions))  # type: ignore[arg-type]
        await asking.asker.client.close()

    asyncio.run(write())


def test_questions(tmp_path: Path) -> None:
    with serving() as server, expert(server, tmp_path) as asking:
        attributes, first = asking.attribute_questions(), asking.analogous_questions()
        pairs = asking.pair_questions([(1, 2), (0, 2), (0, 1)])
    assert [(q.kind, q.classes, q.domain, q.wanted) for q in attributes] == [
        ("attribute", (label,), "sketch", 3) for label in LABELS
    ]
    assert [(q.kind, q.classes, q.wanted, q.excluded) for q in first] == [
        ("analogous", (label,), 4, ()) for label in LABELS
    ]
    assert [q.classes for q in pairs] == [("cat", "elk"), ("cat", "owl"), ("elk", "owl")]


def test_asked_once_and_collected(tmp_path: Path) -> None:
    with serving() as server, expert(server, tmp_path) as asking:
        pairs = [(0, 1), (1, 2)]
        asked_all(asking, *asking.attribute_questions(), *asking.pair_questions(pairs))
        assert len(server.served) == 5
        asked_all(asking, *asking.attribute_questions(), *asking.pair_questions(pairs))
        assert len(server.served) == 5
        attributes, found = asking.collect_attributes(), asking.collect_pairs(pairs)
    assert [len(own) for own in attributes] == [3, 3, 3]
    assert set(found) == {(0, 1), (1, 0), (1, 2), (2, 1)}
    item = json.loads(reply_to('Write 2 texts\n1. "cat" and "elk"'))["pairs"][0]
    assert (found[0, 1], found[1, 0]) == (tuple(item["class_has"]), tuple(item["other_has"]))
    assert asking.missing == []


def test_pairs_are_asked_in_the_order_given(tmp_path: Path) -> None:
    def answer(prompt: str) -> str:
        calls.append(re.findall(r'^\d+\. "(.*)" and "(.*)"$', prompt, re.MULTILINE))
        return reply_to(prompt)

    async def ask(asking: LlmExpert) -> None:
        await asking.ask_pairs(needed)
        await asking.ask_pairs([(0, 7), *needed, (0, 6)])
        await asking.asker.client.close()

    calls: list[list[tuple[str, str]]] = []
    needed = [(7, 8), (0, 9), (2, 3), *((0, other) for other in (8, 1, 2, 3, 4, 5)), (2, 4)]
    with serving(answer=answer) as server, expert(server, tmp_path) as asking:
        asking.labels, asking.asker.concurrency = tuple("abcdefghij"), 1
        asyncio.run(ask(asking))
        found = asking.collect_pairs(needed)
    assert ["".join(name for pair in call for name in pair) for call in calls] == [
        "hi",
        "ajaiabacad",
        "cdce",
        "aeaf",
        "ahag",
    ]
    assert list(found) == [way for a, b in sorted(needed) for way in ((a, b), (b, a))]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    def answer(prompt: str) -> str:
        if '"elk"' in prompt:
            return json.dumps({"class": "elk", "texts": ["broad antlers", "elk", "elk"]})
        return str(reply_to(prompt))

    with serving(answer=answer) as server, expert(server, tmp_path) as asking:
        asked_all(asking, *asking.attribute_questions()[:2])
        attributes = asking.collect_attributes()
        assert asking.collect_pairs([(0, 2)]) == {(0, 2): (), (2, 0): ()}
    assert attributes[1:] == [("broad antlers",), ()]
    refused, unanswered, pair = asking.missing
    assert refused.startswith("attribute texts of elk: kept 1 of a faulty reply: 'elk' for \"elk\" is a class name")
    assert unanswered == "attribute texts of owl: no reply"
    assert pair == "pair texts of cat against owl: no reply"


# rounds of analogues


def test_one_round_is_enough_where_nothing_is_dropped(tmp_path: Path) -> None:
    answer = Names(cat=[FOUR], elk=[[*FOUR, "moose"]], owl=[FOUR])
    kept, missing = analogues(tmp_path, answer)
    assert kept == [FOUR, FOUR, FOUR], "never more than were wanted"
    assert (len(answer.asked), missing) == (3, [])


def test_dropped_ones_are_replaced_and_not_asked_for_again(tmp_path: Path) -> None:
    answer = Names(cat=[["lynx", "Owl", "Tom", "civet"], ["genet", "fossa"]], elk=[FOUR], owl=[FOUR])
    kept, missing = analogues(tmp_path, answer)
    assert kept[0] == FOUR
    assert missing == []
    assert len(answer.asked) == 4
    assert "Not these: lynx, civet, Owl, Tom." in answer.asked[-1]
    assert "Write 2 texts" in answer.asked[-1]


def test_the_rounds_are_replayed_from_the_store(tmp_path: Path) -> None:
    answer = Names(cat=[["lynx", "owl", "elk", "civet"], ["genet", "owls"], ["fossa"]], elk=[FOUR], owl=[FOUR])
    first = analogues(tmp_path, answer)
    asked = len(answer.asked)
    assert analogues(tmp_path, answer) == first
    assert len(answer.asked) == asked


def test_a_class_with_no_more_to_give_is_left_alone(tmp_path: Path) -> None:
    answer = Names(cat=[["lynx", "owl", "elk", "civet"], []], elk=[FOUR], owl=[FOUR])
    kept, missing = analogues(tmp_path, answer)
    assert kept[0] == ["lynx", "civet"]
    assert len(answer.asked) == 4
    assert missing == [
        "1 classes have fewer than 4 analogues: no more were given, or they were names of other classes or too near to "
        "one: cat"
    ]


def test_five_rounds_at_most(tmp_path: Path) -> None:
    elks = [f"elk {letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    choose = AnalogueFilter(labels=LABELS, synonyms=[(), elks, ()], space=None, threshold=0.9)
    answer = Names(cat=[elks[4 * i : 4 * i + 4] for i in range(6)], elk=[FOUR], owl=[FOUR])
    kept, _ = analogues(tmp_path, answer, choose)
    assert kept[0] == []
    assert sum('"cat"' in prompt for prompt in answer.asked) == ROUNDS


def test_a_class_without_a_reply_holds_no_other_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "FIRST_WAIT", 0.0)
    names = Names(cat=[["lynx", "owl", "elk", "civet"], ["genet", "fossa"]], elk=[], owl=[FOUR])
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        if '"elk"' in prompt:
            raise ConnectionError  # the server drops the call
        return names(prompt)

    monkeypatch.setattr(LlmServer, "handle_error", lambda *args: None)
    kept, missing = analogues(tmp_path, answer)
    assert kept == [FOUR, [], FOUR]
    assert "1 classes have fewer than 4 analogues" in missing[0]
    assert sum('"elk"' in prompt for prompt in asked) == 1, "it is not asked for in every round"


def test_many_short_classes_are_not_all_listed(tmp_path: Path) -> None:
    with serving() as server, expert(server, tmp_path) as asking:
        asking.labels = tuple("abcdefg")
        choose = AnalogueFilter(labels=asking.labels, synonyms=[()] * 7, space=None, threshold=0.9)
        assert asking.collect_analogues(choose) == [[]] * 7
    assert asking.missing[0].endswith("too near to one: a, b, c, d, e, ...")


# where texts came from


def test_the_origin_has_the_date_of_the_last_reply(tmp_path: Path) -> None:
    with serving() as server, expert(server, tmp_path) as asking:
        questions = asking.attribute_questions()
        assert asking.origin("attribute", questions)["date"] is None
        asked_all(asking, *questions)
        model, store = asking.asker.client.model, asking.asker.store
        times = [reply.time for question in questions for reply in store.replies(question.key(model))]
        found = asking.origin("attribute", questions)
    assert found == {
        "expert": "llm",
        "model": "m",
        "prompt_sha256": prompt_sha256("attribute"),
        "date": max(times),
        "domain": "sketch",
    }
