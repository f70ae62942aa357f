"""Many questions at once over real HTTP: what is stored is not asked again, what is refused is, and no run is lost."""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.llm import client as client_module
from coder_export.generate.llm.ask import Asker, BudgetSpent, Tally, grouped
from coder_export.generate.llm.client import Client
from coder_export.generate.llm.questions import Question, prompt_sha256
from coder_export.generate.llm.store import ReplyStore
from llm_server import LlmServer, reply_to, serving

ANIMALS = ("cat", "elk", "owl", "fox", "bat", "cod", "emu", "hen", "ant", "bee", "cow", "dog")
KEY = "sk-very-secret-0123456789"


def attribute(*labels: str, wanted: int = 4) -> list[Question]:
    return [Question(kind="attribute", classes=(label,), wanted=wanted) for label in labels]


def pairs(first: str, *others: str, **more: Any) -> list[Question]:
    return [Question(kind="pair", classes=(first, other), **{"wanted": 2, **more}) for other in others]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replies.jsonl"


Work = Callable[[Asker], Any]


def run(server: LlmServer, path: Path, work: Work, *, tries: int = 3, key: str = KEY, **options: Any) -> Asker:
    """Do ``work`` with an Asker; it comes back with its tally, its store closed."""

    async def all_of_it() -> Asker:
        client = Client(model="m", base_url=server.url, key=key, timeout=5.0, tries=tries)
        try:
            with ReplyStore(path) as store:
                asker = Asker(client=client, store=store, **options)
                made.append(asker)
                await work(asker)
                return asker
        finally:
            await client.close()

    made: list[Asker] = []
    return asyncio.run(all_of_it())


def asking(questions: Iterable[Question], *, seen: list[Any] | None = None, done: Any = None) -> Work:
    """Ask; ``seen`` gets the answer to each question that is settled."""

    async def work(asker: Asker) -> None:
        own = questions if seen is None else list(questions)
        await (asker.ask(own, done) if done else asker.ask(own))
        if seen is not None:
            seen.extend(asker.answer(question) for question in own)

    return work


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


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


def test_calls_that_fail_are_told_and_the_others_go_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [*attribute(*ANIMALS), *pairs("cat", "elk", "owl", "fox", "bat")]
    ended: list[int] = []
    with serving() as server:
        monkeypatch.setattr(server, "fault", lambda prompt: "500" if '"cat"' in prompt else None)
        asker = run(server, path, asking(questions, done=ended.append), tries=2)
        assert asker.tally.calls == 11
        assert len(ended) == 13
        of_cat, of_pairs = sorted(asker.tally.failures)
        assert re.match(r"attribute texts of cat: http://.*: no reply in 2 tries; .*: 500 - broken", of_cat)
        assert of_pairs.startswith("pair texts of cat against elk, cat against owl, cat against fox, ...: ")
        monkeypatch.setattr(server, "fault", lambda prompt: None)
        assert run(server, path, asking(questions)).tally.calls == 2


def test_a_server_that_is_gone_ends_the_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(prompt: str) -> str | None:
        return None if next(visits) < 3 else "500"

    visits = itertools.count()
    questions = (question for n in itertools.count() for question in attribute(f"class {n}"))
    with serving() as server:
        monkeypatch.setattr(server, "fault", fault)
        with pytest.raises(TextsError, match=r"8 calls in a row had no reply, the last one: .*500 - broken\. Every"):
            run(server, path, asking(questions), tries=1, concurrency=2)
        assert len(rows(path)) == len(server.served) == 3


def test_failures_between_good_calls_do_not_end_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    visits = itertools.count()
    with serving() as server:
        monkeypatch.setattr(server, "fault", lambda prompt: None if next(visits) % 4 == 0 else "500")
        asker = run(server, path, asking(attribute(*(f"class {n}" for n in range(16)))), tries=1, concurrency=1)
    assert len(asker.tally.failures) == 12
    assert asker.tally.calls == 4


def test_a_wrong_key_ends_the_run_and_is_in_no_message(path: Path) -> None:
    with serving(key="another") as server, pytest.raises(TextsError, match=r"401.*set OPENAI_API_KEY") as caught:
        run(server, path, asking(attribute(*ANIMALS)))
    assert KEY not in str(caught.value)
    assert rows(path) == []


def test_a_full_disk_ends_the_run_and_the_rest_is_asked_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, data: bytes) -> int:
        if data.startswith(b'{"keys"') and next(writes) >= 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    write, writes = os.write, itertools.count()
    monkeypatch.setattr(os, "write", full)
    with serving() as server:
        with pytest.raises(TextsError, match="No space left on device"):
            run(server, path, asking(attribute(*ANIMALS)))
        assert len(rows(path)) == 4
        monkeypatch.setattr(os, "write", write)
        assert run(server, path, asking(attribute(*ANIMALS))).tally.calls == 8


def of_calls(tokens: tuple[int, int]) -> float:
    return tokens[0] / 100  # our server counts a hundred for each


def test_a_spent_budget_ends_the_run_even_of_questions_without_end(path: Path) -> None:
    questions = (question for n in itertools.count() for question in attribute(f"class {n}"))
    with serving() as server:
        with pytest.raises(BudgetSpent):
            run(server, path, asking(questions), price=of_calls, budget=5.0, concurrency=1)
        assert len(rows(path)) == len(server.served) == 5


def test_refused_replies_cost_too(path: Path) -> None:
    with serving(answer=lambda prompt: "no") as server, pytest.raises(BudgetSpent):
        run(server, path, asking(attribute("cat")), price=of_calls, budget=2.0, attempts=9)
    assert len(rows(path)) == 2


def test_calls_in_flight_when_the_budget_is_spent_are_paid_for_and_stored(path: Path) -> None:
    # The first reply spends the budget; the seven others are still under way then.
    def answer(prompt: str) -> str:
        time.sleep(0.0 if '"cat"' in prompt else 0.3)
        return reply_to(prompt)

    with serving(answer=answer) as server:
        with pytest.raises(BudgetSpent):
            run(server, path, asking(attribute(*ANIMALS)), price=of_calls, budget=1.0, concurrency=8)
        assert len(rows(path)) == len(server.served) == 8


def test_a_budget_that_is_enough(path: Path) -> None:
    with serving() as server:
        asker = run(server, path, asking(attribute("cat", "elk")), price=of_calls, budget=2.5, concurrency=1)
    assert asker.tally.calls == 2


def test_no_more_calls_at_once_than_asked_for(path: Path) -> None:
    lock = threading.Lock()
    now = most = 0

    def answer(prompt: str) -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return reply_to(prompt)

    with serving(answer=answer) as server:
        run(server, path, asking(attribute(*ANIMALS)), concurrency=3)
    assert most == 3


def test_questions_are_taken_as_they_are_asked(path: Path) -> None:
    def questions() -> Iterable[Question]:
        for n, label in enumerate(ANIMALS):
            ahead.append(n - len(server.served))
            yield from attribute(label)

    ahead: list[int] = []
    with serving(latency=0.02) as server:
        run(server, path, asking(questions()), concurrency=2)
    assert len(ahead) == 12
    assert max(ahead) <= 3


@pytest.mark.parametrize("fault", ["429", "500", "cut", "no-json", "malformed", "refusal", "duplicates", "bare-name"])
def test_a_fault_now_and_then_changes_no_answer(fault: str, path: Path, tmp_path: Path) -> None:
    questions = [*attribute(*ANIMALS[:4]), *pairs("cat", "elk", "owl")]
    good: list[Any] = []
    seen: list[Any] = []
    with serving() as server:
        run(server, tmp_path / "good.jsonl", asking(questions, seen=good))
    with serving(faults={fault: 0.5}, seed=3) as server:
        run(server, path, asking(questions, seen=seen), attempts=12, tries=12)
        assert max(server.visits.values()) > 1 or len(server.served) > 5, "no fault came: the test shows nothing"
    assert seen == good


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
