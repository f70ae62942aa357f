"""Things that one thread at a time may use, made as they are needed and kept for the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


class Pool(Generic[T]):
    """At most ``limit`` of what ``make`` makes; a thread that finds all of them taken waits.

    Args:
        harmless: errors that say nothing against the thing that was borrowed.
    """

    def __init__(self, make: Callable[[], T], limit: int, harmless: tuple[type[Exception], ...] = ()) -> None:
        self._make, self._harmless = make, harmless
        self._idle: deque[T] = deque()
        self._closed = False
        self._free = BoundedSemaphore(limit)

    @contextmanager
    def borrow(self) -> Iterator[T]:
        """One that no other thread uses. Where the block fails, not harmlessly, it is closed: it may have work left."""
        with self._free:
            try:
                one = self._idle.pop()
            except IndexError:
                one = self._make()
            try:
                yield one
            except self._harmless:
                self._give_back(one)
                raise
            except BaseException:
                one.close()
                raise
            self._give_back(one)

    def close(self) -> None:
        """Close all of them, those in use when they are given back."""
        self._closed = True
        while True:
            try:
                one = self._idle.pop()
            except IndexError:  # perhaps another thread, which gave one back, took the last
                return
            one.close()

    def _give_back(self, one: T) -> None:
        self._idle.append(one)
        if self._closed:
            self.close()
