"""One line on a terminal that says how far a command has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from coder_engine.cli.output import silence
from coder_engine.plans.progress import OnProgress


def rewrite(stream: TextIO, text: str = "") -> None:
    """Put ``text`` in the place of the terminal's last line."""
    try:
        stream.write(f"\r{text}\x1b[K")
        stream.flush()
    except OSError:  # the terminal is gone
        silence(stream)


def terminal(*, quiet: bool) -> TextIO | None:
    """Standard error where progress may be shown on it."""
    return sys.stderr if sys.stderr.isatty() and not quiet else None


class Progress:
    """Counts images; shows the count, the rate and the time at most ten times a second.

    Args:
        stream: a terminal, or None to only count.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._started = time.monotonic()
        self._shown = 0.0
        self.done = 0

    @property
    def rate(self) -> float:
        """Images a second since the start."""
        return self.done / max(time.monotonic() - self._started, 1e-9)

    def advance(self, total: int | None) -> None:
        """One image more, of ``total`` if that is known."""
        self.done += 1
        now = time.monotonic()
        if self._stream is None or now - self._shown < 0.1:
            return
        self._shown = now
        of = "" if total is None else f"/{total:,}"
        left = "" if total is None else f", {_clock((total - self.done) / self.rate)} left"
        text = f"{self.done:,}{of} images, {self.rate:.1f}/s, {_clock(now - self._started)}{left}"
        rewrite(self._stream, text)

    def clear(self) -> None:
        """Take the line away."""
        if self._stream is not None and self._shown:
            rewrite(self._stream)


@contextmanager
def counting(stream: TextIO | None) -> Iterator[Callable[[int], Callable[[], None]]]:
    """Progress of images that come in rounds, each with a line of its own.

    The block calls what it gets with how many images come, and what that gives after each of them.
    """
    progress = Progress(stream)

    def begin(total: int) -> Callable[[], None]:
        nonlocal progress
        progress = Progress(stream)

        def one() -> None:
            progress.advance(total)
            if progress.done == total:
                progress.clear()

        return one

    try:
        yield begin
    finally:
        progress.clear()


@contextmanager
def building(stream: TextIO | None, what: str) -> Iterator[OnProgress]:
    """How much of a build is done, in percent, on a terminal; the block calls what it gets."""

    def show(done: float, phase: str) -> None:
        if stream is not None:
            rewrite(stream, f"building {what}: {done:4.0%} ({phase})")

    try:
        yield show
    finally:
        if stream is not None:
            rewrite(stream)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
