"""One chat call over real HTTP: what is asked, patience with a bad server, and odd bodies that are replies."""

from __future__ import annotations

import time
from typing import Any

import pytest

from coder_export.generate.llm.client import CallFailed, Completion
from helpers_client import (
    GOOD,
    KEY,
    MESSAGES,
    SCHEMA,
    Reply,
    ask,
    client_of,
    completion,
    error,
    in_turn,
    responding,
    say,
)

pytestmark = pytest.mark.usefixtures("impatient")


def test_a_call_asks_for_the_schema_and_brings_text_finish_and_tokens() -> None:
    with responding(in_turn(GOOD)) as server:
        client = client_of(server.url)
        assert ask(client) == Completion(text="it", finish="stop", tokens=(7, 3))
    assert client.retries == 0
    [body] = server.bodies
    assert body["model"] == "m"
    assert body["messages"] == MESSAGES
    form = {"name": "texts", "strict": True, "schema": SCHEMA}
    assert body["response_format"] == {"type": "json_schema", "json_schema": form}
    assert server.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    "bad",
    [
        *(error(status, "later") for status in (408, 409, 425, 429, 500, 502, 503, 529)),
        say(200, completion(), X_How="cut"),
        say(200, b"<html>gateway</html>", Content_Type="text/html"),
        say(200, b"<html>gateway</html>"),
        say(200, b"\xff\xfe\xfa"),
        say(200, b'{"a":' * 20_000),
        say(200, {"error": {"message": "upstream"}}),
        *(say(200, body) for body in (None, 5, "x", [], {})),
        *(say(200, {"choices": choices}) for choices in (None, [], [None], [{}], "abc", {"0": 1}, [{"message": None}])),
        say(200, completion(5)),
    ],
    ids=lambda bad: f"{bad[0]}-{bad[2][:24]!r}",
)
def test_a_passing_fault_is_asked_again(bad: Reply) -> None:
    with responding(in_turn(bad, GOOD)) as server:
        client = client_of(server.url)
        assert ask(client).text == "it"
    assert client.retries == 1
    assert len(server.times) == 2


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    endless = b" " * (64 << 20)
    said = pytest.raises(CallFailed, match="its answer is longer than 16 MiB")
    with responding(in_turn(say(200, endless))) as server, said:
        ask(client_of(server.url, tries=1))
    with responding(in_turn(say(500, endless), GOOD)) as server:
        assert ask(client_of(server.url)).text == "it"


def test_a_lasting_fault_ends_after_all_tries() -> None:
    with responding(in_turn(error(500, "broken"))) as server:
        client = client_of(server.url)
        with pytest.raises(CallFailed, match=r"^http://127.*/v1/: no reply in 3 tries; the last .*: 500 - broken$"):
            ask(client)
    assert len(server.times) == 3
    assert client.retries == 2


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (say(200, b"<html>"), r"its answer could not be read \(Expecting value"),
        (say(200, {"error": "no"}), "no choices in it: ChatCompletion"),
        (say(200, completion(5)), r"its content is no string: 5"),
        (say(200, completion(), X_How="cut"), "Connection error.*RemoteProtocolError"),
        (say(500, b""), "Error code: 500 - no more was said"),
        (say(500, {"detail": "out of memory"}), 'Error code: 500 - {"detail": "out of memory"}'),
    ],
)
def test_the_last_fault_is_told(reply: Reply, said: str) -> None:
    with responding(in_turn(reply)) as server, pytest.raises(CallFailed, match=said):
        ask(client_of(server.url, tries=1))


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "a pa"}, {"type": "image"}, "rt", {"type": "text", "text": None}]
    with responding(in_turn(say(200, completion(parts)))) as server:
        assert ask(client_of(server.url)).text == "a part"


@pytest.mark.parametrize("body", [{"choices": []}, {"choices": None}, {"choices": [{}]}, completion(5)])
def test_what_is_paid_for_is_no_fault_to_be_asked_again(body: dict[str, Any]) -> None:
    with responding(in_turn(say(200, {**body, "usage": {"prompt_tokens": 7, "completion_tokens": 3}}))) as server:
        found = ask(client_of(server.url))
    assert (found.text, found.tokens) == ("", (7, 3))
    assert len(server.times) == 1


def test_messages_of_the_server_are_cut() -> None:
    with responding(in_turn(error(500, "x" * 10_000))) as server, pytest.raises(CallFailed) as caught:
        ask(client_of(server.url, tries=1))
    assert len(str(caught.value)) < 700


def test_a_silent_server_is_timed_out() -> None:
    def hang(body: dict[str, Any]) -> Reply:
        time.sleep(0.3)
        return GOOD

    with responding(hang) as server, pytest.raises(CallFailed, match=r"timed out|not whole after 0\.1 seconds"):
        ask(client_of(server.url, timeout=0.1, tries=2))


def test_a_call_that_takes_too_long_is_given_up_early() -> None:
    def hang(body: dict[str, Any]) -> Reply:
        time.sleep(0.3)
        return GOOD

    told: list[str] = []
    said = r"/v1/: no reply in 3 tries; the last one: not whole after 0\.1 seconds; raise --timeout$"
    with responding(hang) as server, pytest.raises(CallFailed, match=said):
        ask(client_of(server.url, timeout=0.1, tries=8, told=told.append))
    assert len(server.times) == 3
    assert told == ["trying again (1 of 2 times): not whole after 0.1 seconds; raise --timeout"]


def test_other_faults_beside_do_not_count_as_too_long() -> None:
    def hang(body: dict[str, Any]) -> Reply:
        visits = len(server.times)
        time.sleep(0.3 if visits in (2, 4) else 0.0)
        return GOOD if visits == 6 else error(500, "broken")

    with responding(hang) as server:
        assert ask(client_of(server.url, timeout=0.15, tries=8)).text == "it"


def test_a_reply_in_drops_is_timed_out() -> None:
    with (
        responding(in_turn(say(200, completion("a" * 500), X_How="drop"))) as server,
        pytest.raises(CallFailed, match=r"not whole after 0\.2 seconds"),
    ):
        ask(client_of(server.url, timeout=0.2, tries=2))
    assert len(server.times) == 2  # each cut off: a body read to its end would have been a reply


@pytest.mark.parametrize(
    ("body", "text", "finish", "tokens"),
    [
        (completion(), "it", "stop", (0, 0)),
        (completion(usage={}), "it", "stop", (0, 0)),
        (completion(usage="much"), "it", "stop", (0, 0)),
        (completion(usage={"prompt_tokens": "12", "completion_tokens": None}), "it", "stop", (0, 0)),
        (completion(usage={"prompt_tokens": -4, "completion_tokens": 2}), "it", "stop", (0, 2)),
        (completion(usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 910}), "it", "stop", (7, 903)),
        (completion(usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 8}), "it", "stop", (7, 3)),
        (completion(usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": "9"}), "it", "stop", (7, 3)),
        (completion({"content": None}), "", "stop", (0, 0)),
        (completion({"content": None, "refusal": "I won't"}), "I won't", "stop", (0, 0)),
        (completion("half \ud83d a pair"), "half ? a pair", "stop", (0, 0)),
        (completion("ünïcödé 犬 🐕"), "ünïcödé 犬 🐕", "stop", (0, 0)),
        ({"choices": [{"message": {"content": "it"}}]}, "it", "", (0, 0)),
        ({"choices": [{"message": {"content": "it"}, "finish_reason": 7}]}, "it", "7", (0, 0)),
    ],
)
def test_odd_bodies_that_are_completions(body: dict[str, Any], text: str, finish: str, tokens: tuple[int, int]) -> None:
    with responding(in_turn(say(200, body))) as server:
        assert ask(client_of(server.url, tries=1)) == Completion(text=text, finish=finish, tokens=tokens)
