"""The CUDA head at ImageNet's size: 1000 classes, 2000 names, all 499,500 pairs, D = 512; needs a GPU."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import head as cpu
import numpy as np
from numpy.typing import NDArray
from table import median_ms, show

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from coder_engine.head import Head
from coder_engine.machine.cuda_driver import require_gpu
from coder_engine.weights import Weights, load_weights
from coder_export.bench.machine import machine, machine_line
from helpers_cuda import Stream, call

BATCHES = (1, 64, 256)


def missing() -> str | None:
    """Why nothing can be measured here."""
    try:
        import cuda.bindings.runtime  # noqa: F401

        from coder_engine import _cuda
    except ImportError as err:
        return str(err)
    return None if _cuda.available() else "no CUDA device"


def device() -> str:
    from cuda.bindings import runtime

    found = call(runtime.cudaGetDeviceProperties, 0)
    name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
    return f"{name}, {found.multiProcessorCount} SMs, CUDA {require_gpu()}"


def read(kernel: Any, batch: int) -> NDArray[np.int32]:
    ids = np.empty((batch, 5), np.int32)
    kernel.results(
        batch,
        5,
        ids=ids,
        scores=np.empty((batch, 5), np.float32),
        gaps=np.empty((batch, 5), np.float32),
        duels=np.empty((batch, 5, 5), np.float32),
        reranked=np.empty(batch, np.bool_),
    )
    return ids


def make(weights: Weights, pairs: str) -> Any:
    from coder_engine import _cuda

    arrays = (weights.bank, weights.name_offsets, weights.name_weight)
    index = (weights.pair_rows, weights.pair_starts, weights.pair_others)
    return _cuda.Head(_cuda.Weights(*arrays, *index, pairs=pairs), max_batch=max(BATCHES))


def measure(kernel: Any, images: NDArray[np.float32], stream: Stream) -> tuple[NDArray[np.int32], str]:
    """The ids of a batch; and the time a launch of its graph takes, many back to back, and one until it is read."""
    batch, features = len(images), stream.put(images)
    graph = stream.record(
        lambda: kernel.enqueue(
            features, batch, stream.handle, scale=100.0, temperature=1.0, margin=-1.0, rerank=True, top=5
        )
    )

    def answer() -> NDArray[np.int32]:
        stream.launch(graph)
        stream.wait()
        return read(kernel, batch)

    alone = median_ms(answer, runs=500) * 1e3
    many = stream.seconds(lambda: stream.launch(graph), runs=500) * 1e6
    return answer(), f"{many:.1f} us back to back, {alone:.1f} us from launch to answer"


def timings(weights: Weights, images: NDArray[np.float32], stream: Stream) -> list[tuple[str, str]]:
    wanted, rows = Head(weights).rank(images).ids, []
    for pairs in ("device", "host"):
        kernel = make(weights, pairs)
        for batch in BATCHES:
            ids, measured = measure(kernel, images[:batch], stream)
            same = int((ids == wanted[:batch]).all(axis=1).sum())
            rows.append((f"B = {batch}, pair rows on the {pairs} ({same} of {batch} as on the CPU)", measured))
    return rows


def run() -> None:
    if reason := missing():
        sys.exit(f"nothing to measure: {reason}")
    stream = Stream()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "thousand.safetensors"
        cpu.synthetic_weights(path)
        weights = load_weights(path)
        images = cpu.unit(np.random.default_rng(1), max(BATCHES))
        title = f"CUDA head in a graph: C = {cpu.C}, R = {cpu.R}, D = {cpu.D}, {cpu.PAIRS:,} pairs ({device()})"
        show(title, timings(weights, images, stream))
    print(machine_line(machine()))
    stream.close()


if __name__ == "__main__":
    run()
