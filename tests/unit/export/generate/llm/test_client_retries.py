"""Where no server is, and what is told of calls that are made again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import openai
import pytest

from coder_engine.errors import TextsError
from coder_export.generate.llm import client as module
from coder_export.generate.llm.client import CallFailed, Client
from helpers_client import GOOD, MESSAGES, SCHEMA, ask, client_of, closing, error, in_turn, responding

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_nobody_listens(nobody: str) -> None:
    client = client_of(nobody, tries=50)
    said = rf"^{nobody}/: no server answers there \(.*\); start it, or mend --base-url$"
    with pytest.raises(TextsError, match=said):
        ask(client)
    assert client.retries == 2


def test_no_connection_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CONNECT", 0.2)
    with socket.socket() as full:  # a queue that is full takes no connection and refuses none
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            client = client_of(f"http://127.0.0.1:{full.getsockname()[1]}/v1", timeout=60.0, tries=50)
            with pytest.raises(TextsError, match="no server answers there"):
                ask(client)
    assert client._client.timeout == openai.Timeout(60.0, connect=0.2)
    assert client.retries == 2


def test_a_server_that_has_answered_may_come_back(nobody: str) -> None:
    async def work(client: Client) -> None:
        await client.complete(MESSAGES, SCHEMA)
        client._client.base_url = nobody
        await client.complete(MESSAGES, SCHEMA)

    with responding(in_turn(GOOD)) as server, pytest.raises(CallFailed, match=r"no reply in 5 tries; .*ConnectError"):
        asyncio.run(closing(client_of(server.url, tries=5), work))


def test_of_many_calls_made_again_one_is_told() -> None:
    told: list[str] = []
    with responding(in_turn(*[error(500, "slow\ndown")] * 3, GOOD)) as server:
        ask(client_of(server.url, tries=5, told=told.append))
    assert told == ["trying again (1 of 4 times): Error code: 500 - slow down"]


def test_after_a_while_the_next_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOLD_EVERY", 0.0)
    told: list[str] = []
    with responding(in_turn(*[error(500, "broken")] * 2, GOOD)) as server:
        ask(client_of(server.url, told=told.append))
    assert [line[:30] for line in told] == ["trying again (1 of 2 times): E", "trying again (2 of 2 times): E"]
