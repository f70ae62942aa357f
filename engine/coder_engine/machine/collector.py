"""Python's garbage collector, out of the way of what must not be disturbed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class _Pause:
    """The collector, off while anybody asks for that."""

    def __init__(self) -> None:
        self._lock, self._inside, self._running = Lock(), 0, False

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                self._running = gc.isenabled()
                gc.disable()
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._running:
                gc.enable()


_pause = _Pause()


@contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's garbage collector, which might free anything in the middle of what the block does."""
    _pause.enter()
    try:
        yield
    finally:
        _pause.leave()
