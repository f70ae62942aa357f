"""The head at ImageNet's size: 1000 classes, 2000 names, all 499,500 pairs, D = 512; beside it what it replaces."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from table import median_ms, resident_mb, show

from coder_engine import _kernels
from coder_engine.counts import count_of
from coder_engine.head import Head
from coder_engine.machine.cpus import usable_cpus
from coder_engine.weightfile.general_texts import pack_texts
from coder_engine.weightfile.metadata import Metadata
from coder_engine.weights import Weights, load_weights, save_weights
from coder_export.bench.heads import loop_head, numpy_head
from coder_export.measure import interleaved

C, R, D, T = 1000, 2000, 512, 20_000
PAIRS = C * (C - 1) // 2


def unit(rng: np.random.Generator, rows: int, width: int = D) -> NDArray[np.float32]:
    found = rng.standard_normal((rows, width), np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def synthetic_tensors(width: int = D) -> dict[str, NDArray[Any]]:
    """Random unit texts: two names and the mean of 18 other texts a class, a row a pair."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([(unit(rng, PAIRS // 100, width) * 0.3).astype(np.float16) for _ in range(100)])
    return {
        "bank": np.concatenate([unit(rng, C, width) * 0.5, unit(rng, R, width)]),
        "name_offsets": np.arange(0, R + 1, R // C, dtype=np.int32),
        "name_weight": np.full(C, 1 / 19, np.float32),
        "pair_rows": rows,
    }


def synthetic_texts() -> dict[str, NDArray[Any]]:
    """The general texts kept beside them, with sentences of usual length."""
    kinds = ["name"] * (R // C) + ["attribute"] * (T // C - R // C)
    sentences = [f"a photo of a thing, which shows feature {n} of its {kind}s." for n, kind in enumerate(kinds)]
    return pack_texts(unit(np.random.default_rng(4), T), [list(zip(kinds, sentences, strict=True))] * C)


def synthetic_weights(path: Path) -> None:
    meta = Metadata(
        labels=tuple(f"class {i}" for i in range(C)),
        model="synthetic",
        pretrained="random",
        tower="synthetic",
        preprocess={},
        logit_scale=100.0,
    )
    save_weights(path, meta, synthetic_tensors())


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "thousand.safetensors"
        synthetic_weights(path)
        size = path.stat().st_size / 1e6
        opened = median_ms(lambda: Head(load_weights(path)), runs=6)
        weights = load_weights(path)
        rng = np.random.default_rng(1)
        images = unit(rng, 1000)
        rows = [("weight file", f"{size:.0f} MB"), ("opening it, checked, with the head", f"{opened:.0f} ms")]
        heads = {threads: Head(weights, threads=threads) for threads in sorted({1, usable_cpus()})}
        head = heads[max(heads)]
        head.rank(images[:1])
        before = peak = resident_mb()
        for image in images:
            head.rank(image[None])
            peak = max(peak, resident_mb())
        rows.append(("resident memory, at its highest over 1,000 images", f"+{peak - before:.0f} MB"))
        rows += timings(heads, weights, images)
        show(f"Head at B = 1: C = {C}, R = {R}, D = {D}, {PAIRS:,} pairs ({_kernels.isa()})", rows)


LOOPS = (
    f"the authors' loops over {T:,} texts and ten duels, in torch",
    "the same, all texts normalised once and for all",
)
"""The first brings all texts to unit length for each image, as the authors' code does for each batch."""


def loop_calls(x: NDArray[np.float32]) -> dict[str, Callable[[], object]]:
    """The loops over 18 texts and two names a class, and over four one-to-one texts a side of each duel."""
    texts = torch.from_numpy(unit(np.random.default_rng(2), T))
    pool = torch.from_numpy(unit(np.random.default_rng(3), 8 * C)).view(2 * C, 4, D)
    counts = [(T // C - R // C, R // C)] * C
    image = torch.from_numpy(x)

    def one_to_one(a: int, b: int) -> torch.Tensor:
        return pool[(a * C + b) % len(pool)]

    anew, once = LOOPS
    return {
        anew: lambda: loop_head(torch.nn.functional.normalize(texts, dim=1), counts, one_to_one, image),
        once: lambda: loop_head(texts, counts, one_to_one, image),
    }


def timings(heads: dict[int, Head], weights: Weights, images: NDArray[np.float32]) -> list[tuple[str, str]]:
    """Median time an image of the kernels, of NumPy and of the loop over all texts, in turn; answers compared."""
    fresh = cycle(images)
    agreed = sum(numpy_head(weights, x).tolist() == heads[1].rank(x[None]).ids[0, :5].tolist() for x in images[:100])
    kernels = {f"matmul, max, top-5, rerank, {count_of(n, 'thread')}": head for n, head in heads.items()}
    plain = f"the same algebra in NumPy ({agreed} of 100 top fives equal)"
    calls: dict[str, Callable[[], object]] = {
        name: lambda head=head: head.rank(next(fresh)[None]) for name, head in kernels.items()
    }
    calls |= {plain: lambda: numpy_head(weights, next(fresh)), **loop_calls(images[0])}
    times = interleaved(calls, seconds=20, most=200)
    best = min(times[name].p50 for name in kernels)
    rows = [(name, f"{times[name].p50:.3f} ms") for name in kernels]
    rows += [(name, f"{times[name].p50:.3f} ms, {times[name].p50 / best:.1f}x") for name in (plain, *LOOPS)]
    batch = images[:64]
    many = median_ms(lambda: heads[max(heads)].rank(batch), runs=20) / 64
    return [*rows, (f"the head at B = 64, {count_of(max(heads), 'thread')}", f"{many:.3f} ms an image")]


if __name__ == "__main__":
    run()
