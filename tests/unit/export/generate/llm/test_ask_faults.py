"""Servers, keys and disks that fail while questions are asked: what is told, what ends the run, what is asked later."""

from __future__ import annotations

import errno
import itertools
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import TextsError
from helpers_ask import ANIMALS, KEY, asking, attribute, pairs, rows, run
from helpers_client import Reply, completion, error, responding, say
from llm_server import reply_to, serving

pytestmark = pytest.mark.usefixtures("impatient")


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


def test_replies_under_way_when_the_account_is_empty_are_kept(path: Path) -> None:
    def respond(body: dict[str, Any]) -> Reply:
        if next(visits) == 3:
            return say(429, {"error": {"message": "no money", "code": "insufficient_quota"}})
        time.sleep(0.3)
        return say(200, completion(reply_to(body["messages"][-1]["content"])))

    visits = itertools.count()
    with responding(respond) as server:
        with pytest.raises(
            TextsError, match=r"the account of this key is empty: .*no money; every reply so far is kept"
        ):
            run(server, path, asking(attribute(*ANIMALS)), concurrency=6)
        assert len(rows(path)) == len(server.bodies) - 1 == 5


def test_nobody_waits_for_another_try_when_the_run_ends(path: Path) -> None:
    def respond(body: dict[str, Any]) -> Reply:
        if next(visits) == 0:
            return say(503, b"full", Retry_After="3000")
        time.sleep(0.2)
        return error(401, "no such key")

    visits = itertools.count()
    with responding(respond) as server, pytest.raises(TextsError, match="401"):
        run(server, path, asking(attribute(*ANIMALS)), concurrency=2)
    assert len(server.times) == 2, "the first call was made again"


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
