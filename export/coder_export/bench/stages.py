"""The stages of one engine, each as a call on the same images."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coder_engine import Engine
from coder_engine.errors import EngineError
from coder_engine.images import read_rgb
from coder_export.bench.measure import Call

STAGES = ("decode", "preprocess", "encode", "head", "total")


def stage_calls(engine: Engine, paths: list[str]) -> dict[str, Call]:
    """By name of ``STAGES``: the stage on the B images of ``paths``; decode and preprocess in one thread."""
    images = [read_rgb(path) for path in paths]
    pixels = np.stack([engine.preprocess(image) for image in images])
    features = engine.embed(pixels)
    return {
        "decode": lambda: [read_rgb(path) for path in paths],
        "preprocess": lambda: [engine.preprocess(image) for image in images],
        "encode": lambda: engine.embed(pixels),
        "head": lambda: engine.predict_features(features),
        "total": lambda: engine.predict(paths),
    }


def throughput(engine: Engine, paths: list[str], *, batch_size: int, seconds: float) -> float:
    """Images a second of ``predict_stream``, decoding overlapped: rounds of ``paths`` until ``seconds`` have passed."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        count += sum(1 for _ in engine.predict_stream(paths, batch_size=batch_size))
    return count / (time.perf_counter() - start)


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """A fresh process, from its first line to its first answer.

    Attributes:
        imported, opened, first: ms to import the package, to open the engine, to classify one image.
        peak_mb: the most memory it held, in MB.
    """

    imported: float
    opened: float
    first: float
    peak_mb: float


_PROGRAM = """
import sys, time, resource
start = time.perf_counter()
from coder_engine import Engine
imported = time.perf_counter()
engine = Engine(sys.argv[1], weights=sys.argv[2] or None, backend=sys.argv[3])
opened = time.perf_counter()
engine.predict([sys.argv[4]])
done = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
print(*(1e3 * t for t in (imported - start, opened - imported, done - opened)), peak)
"""


def cold_start(engine: Path, weights: Path | None, backend: str, image: str) -> ColdStart:
    """Measure a process of its own.

    Raises:
        EngineError: it failed.
    """
    command = [sys.executable, "-c", _PROGRAM, str(engine), str(weights or ""), backend, image]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"{engine}: a fresh process could not run it: {done.stderr.strip().splitlines()[-1:]}")
    imported, opened, first, peak = map(float, done.stdout.split()[-4:])
    return ColdStart(imported=imported, opened=opened, first=first, peak_mb=peak)
