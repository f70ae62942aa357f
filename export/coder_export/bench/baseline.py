"""The gate: the figures of a run beside those of an earlier one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coder_engine.errors import CoderError


def read_baseline(path: Path, sizes: Sequence[int]) -> dict[str, Any]:
    """The figures that an earlier run's ``--json`` printed, with all of the batch sizes ``sizes``.

    Raises:
        CoderError: they are not there, and a gate that compares nothing lets everything through.
    """
    try:
        before: dict[str, Any] = json.loads(path.read_text("utf-8"))
        figures = {batch["batch"]: _figures(batch) for batch in before["batches"]}
    except OSError as err:
        raise CoderError(f"{path}: cannot be read ({err.strerror}); give a file that --json wrote") from err
    except (ValueError, LookupError, TypeError) as err:
        raise CoderError(f"{path}: no figures of coder-bench in it; give a file that --json wrote") from err
    if not all(math.isfinite(value) and value > 0 for pair in figures.values() for value in pair):
        raise CoderError(f"{path}: no figures of coder-bench in it, as some are not above 0; measure it again")
    missing = [size for size in sizes if size not in figures]
    if missing:
        raise CoderError(
            f"{path}: has {_some(figures)}, not {_some(missing)} of this run; measure the same sizes (--batch)"
        )
    return before


def worse_than(before: dict[str, Any], found: dict[str, Any], *, most: float) -> list[str]:
    """A line for each batch size of ``found`` that is slower, or does less in a second, by more than ``most``."""
    old = {batch["batch"]: _figures(batch) for batch in before["batches"]}
    lines = []
    for batch in found["batches"]:
        (p50, rate), (old_p50, old_rate) = _figures(batch), old[batch["batch"]]
        slower, more = p50 / old_p50 - 1, rate / old_rate - 1
        if max(slower, -more) > most:
            lines.append(f"B = {batch['batch']}: latency {slower:+.1%}, throughput {more:+.1%}")
    return lines


def _figures(batch: dict[str, Any]) -> tuple[float, float]:
    """What is compared: the median of the whole path in ms, and images a second."""
    return float(batch["ms"]["total"]["p50"]), float(batch["images_per_second"])


def _some(sizes: Sequence[int] | dict[int, Any]) -> str:
    return f"B = {', '.join(map(str, sizes))}"
