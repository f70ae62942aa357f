"""The gate: the figures of a run beside those of an earlier one of the same engine, set up alike."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coder_engine import Engine
from coder_engine.counts import count_of
from coder_engine.errors import CoderError
from coder_engine.files import sha256_of
from coder_engine.weights import load_weights

SHORT = 10.0
"""Seconds a batch size below which two runs of one engine differ by more than the gate lets through."""


def read_baseline(path: Path, sizes: Sequence[int]) -> dict[str, Any]:
    """The figures that an earlier run's ``--json`` printed, with all of the batch sizes ``sizes``.

    Raises:
        CoderError: they are not there, and a gate that compares nothing lets everything through.
    """
    try:
        before: dict[str, Any] = json.loads(path.read_text("utf-8"))
        figures = {batch["batch"]: _figures(batch) for batch in before["batches"]}
        _ = dict(before["setup"]), dict(before["machine"]), float(before["seconds"]), int(before["threads"])
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


def setup(engine: Engine, weights: Path, paths: Sequence[str]) -> dict[str, str]:
    """What two runs have in common if they are to be compared; a runtime's version may be what is to be judged.

    Args:
        paths: the images that are measured on, in order; by content, as decoding them is part of what is measured.
    """
    loaded = load_weights(weights)
    meta, pairs = loaded.meta, 0 if loaded.pair_rows is None else len(loaded.pair_rows)
    runtime, _, precision = engine.description.partition(";")[0].split(", ")[:3]
    return {
        "model": f"{meta.model} ({meta.pretrained})",
        "labels": f"{count_of(len(meta.labels), 'class')} and {count_of(pairs, 'pair')}",
        "images": by_content(paths),
        "backend": runtime.rpartition(" ")[0],
        "device": engine.device,
        "precision": precision,
    }


def by_content(paths: Sequence[str]) -> str:
    """Files in a few words that two lists share only if they hold the same, in the same order."""
    digest = hashlib.sha256("".join(sha256_of(Path(path)) for path in paths).encode()).hexdigest()
    return f"{len(paths):,} of sha256 {digest[:16]}"


def check_same(path: Path, before: dict[str, Any], now: dict[str, str]) -> None:
    """Refuse the baseline ``path`` of another engine, or of this one set up otherwise.

    Raises:
        CoderError: it is one; the figures would say nothing.
    """
    then = before["setup"]
    other = [f"{name} {then.get(name)}, not {value}" for name, value in now.items() if then.get(name) != value]
    if other:
        raise CoderError(f"{path}: was measured with {'; '.join(other)}; measure a baseline of this run's engine")


def doubts(before: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """A line for each reason why the figures of two runs may differ while the engine is the same."""
    then, now = before["machine"], found["machine"]
    lines = [
        f"another machine: {name} {then.get(name)} then, {now[name]} now"
        for name in ("cpu", "cpus", "gpus")
        if then.get(name) != now[name]
    ]
    if before["threads"] != found["threads"]:
        lines.append(f"other threads: {before['threads']} then, {found['threads']} now (--threads)")
    shortest = min(before["seconds"], found["seconds"])
    if shortest < SHORT:
        lines.append(f"{shortest:g} s a batch size are short, two runs of one engine may differ so much (--seconds 20)")
    return lines


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
