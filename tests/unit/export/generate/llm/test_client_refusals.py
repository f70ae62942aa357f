"""Calls that no retry can help end at once; keys and passwords are in no message."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.llm.client import CallFailed
from helpers_client import GOOD, KEY, Reply, ask, client_of, completion, error, in_turn, responding, say

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.mark.parametrize(
    ("status", "todo"),
    [
        (401, "set OPENAI_API_KEY to a key of this server"),
        (403, "this key may not use the model"),
        (404, "see which models the server has; asked for 'm'"),
    ],
)
def test_what_no_retry_can_help_ends_at_once_without_the_key(status: int, todo: str) -> None:
    with (
        responding(in_turn(error(status, f"not with {KEY}, nor {KEY}"))) as server,
        pytest.raises(TextsError, match=rf"not with \*\*\*, nor \*\*\*; {todo}\. Every reply so far is kept") as caught,
    ):
        ask(client_of(server.url))
    assert len(server.times) == 1
    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("status", [400, 413, 418, 422])
def test_a_request_the_server_will_not_take_fails_alone_and_at_once(status: int) -> None:
    replies = in_turn(error(status, f"the content filter, {KEY}"), GOOD)
    with responding(replies) as server:
        client = client_of(server.url)
        with pytest.raises(CallFailed, match=r"the content filter, \*\*\*"):
            ask(client)
    assert len(server.times) == 1


@pytest.mark.parametrize("field", ["code", "type"])
@pytest.mark.parametrize("word", ["insufficient_quota", "billing_hard_limit_reached"])
def test_an_empty_account_ends_at_once(field: str, word: str) -> None:
    with (
        responding(in_turn(error(429, f"pay for {KEY}", **{field: word}))) as server,
        pytest.raises(TextsError, match=r"the account of this key is empty: .*pay for \*\*\*; every reply .* kept"),
    ):
        ask(client_of(server.url))
    assert len(server.times) == 1


# the key and the address


@pytest.mark.parametrize(
    "reply",
    [
        error(500, f"bad key {KEY}"),
        say(500, f"<html>{KEY}".encode()),
        say(200, {"said": KEY}),
        say(200, completion({"content": {"said": KEY}})),
        say(200, KEY.encode(), Content_Type="text/plain"),
    ],
)
def test_the_key_is_in_no_message_of_a_failed_call(reply: Reply) -> None:
    with responding(in_turn(reply)) as server, pytest.raises(CallFailed, match=r"\*\*\*") as caught:
        ask(client_of(server.url, tries=1))
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_the_key_is_not_in_what_is_told() -> None:
    def refuse(body: dict[str, Any]) -> Reply:
        return error(400, f"{KEY} has no response_format") if "response_format" in body else GOOD

    told: list[str] = []
    with responding(refuse) as server:
        ask(client_of(server.url, told=told.append))
    assert told
    assert KEY not in "".join(told)


def test_a_line_end_behind_the_key_is_no_part_of_it() -> None:
    with responding(in_turn(GOOD)) as server:
        ask(client_of(server.url, key=f" {KEY}\r\n"))
    assert server.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize("key", ["", " \n", "sk-sécret", "sk-a\nb", "sk-\x01"])
def test_no_key(key: str) -> None:
    with pytest.raises(TextsError, match="the API key is empty or has characters that no key has") as caught:
        client_of("http://localhost/v1", key=key)
    assert not key.strip() or key not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "",
        "ftp://host/v1",
        "http://",
        "http:///v1",
        "http://[::1",
        "http://a b/v1",
        "http://a\n/v1",
        "http://localhost:99999/v1",
        "http://localhost:port/v1",
    ],
)
def test_no_address(url: str) -> None:
    with pytest.raises(TextsError, match="is no address of a server; write it like http://localhost:8000/v1"):
        client_of(url)


def test_a_password_in_the_address_is_not_told() -> None:
    with responding(in_turn(error(500, "broken"))) as server, pytest.raises(CallFailed, match=r"^http://127") as caught:
        ask(client_of(server.url.replace("//", "//user:password@"), tries=1))
    assert "password" not in str(caught.value)
