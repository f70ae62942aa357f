"""Reply formats that a server refuses: one step down, once for all calls, and how such a refusal is known."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.llm.client import CallFailed
from helpers_client import GOOD, Reply, Respond, Server, ask, ask_many, client_of, error, in_turn, responding, say

pytestmark = pytest.mark.usefixtures("impatient")


def refusing(*forms: str, status: int = 400) -> Respond:
    """Takes no reply format of ``forms``."""

    def respond(body: dict[str, Any]) -> Reply:
        form = body.get("response_format", {"type": "text"})["type"]
        return error(status, f"response_format {form} is not supported") if form in forms else GOOD

    return respond


def formats(server: Server) -> list[str]:
    return [body.get("response_format", {"type": "none"})["type"] for body in server.bodies]


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_refused_format_is_replaced_by_the_next_simpler_one(status: int) -> None:
    told: list[str] = []
    with responding(refusing("json_schema", status=status)) as server:
        client = client_of(server.url, tries=1, told=told.append)
        assert ask(client).text == "it"
    assert formats(server) == ["json_schema", "json_object"]
    assert told == [
        f"the server refuses json_schema replies (Error code: {status} - response_format json_schema is not "
        "supported); going on with json_object"
    ]
    assert client.retries == 0


def test_a_server_without_formats_is_asked_without() -> None:
    with responding(refusing("json_schema", "json_object")) as server:
        client = client_of(server.url, tries=1)
        ask_many(client, 1)
    assert formats(server) == ["json_schema", "json_object", "none"]


def test_a_format_refused_even_where_none_is_asked_for_fails_the_call() -> None:
    with (
        responding(in_turn(error(400, "this format is not supported"))) as server,
        pytest.raises(CallFailed, match="this format is not supported"),
    ):
        ask(client_of(server.url))
    assert formats(server) == ["json_schema", "json_object", "none"]


def test_many_calls_at_once_go_one_step_down_only() -> None:
    barrier = threading.Barrier(8, timeout=5)  # no call is refused before all eight are under way
    told: list[str] = []

    def respond(body: dict[str, Any]) -> Reply:
        if body["response_format"]["type"] == "json_schema":
            barrier.wait()
        return refusing("json_schema")(body)

    with responding(respond) as server:
        client = client_of(server.url, tries=1, told=told.append)
        assert [answer.text for answer in ask_many(client, 8)] == ["it"] * 8
    assert formats(server) == ["json_schema"] * 8 + ["json_object"] * 8
    assert len(told) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        error(400, "unsupported value", param="response_format"),
        say(422, {"detail": [{"loc": ["body", "response_format"], "msg": "extra fields not permitted"}]}),
        say(400, {"object": "error", "message": "Structured Output is not available"}),
        error(400, "json_schema needs a grammar"),
    ],
)
def test_servers_refuse_a_format_in_many_words(refusal: Reply) -> None:
    with responding(in_turn(refusal, GOOD)) as server:
        ask(client_of(server.url))
    assert formats(server) == ["json_schema", "json_object"]


def test_more_information_is_no_format() -> None:
    with (
        responding(in_turn(error(404, "no such model; for more information see the manual"))) as server,
        pytest.raises(TextsError, match="no such model"),
    ):
        ask(client_of(server.url))
    assert formats(server) == ["json_schema"]
