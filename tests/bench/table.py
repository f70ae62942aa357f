"""Measuring and printing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from coder_export.measure import TURN, interleaved


def median_ms(call: Callable[[], object], *, runs: int) -> float:
    """Median wall time in ms of a call that is compared with no other, over some ``runs``."""
    return interleaved({"it": call}, seconds=0, least=-(-runs // TURN))["it"].p50


def resident_mb() -> float:
    """Resident memory of this process in MB, mapped files included."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) / 1e3


def show(title: str, rows: list[tuple[str, str]]) -> None:
    """Print a Markdown table, ready for docs/benchmarks.md."""
    print(f"\n### {title}\n\n| what | measured |\n| --- | --- |")
    for what, measured in rows:
        print(f"| {what} | {measured} |", flush=True)
