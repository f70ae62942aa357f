"""Times of several calls, taken in turn, so that a noisy machine is noisy for all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Call = Callable[[], object]

TURN = 3
"""Counted runs in a row."""

SETTLE = 0.06
"""Seconds: ONNX Runtime's threads still spin for 20 to 40 ms after a run, by the CPU, and slow down what comes next."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """Wall times of one call.

    Attributes:
        p50, p90, p99: percentiles in ms.
        runs: how many were taken.
    """

    p50: float
    p90: float
    p99: float
    runs: int

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        p50, p90, p99 = (float(value) for value in np.percentile(np.array(seconds) * 1e3, (50, 90, 99)))
        return cls(p50=p50, p90=p90, p99=p99, runs=len(seconds))


def interleaved(
    calls: Mapping[str, Call], *, seconds: float, settle: float = SETTLE, least: int = 3, most: int = 1000
) -> dict[str, Times]:
    """Let the calls take turns until ``seconds`` have passed, after one round that is not counted.

    A turn begins uncounted: what the call before has left behind, its data in the caches and its threads that still
    spin, is not this one's cost. Then come ``TURN`` counted runs.

    Args:
        calls: by name; each runs as often as the others.
        seconds: for all of them together.
        settle: seconds that a turn runs uncounted, once at the least.
        least, most: rounds at the least, whatever they take, and at the most.
    """
    for call in calls.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < least or (time.perf_counter() < end and rounds < most):
        for name, call in calls.items():
            settled = time.perf_counter() + settle
            call()
            while time.perf_counter() < settled:
                call()
            for _ in range(TURN):
                start = time.perf_counter()
                call()
                taken[name].append(time.perf_counter() - start)
        rounds += 1
    return {name: Times.of(found) for name, found in taken.items()}
