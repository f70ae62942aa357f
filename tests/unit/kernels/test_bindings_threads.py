"""Threads: the kernels' own change no answer, Python's share a head, and the GIL is free meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

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


_NO_MEMORY = """
import os, resource, sys, tempfile, time
import numpy as np
from coder_engine import _kernels
C, D, B = 6, 1 << 19, 64
bank = np.full((2 * C, D), 1e-3, np.float32)
rows = np.zeros((C * (C - 1) // 2, D), np.float16)
with tempfile.TemporaryFile() as file:
    file.write(rows.tobytes())
    file.flush()
    names, weight = np.arange(C + 1, dtype=np.int32), np.full(C, 0.5, np.float32)
    head = _kernels.Head(bank, names, weight, rows, None, None, pair_file=(file.fileno(), 0), threads=2)
    features, coder = bank[np.zeros(B, int)], np.empty((B, 2 * C), np.float32)
    head.coder(features, coder)
    out = dict(logits=np.empty((B, C), np.float32), ids=np.empty((B, 5), np.int32), scores=np.empty((B, 5), np.float32),
               gaps=np.empty((B, 5), np.float32), duels=np.empty((B, 5, 5), np.float32), reranked=np.empty(B, bool))
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 10), before[1]))
    try:
        head.rank(features, coder, scale=100.0, temperature=1.0, margin=-1.0, rerank=True, **out)
    except RuntimeError as err:
        told = str(err)
    resource.setrlimit(resource.RLIMIT_AS, before)
    time.sleep(0.2)
    print(told)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the process's size is read from /proc")
def test_a_row_that_finds_no_memory_is_told_by_every_thread() -> None:
    """What a thread throws would end the process, or leave the others at work in memory that is gone."""
    done = subprocess.run([sys.executable, "-c", _NO_MEMORY], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cannot be ranked: there is no memory to read a pair row into; free some" in done.stdout
