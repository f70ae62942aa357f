"""How many calls go at once: places in the order of the calls, halved by a full server, more with each reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from coder_export.generate.llm.waits import Place, Places


class Calls:
    """Calls that last until they are let go; ``went`` has their names in the order in which they got a place."""

    def __init__(self) -> None:
        self.places = Places()
        self.went: list[str] = []
        self.held: dict[str, Place] = {}
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, names: str) -> None:
        for name in names:
            self.tasks[name] = asyncio.create_task(self._one(name))
        await settle()

    async def end(self, names: str) -> None:
        for name in names:
            self._ends[name].set()
            await self.tasks[name]
        await settle()

    async def _one(self, name: str) -> None:
        end = self._ends[name] = asyncio.Event()
        async with self.places.one() as place:
            self.held[name] = place
            place.since = asyncio.get_running_loop().time()
            self.went.append(name)
            await end.wait()


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def with_calls(work: Callable[[Calls], Coroutine[Any, Any, None]]) -> None:
    async def all_of_it() -> None:
        calls = Calls()
        try:
            await asyncio.wait_for(work(calls), 10)
        finally:
            for task in calls.tasks.values():
                task.cancel()
            await asyncio.gather(*calls.tasks.values(), return_exceptions=True)

    asyncio.run(all_of_it())


def test_any_number_goes_until_the_server_is_full() -> None:
    async def work(calls: Calls) -> None:
        await calls.begin("abcdefgh")
        assert calls.went == list("abcdefgh")

    with_calls(work)


def test_half_of_them_after_a_refusal_and_one_more_a_reply() -> None:
    async def work(calls: Calls) -> None:
        await calls.begin("abcd")
        calls.places.halve(calls.held["a"])
        await calls.end("a")
        await calls.begin("efghij")
        assert calls.went == list("abcd"), "three of two places are taken"
        await calls.end("b")
        assert calls.went == list("abcd")
        calls.places.grow()
        await calls.end("c")
        assert calls.went == list("abcdef"), "three places"
        calls.places.grow()
        await settle()
        assert calls.went == list("abcdefg")

    with_calls(work)


def test_a_burst_of_refusals_is_one() -> None:
    async def work(calls: Calls) -> None:
        await calls.begin("abcd")
        for name in "abcd":
            calls.places.halve(calls.held[name])
        await calls.end("abcd")
        await calls.begin("efgh")
        assert calls.went[4:] == list("ef")
        calls.places.halve(calls.held["e"])
        await calls.end("ef")
        assert calls.went[6:] == list("g")

    with_calls(work)


def test_one_call_goes_whatever_the_server_says() -> None:
    async def work(calls: Calls) -> None:
        for name in "abc":
            await calls.begin(name)
            calls.places.halve(calls.held[name])
            await calls.end(name)
        assert calls.went == list("abc")

    with_calls(work)


def test_who_comes_first_goes_first() -> None:
    async def work(calls: Calls) -> None:
        await calls.begin("a")
        calls.places.halve(calls.held["a"])
        await calls.begin("bcd")
        calls._ends["a"].set()
        calls.tasks["e"] = asyncio.create_task(calls._one("e"))  # at once, before those that wait have been woken
        await settle()
        await calls.end("bcd")
        assert calls.went == list("abcde")

    with_calls(work)


def test_one_that_is_cancelled_holds_nobody_up() -> None:
    async def work(calls: Calls) -> None:
        await calls.begin("a")
        calls.places.halve(calls.held["a"])
        await calls.begin("bc")
        calls.tasks["b"].cancel()
        await calls.end("a")
        assert calls.went == list("ac")

    with_calls(work)


def test_at_the_end_everybody_goes() -> None:
    async def work(calls: Calls) -> None:
        await calls.begin("a")
        calls.places.halve(calls.held["a"])
        await calls.begin("bcd")
        calls.places.lift()
        await settle()
        assert calls.went == list("abcd")

    with_calls(work)
