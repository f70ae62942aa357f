"""The stages of one engine, each as a call on the same images."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from coder_engine import Engine
from coder_engine.errors import EngineError, ImageError
from coder_engine.images import read_rgb
from coder_export.measure import Call, interleaved


def stage_calls(engine: Engine, paths: list[str]) -> dict[str, Call]:
    """By name, each stage on the B images of ``paths``; decode and preprocess in one thread."""
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
    """Images a second of ``predict_stream``, decoding overlapped: one stream of full batches, in which each of
    ``paths`` comes once at the least, and however few they are, again and again until ``seconds`` have passed.

    Raises:
        ImageError: one cannot be read: it would count as classified in no time.
    """
    start = time.perf_counter()

    def source() -> Iterator[str]:
        for count, path in enumerate(cycle(paths)):
            if not count % batch_size and count >= len(paths) and time.perf_counter() - start >= seconds:
                return
            yield path

    count = 0
    for found in engine.predict_stream(source(), batch_size=batch_size):
        if found.error is not None:
            raise ImageError(found.error.kind, f"{found.error.message}; or leave it out of what is measured")
        count += 1
    return count / (time.perf_counter() - start)


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """A fresh process, from its first line to its first answer.

    Attributes:
        imported, opened, warmed, first: ms to import the package, to open the engine, to warm it up for one image, and
            to classify one.
        peak_mb: the most memory it held, in MB.
    """

    imported: float
    opened: float
    warmed: float
    first: float
    peak_mb: float


_PROGRAM = """
import sys
sys.path[:] = filter(None, sys.path)  # without the current folder, whose numpy.py, say, would be taken for NumPy
import json, re, resource, time
start = time.perf_counter()
from coder_engine import Engine
imported = time.perf_counter()
path, image, options = json.loads(sys.argv[1])
engine = Engine(path, **options)
opened = time.perf_counter()
engine.warm_up()
warmed = time.perf_counter()
found, = engine.predict([image])
if found.error:
    sys.exit(found.error.message)
done = time.perf_counter()
try:  # what getrusage tells begins with the peak of the process that started this one
    with open("/proc/self/status") as status:
        peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1])
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(*(1e3 * t for t in (imported - start, opened - imported, warmed - opened, done - warmed)), peak / 1e3)
"""


def cold_start(engine: Path, image: str, options: Mapping[str, Any]) -> ColdStart:
    """Measure a process of its own; ``options`` are the Engine's, as JSON has them.

    Raises:
        EngineError: it failed.
    """
    arguments = json.dumps([str(engine), image, options])
    done = subprocess.run([sys.executable, "-c", _PROGRAM, arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise EngineError(f"{engine}: a fresh process could not run it: {last}")
    imported, opened, warmed, first, peak = map(float, done.stdout.split()[-5:])
    return ColdStart(imported=imported, opened=opened, warmed=warmed, first=first, peak_mb=peak)


def swap_ms(engine: Engine, weights: Path) -> float:
    """Median ms of ``use_labels`` with a weight file, which the engine then uses."""
    return interleaved({"swap": lambda: engine.use_labels(weights)}, seconds=0, least=15)["swap"].p50


def warm_up_ms(engine: Engine, batch_size: int) -> float:
    """Ms of the first run of a batch size, or of a further one where it has run."""
    start = time.perf_counter()
    engine.warm_up((batch_size,))
    return 1e3 * (time.perf_counter() - start)
