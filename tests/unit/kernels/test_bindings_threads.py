"""Threads: the kernels' own change no answer, Python's share a head, and the GIL is free meanwhile."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from helpers_kernels import OUTPUTS, Arrays, call, head, rank, weights


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_threads_change_nothing(batch: int) -> None:
    arrays = weights(300, 128)
    wanted: list[Arrays] = []
    for threads in (1, 2, 4):
        kernel = head(arrays, threads=threads)
        given = call(batch, arrays, n=20)
        kernel.coder(given["features"], given["coder"])
        rank(kernel, given, margin=0.5)
        wanted.append(given)
    for got in wanted[1:]:
        for name, array in wanted[0].items():
            np.testing.assert_array_equal(got[name], array, name)


def longest_stall(work: threading.Thread) -> tuple[float, float]:
    """Runs ``work``; the longest this thread could not tick meanwhile, and the whole time, in seconds."""
    start = last = time.perf_counter()
    longest = 0.0
    work.start()  # inside the measurement: with the GIL held it returns only when the work is done
    while work.is_alive():
        time.sleep(0.0005)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest, last - start


def test_coder_releases_the_gil() -> None:
    kernel = head(weights(60, 512), isa="scalar")
    features, out = np.full((8000, 512), 0.1, np.float32), np.empty((8000, 180), np.float32)
    longest, whole = longest_stall(threading.Thread(target=kernel.coder, args=(features, out)))
    assert longest < whole / 2, f"stalled {longest:.3f} s of {whole:.3f} s"


def test_rank_releases_the_gil() -> None:
    arrays = weights(300, 32)
    given = call(1500, arrays, n=300)
    longest, whole = longest_stall(threading.Thread(target=rank, args=(head(arrays, isa="scalar"), given)))
    assert longest < whole / 2, f"stalled {longest:.3f} s of {whole:.3f} s"


def test_python_threads_share_a_head() -> None:
    arrays = weights(300, 128)
    kernel = head(arrays, threads=2)
    wanted = rank(kernel, call(40, arrays))
    wrong: list[str] = []

    def repeat() -> None:
        for _ in range(20):
            got = rank(kernel, call(40, arrays))
            wrong.extend(name for name in OUTPUTS if not np.array_equal(got[name], wanted[name]))

    callers = [threading.Thread(target=repeat) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []
