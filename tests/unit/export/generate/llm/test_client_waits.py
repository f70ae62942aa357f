"""When a call is made again: the server's own time, one wait for all workers, the back-off where it says none."""

from __future__ import annotations

import asyncio
import email.utils
import itertools
import math
import threading
import time
from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.llm import client as client_module
from coder_export.generate.llm import waits as module
from coder_export.generate.llm.client import CallFailed, Client
from helpers_client import (
    GOOD,
    MESSAGES,
    SCHEMA,
    Reply,
    Respond,
    ask,
    ask_many,
    client_of,
    closing,
    error,
    in_turn,
    responding,
)

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.mark.parametrize("headers", [{"Retry-After": "0.3"}, {"Retry-After-Ms": "300", "Retry-After": "0"}])
@pytest.mark.parametrize("status", [429, 503, 500])
def test_the_server_says_when(headers: dict[str, str], status: int) -> None:
    with responding(in_turn(error(status, "slow down", headers=headers), GOOD)) as server:
        ask(client_of(server.url))
    assert server.times[1] - server.times[0] >= 0.29


def test_the_server_says_when_by_a_date() -> None:
    def date(body: dict[str, Any]) -> Reply:
        if opens:
            return GOOD
        opens.append(int(time.time()) + 1)
        return error(429, "full", headers={"Retry-After": email.utils.formatdate(opens[0], usegmt=True)})

    opens: list[int] = []
    with responding(date) as server:
        ask(client_of(server.url))
    assert server.times[1] >= opens[0] - 0.01


@pytest.mark.parametrize(
    "when",
    ["-5", "0", "nan", "inf", "soon", "", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 99999 07:28:00 GMT"],
)
def test_no_sensible_time_is_the_own_back_off(when: str) -> None:
    with responding(in_turn(error(429, "full", headers={"Retry-After": when}), GOOD)) as server:
        ask(client_of(server.url))
    assert 0.004 < server.times[1] - server.times[0] < 1.0


@pytest.mark.parametrize(("status", "held"), [(429, True), (503, True), (500, False)])
def test_a_full_server_holds_all_workers_back(status: int, held: bool) -> None:
    replies = in_turn(error(status, "full", headers={"Retry-After": "0.4"}), GOOD)

    async def work(client: Client) -> None:
        first = asyncio.create_task(client.complete(MESSAGES, SCHEMA))
        while not server.times:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await asyncio.gather(first, *(client.complete(MESSAGES, SCHEMA) for _ in range(5)))

    with responding(replies) as server:
        asyncio.run(closing(client_of(server.url), work))
    assert len(server.times) == 7
    assert all(later - server.times[0] >= 0.39 for later in server.times[1:]) == held


async def beside(client: Client) -> None:
    """One call, and others one after the other until it ends."""
    other = [{"role": "user", "content": "another"}]
    first = asyncio.create_task(client.complete(MESSAGES, SCHEMA))
    while not first.done():
        await client.complete(other, SCHEMA)
    await first


def refusing(times: float) -> Respond:
    """Refuses our call so often, each time when another was served since it came."""

    def respond(body: dict[str, Any]) -> Reply:
        nonlocal times, others
        if body["messages"] != MESSAGES:
            others += 1
            return GOOD
        if times <= 0:
            return GOOD
        times -= 1
        before, end = others, time.monotonic() + 10
        while others < before + 2:  # the next one but one says that the next one has its reply
            assert time.monotonic() < end
            time.sleep(0.001)
        return error(429, "full")

    others = 0
    return respond


def test_a_full_server_that_serves_others_fails_no_call() -> None:
    with responding(refusing(9)) as server:
        asyncio.run(closing(client_of(server.url, tries=2), beside))


def test_nobody_waits_for_his_turn_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_PATIENCE", 0.5)
    said = pytest.raises(CallFailed, match="no reply in 2 tries; the last one: Error code: 429 - full")
    with responding(refusing(math.inf)) as server, said:
        asyncio.run(closing(client_of(server.url, tries=2), beside))


def test_a_server_that_is_full_for_everybody_fails_calls() -> None:
    with responding(in_turn(error(429, "full"))) as server, pytest.raises(CallFailed, match="no reply in 3 tries"):
        ask(client_of(server.url))
    assert len(server.times) == 3


def test_waiting_for_a_turn_is_told() -> None:
    told: list[str] = []
    with responding(refusing(2)) as server:
        asyncio.run(closing(client_of(server.url, told=told.append), beside))
    assert told == ["trying again: Error code: 429 - full"]


def test_calls_at_once_are_halved_by_a_full_server() -> None:
    def respond(body: dict[str, Any]) -> Reply:
        with lock:
            visit = next(visits)
            now.append(now[-1] + 1)
        if visit < 8:
            together.wait(10)
        time.sleep(0.02)
        with lock:
            now.append(now[-1] - 1)
        return error(429, "full", headers={"Retry-After": "0.2"}) if visit < 8 else GOOD

    lock, visits, now = threading.Lock(), itertools.count(), [0]
    together = threading.Barrier(8)
    with responding(respond) as server:
        ask_many(client_of(server.url), 8)
    assert max(now) == 8
    # Eight refusals of one burst are one: four go, each reply makes place for one more, and leaves one less to go.
    assert 1 < max(now[17:]) <= 6


def test_a_long_wait_is_told_once() -> None:
    told: list[str] = []

    async def work(client: Client) -> None:
        calls = asyncio.gather(*(client.complete(MESSAGES, SCHEMA) for _ in range(4)))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(calls, 0.4)

    with responding(in_turn(error(429, "tomorrow", headers={"Retry-After": "3600"}))) as server:
        asyncio.run(closing(client_of(server.url, told=told.append), work))
    assert told == ["the server asks to be called again in 3,600 seconds; waiting"]


def test_a_long_wait_after_any_error_is_told() -> None:
    told: list[str] = []

    async def work(client: Client) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.complete(MESSAGES, SCHEMA), 0.4)

    with responding(in_turn(error(500, "broken", headers={"Retry-After": "90"}))) as server:
        asyncio.run(closing(client_of(server.url, told=told.append), work))
    assert told == ["the server asks to be called again in 90 seconds; waiting"]


@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_wait_of_more_than_an_hour_ends_the_run(status: int) -> None:
    with responding(in_turn(error(status, "tomorrow", headers={"Retry-After": "86400"}))) as server:
        said = (
            rf"/v1/: Error code: {status} - tomorrow; it asks to be called again in 86,400 seconds. Every reply so far"
        )
        with pytest.raises(TextsError, match=said):
            ask(client_of(server.url))
    assert len(server.times) == 1


def test_back_off_grows_and_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.5)
    assert 0.25 <= module.back_off(0) <= 0.5
    assert 2.0 <= module.back_off(3) <= 4.0
    assert 30.0 <= module.back_off(50) <= module.LONGEST_WAIT
