"""Measuring and printing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path


def median_ms(call: Callable[[], object], *, runs: int, warmup: int = 3) -> float:
    """Median wall time of ``call`` in ms."""
    for _ in range(warmup):
        call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def resident_mb() -> float:
    """Resident memory of this process in MB, mapped files included."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) / 1e3


def show(title: str, rows: list[tuple[str, str]]) -> None:
    """Print a Markdown table, ready for docs/benchmarks.md."""
    print(f"\n### {title}\n\n| what | measured |\n| --- | --- |")
    for what, measured in rows:
        print(f"| {what} | {measured} |", flush=True)
