"""How long to wait before a call is made again, the server's own time or a back-off, and how many go at once."""

from __future__ import annotations

import asyncio
import email.utils
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds of back-off before the first retry and at the most; a server's own Retry-After may be longer."""


def back_off(attempt: int) -> float:
    """Exponential with full jitter above one half, in seconds."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0**attempt) * random.uniform(0.5, 1.0)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: a number or an HTTP date."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        date = email.utils.parsedate_tz(headers.get("retry-after", ""))
        return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None
    except (ValueError, OverflowError):  # no day of any calendar
        return None


@dataclass(kw_only=True, eq=False)
class Place:
    """Of one call: since when it is under way."""

    since: float = math.inf


class Places:
    """How many calls may go at once: any number, until the server says that it is full.

    Then half of those that went, at least one; each reply makes place for one more. Calls get theirs in the order in
    which they came, or one that was refused would wait while new ones are served.
    """

    def __init__(self) -> None:
        self._most = math.inf
        self._taken = 0
        self._halved = -math.inf
        self._line: deque[Place] = deque()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Place]:
        """Around a call: waits for its place."""
        place = Place()
        self._line.append(place)
        try:
            while self._line[0] is not place or self._taken >= self._most:
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._line.remove(place)
            self._changed.set()  # the next one is at the head
        self._taken += 1
        try:
            yield place
        finally:
            self._taken -= 1
            self._changed.set()

    def halve(self, place: Place) -> None:
        """The server is full, says the call at ``place``. One sent before the last halving tells nothing new."""
        if place.since >= self._halved:
            self._most = max(1, min(self._most, self._taken) // 2)
            self._halved = time.monotonic()

    def grow(self) -> None:
        """A reply came."""
        self._most += 1
        self._changed.set()

    def lift(self) -> None:
        """Let everybody go."""
        self._most = math.inf
        self._changed.set()
