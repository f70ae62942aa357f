"""Times of several calls, taken in turn, so that a noisy machine is noisy for all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Call = Callable[[], object]


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


def interleaved(calls: Mapping[str, Call], *, seconds: float, least: int = 5, most: int = 1000) -> dict[str, Times]:
    """Run every call in turn until ``seconds`` have passed, after one warm-up round that is not counted.

    Args:
        calls: by name; each runs as often as the others.
        seconds: for all of them together.
        least, most: rounds at the least, whatever they take, and at the most.
    """
    for call in calls.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < least or (time.perf_counter() < end and rounds < most):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
        rounds += 1
    return {name: Times.of(found) for name, found in taken.items()}
