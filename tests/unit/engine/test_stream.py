from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import TypeVar

import pytest

from coder_engine.stream import batches, decode_ahead

T = TypeVar("T")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("coder-decode")]


class Source:
    """An endless iterable that counts what was taken from it."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            self.read += 1
            yield self.read - 1


def failing(n: int, error: BaseException) -> Iterator[int]:
    yield from range(n)
    raise error


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("ahead", [1, 3, 100])
@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_order_is_kept(workers: int, ahead: int, n: int) -> None:
    def decode(i: int) -> int:
        time.sleep(0.002 * (i % 3))
        return -i

    found = list(decode_ahead(range(n), decode, workers=workers, ahead=ahead))
    assert found == [(i, -i) for i in range(n)]
    assert threads() == []


@pytest.mark.parametrize("delay", [0.0, 0.002])
def test_an_endless_source_is_read_a_bounded_way_ahead(delay: float) -> None:
    source = Source()
    stream = decode_ahead(source, lambda _: time.sleep(delay), workers=3, ahead=7)
    for given_out in range(1, 60):
        next(stream)
        assert source.read <= given_out + 7
    stream.close()
    assert threads() == []


def test_the_window_fills_while_the_first_answer_is_not_ready() -> None:
    source, hold = Source(), threading.Event()

    def decode(i: int) -> None:
        hold.wait(60)

    stream = decode_ahead(source, decode, workers=2, ahead=6)
    with_result = threading.Thread(target=lambda: next(stream))
    with_result.start()
    deadline = time.monotonic() + 60
    while source.read < 6 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert source.read == 6
    hold.set()
    with_result.join()
    stream.close()


def test_a_slow_source_is_not_held_back_until_the_window_is_full() -> None:
    source = Source()

    def slow() -> Iterator[int]:
        for i in source:
            time.sleep(0.05)
            yield i

    stream = decode_ahead(slow(), lambda i: i, workers=1, ahead=50)
    assert next(stream) == (0, 0)
    assert source.read <= 3
    stream.close()


def test_decoding_goes_on_while_the_caller_computes() -> None:
    source, decoded = Source(), threading.Semaphore(0)

    def decode(i: int) -> None:
        deadline = time.monotonic() + 60
        while source.read < 10 and time.monotonic() < deadline:  # the first is ready when the window is full
            time.sleep(0.001)
        decoded.release()

    stream = decode_ahead(source, decode, workers=2, ahead=10)
    next(stream)
    assert all(decoded.acquire(timeout=60) for _ in range(10))  # nobody asks for another meanwhile
    stream.close()


def test_several_workers_decode_at_once() -> None:
    together = threading.Barrier(3, timeout=60)
    found = list(decode_ahead(range(3), lambda _: together.wait(), workers=3, ahead=3))
    assert len(found) == 3


def collect(stream: Iterable[T], found: list[T]) -> None:
    for item in stream:
        found.append(item)


def test_an_error_of_the_source_comes_after_what_was_read() -> None:
    found: list[tuple[int, str]] = []
    with pytest.raises(KeyError, match="lost"):
        collect(decode_ahead(failing(5, KeyError("lost")), str, workers=2, ahead=4), found)
    assert found == [(i, str(i)) for i in range(5)]
    assert threads() == []


def test_an_error_of_decode_comes_at_its_place() -> None:
    found: list[tuple[int, float]] = []
    with pytest.raises(ZeroDivisionError, match="division"):
        collect(decode_ahead([1, 2, 0, 4], lambda i: 1 / i, workers=2, ahead=4), found)
    assert found == [(1, 1.0), (2, 0.5)]
    assert threads() == []


def test_ctrl_c_ends_at_once() -> None:
    stream = decode_ahead(failing(3, KeyboardInterrupt()), str, workers=2, ahead=9)
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    assert threads() == []


@pytest.mark.parametrize("how", ["close", "forget"])
def test_an_abandoned_stream_leaves_no_threads(how: str) -> None:
    started = []
    stream = decode_ahead(Source(), started.append, workers=4, ahead=20)
    next(stream)
    assert threads()
    if how == "close":
        stream.close()
    del stream
    gc.collect()
    assert threads() == []
    count = len(started)
    time.sleep(0.02)
    assert len(started) == count


def test_what_nobody_wants_any_more_is_not_decoded() -> None:
    started: list[int] = []

    def decode(i: int) -> None:
        started.append(i)
        time.sleep(0.02)

    stream = decode_ahead(Source(), decode, workers=1, ahead=40)
    next(stream)
    stream.close()
    assert len(started) < 20


def test_a_stream_that_nobody_reads_starts_nothing() -> None:
    source = Source()
    decode_ahead(source, str, workers=4, ahead=20)
    assert source.read == 0
    assert threads() == []


@pytest.mark.parametrize(("workers", "ahead"), [(0, 1), (1, 0)])
def test_wrong_bounds_are_refused_at_once(workers: int, ahead: int) -> None:
    with pytest.raises(ValueError, match=f"workers and ahead must be at least 1, got {workers} and {ahead}"):
        decode_ahead([], str, workers=workers, ahead=ahead)


def test_batches() -> None:
    assert list(batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches(range(6), 3)) == [[0, 1, 2], [3, 4, 5]]
    assert list(batches([], 3)) == []


def test_batches_give_out_what_came_before_an_error() -> None:
    found: list[list[int]] = []
    with pytest.raises(KeyError, match="lost"):
        collect(batches(failing(5, KeyError("lost")), 3), found)
    assert found == [[0, 1, 2], [3, 4]]


def test_batches_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        batches([], 0)


class Item:
    """What can be seen to go."""


def test_nothing_of_a_stream_outlives_it() -> None:
    """Without the collector of cycles, which real-time programs turn off."""
    items = [Item(), Item()]
    seen = [weakref.ref(item) for item in items]
    gc.collect()
    gc.disable()
    try:
        for _ in decode_ahead(iter(items), lambda item: item, workers=1, ahead=2):
            pass
        del _
        items.clear()
        assert [ref() for ref in seen] == [None, None]
    finally:
        gc.enable()
