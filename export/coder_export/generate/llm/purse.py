"""What a run may spend: each call in flight has money set aside, so that all together stay within the budget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

_UNKNOWN = 50.0
"""By how much a reply may be dearer than its estimate, before one has come: some models think before they answer, in
thousands of tokens that nobody sees and all are paid for."""

Tokens = tuple[int, int]
"""(prompt, completion)."""


class BudgetSpent(Exception):
    """The money for this run is gone."""


class Purse:
    """Money for calls that run beside each other; one that is made again is a call anew.

    A call is expected to cost its estimate, and as much more as any reply so far has cost more than its own.

    Args:
        price: money by tokens.
        budget: most money to spend; None is no limit.
    """

    def __init__(self, price: Callable[[Tokens], float], budget: float | None) -> None:
        self._price, self._budget = price, budget
        self._spent = self._aside = 0.0
        self._running = 0
        self._more: float | None = None
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def call(self, estimate: Tokens) -> AsyncIterator[None]:
        """Around one try of a call: waits for others to end while there is not money for all of them.

        Raises:
            BudgetSpent: there is none for this one, whatever the others leave.
        """
        aside = await self._set_aside(self._price(estimate))
        self._aside += aside
        self._running += 1
        try:
            yield
        finally:
            self._aside -= aside
            self._running -= 1
            self._freed.set()

    def paid(self, tokens: Tokens, estimate: Tokens) -> None:
        """A reply came, and cost so much."""
        cost, more = self._price(tokens), self._price(tokens) - self._price(estimate)
        self._spent += cost
        self._more = more if self._more is None else max(self._more, more)

    def lost(self, estimate: Tokens) -> None:
        """A call was sent and its reply never came: it is paid for all the same, nobody knows how much."""
        self._spent += self._price(estimate)

    async def _set_aside(self, expected: float) -> float:
        while True:
            money = expected * _UNKNOWN if self._more is None else max(expected + self._more, 0.0)
            if self._budget is None or self._spent + self._aside + money <= self._budget:
                return money
            if not self._running:
                if self._more is not None or (self._spent and self._spent + expected > self._budget):
                    raise BudgetSpent
                return money  # until a reply has come, one after the other: by the first the others are judged
            self._freed.clear()
            await self._freed.wait()
