"""A batch in parts, in one thread and in two."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from coder_engine.parts import Parts

PIXELS = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)


def numbers(part: NDArray[np.uint8]) -> list[int]:
    return part.ravel().tolist()


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(("most", "wanted"), [(3, [[0, 1, 2], [3, 4, 5], [6]]), (7, [[*range(7)]]), (9, [[*range(7)]])])
def test_in_order(together: bool, most: int, wanted: list[list[int]]) -> None:
    parts = Parts(most, together=together)
    assert parts.each(PIXELS, numbers) == wanted
    assert parts.each(PIXELS[:0], numbers) == []


def test_two_at_once_in_the_same_two_threads() -> None:
    parts, both, threads = Parts(1, together=True), threading.Barrier(2), set()

    def meet(part: NDArray[np.uint8]) -> None:
        both.wait(10)
        threads.add(threading.get_ident())

    for _ in range(3):
        parts.each(PIXELS[:6], meet)
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_a_large_batch_lets_others_in() -> None:
    parts, order = Parts(1, together=True), list[str]()
    begun, go = threading.Event(), threading.Event()

    def large(part: NDArray[np.uint8]) -> None:
        begun.set()
        assert go.wait(10)
        order.append("large")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(parts.each, PIXELS, large)
        assert begun.wait(10)
        with pytest.raises(TimeoutError):
            first.result(0.05)  # all that it queues is queued
        second = pool.submit(parts.each, PIXELS[:2], lambda part: order.append("small"))
        with pytest.raises(TimeoutError):
            second.result(0.05)
        go.set()
        first.result()
        second.result()
    assert order.index("small") < 4


def test_one_part_and_one_at_a_time_stay_in_the_thread() -> None:
    for parts, pixels in ((Parts(7, together=True), PIXELS), (Parts(3, together=False), PIXELS)):
        assert set(parts.each(pixels, lambda part: threading.get_ident())) == {threading.get_ident()}


def test_a_failure_is_told_once_nothing_runs_any_more() -> None:
    parts, begun, ended = Parts(1, together=True), threading.Event(), list[int]()

    def work(part: NDArray[np.uint8]) -> None:
        if part.item() == 0:
            assert begun.wait(10)
            raise ValueError("no")
        begun.set()
        ended.append(part.item())

    with pytest.raises(ValueError, match=r"^no$"):
        parts.each(PIXELS, work)
    seen = len(ended)
    assert seen >= 1
    assert parts.each(PIXELS[5:], numbers) == [[5], [6]]
    assert len(ended) == seen
