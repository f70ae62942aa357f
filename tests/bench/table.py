"""Measuring and printing: medians, and the machine they were taken on."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from coder_engine.cpus import usable_cpus


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


def machine() -> str:
    """CPU, CPUs in use and versions, in one line."""
    models = [
        line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    found = []
    for name in ("numpy", "torch", "open_clip_torch", "onnxruntime"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    cpu = models[0] if models else platform.machine()
    return f"{cpu}, {usable_cpus()} CPUs, Python {platform.python_version()}, {', '.join(found)}"


def show(title: str, rows: list[tuple[str, str]]) -> None:
    """Print a Markdown table, ready for docs/benchmarks.md."""
    print(f"\n### {title}\n\n| what | measured |\n| --- | --- |")
    for what, measured in rows:
        print(f"| {what} | {measured} |", flush=True)
