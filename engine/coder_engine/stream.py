"""Bounded, ordered reading ahead: threads decode the next images while the engine computes on these."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")

Advance = Callable[[int], Callable[[], object]]
"""Progress: called with how many images come, gives what is called after each of them."""


def decode_ahead(
    items: Iterable[T], decode: Callable[[T], U], *, workers: int, ahead: int
) -> Generator[tuple[T, U], None, None]:
    """Yield (item, decode(item)) in order, with ``decode`` running ahead in threads.

    ``items`` is read in the caller's thread: one item for each one given out, and further only while the next answer
    is not ready. At most ``ahead`` items are held. Reading waits for the source, so with ``ahead`` above 1 an answer
    may wait for one item more; with 1 each answer comes before the next item is read.

    Args:
        items: any iterable, however long. If it raises, the items before are given out first.
        decode: runs in a thread, a single item's in the caller's. What it raises comes out at its item's place.
        workers: threads, at least 1.
        ahead: items read but not yet given out, at least 1.

    Raises:
        ValueError: ``workers`` or ``ahead`` is less than 1.
    """
    if workers < 1 or ahead < 1:
        raise ValueError(f"workers and ahead must be at least 1, got {workers} and {ahead}")
    if isinstance(items, Sized) and len(items) == 1:  # nothing to overlap with: a thread would only cost its start
        return ((item, decode(item)) for item in items)
    return _decode_ahead(iter(items), decode, workers, ahead)


def _decode_ahead(
    source: Iterator[T], decode: Callable[[T], U], workers: int, ahead: int
) -> Generator[tuple[T, U], None, None]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="coder-decode")
    pending: deque[tuple[T, Future[U]]] = deque()
    ended: list[Exception] = []
    try:
        while not ended or pending:
            try:
                while not ended and len(pending) < ahead:
                    item = next(source)
                    pending.append((item, pool.submit(decode, item)))
                    if pending[0][1].done():
                        break
            except Exception as err:  # StopIteration too: what was read before goes out first
                ended.append(err)
            if pending:
                item, answer = pending.popleft()
                yield item, answer.result()
        if not isinstance(ended[0], StopIteration):
            raise ended[0]
    finally:
        # on any end, Ctrl-C and an abandoned generator included, no thread outlives it
        pool.shutdown(wait=True, cancel_futures=True)
        ended.clear()  # its frames are these, which would keep one another and the last item alive


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut ``items`` into lists of ``size``, the last one shorter.

    If ``items`` raises, what came before is given out first.

    Raises:
        ValueError: ``size`` is less than 1.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    return _batches(iter(items), size)


def _batches(source: Iterator[T], size: int) -> Iterator[list[T]]:
    batch: list[T] = []
    while True:
        try:
            batch.append(next(source))
        except StopIteration:
            if batch:
                yield batch
            return
        except Exception:
            if batch:
                yield batch
            raise
        if len(batch) >= size:
            yield batch
            batch = []
