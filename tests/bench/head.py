"""The head at ImageNet's size: 1000 classes, 2000 names, all 499,500 pairs, D = 512; beside it what it replaces."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from table import median_ms, resident_mb, show

from coder_engine import _kernels
from coder_engine.cpus import usable_cpus
from coder_engine.head import Head
from coder_engine.metadata import Metadata
from coder_engine.weights import Weights, load_weights, save_weights

C, R, D, T = 1000, 2000, 512, 20_000
PAIRS = C * (C - 1) // 2


def unit(rng: np.random.Generator, rows: int) -> NDArray[np.float32]:
    found = rng.standard_normal((rows, D), np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def synthetic_weights(path: Path) -> None:
    """A weight file of random unit texts: two names and 18 other texts a class, every pair with a row."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([(unit(rng, PAIRS // 100) * 0.3).astype(np.float16) for _ in range(100)])
    meta = Metadata(
        labels=tuple(f"class {i}" for i in range(C)),
        model="synthetic",
        pretrained="random",
        tower="synthetic",
        preprocess={},
        logit_scale=100.0,
    )
    tensors = {
        "bank": np.concatenate([unit(rng, C) * 0.5, unit(rng, R)]),
        "name_offsets": np.arange(0, R + 1, R // C, dtype=np.int32),
        "name_weight": np.full(C, 1 / 19, np.float32),
        "pair_rows": rows,
    }
    save_weights(path, meta, tensors)


def numpy_head(weights: Weights, x: NDArray[np.float32]) -> NDArray[np.int64]:
    """The same collapsed algebra in plain NumPy, one image: the top five, reranked."""
    rows = weights.pair_rows
    assert rows is not None
    cosines = weights.bank @ x
    best = np.maximum.reduceat(cosines[C:], weights.name_offsets[:-1])
    logits = cosines[:C] + weights.name_weight * best
    five = np.argsort(-logits, kind="stable")[:5]
    low, high = np.minimum.outer(five, five), np.maximum.outer(five, five)
    i, j = np.triu_indices(5, 1)
    a, b = low[i, j], high[i, j]
    gaps = rows[a * (2 * C - a - 1) // 2 + b - a - 1].astype(np.float32) @ x
    signed = np.where(five[i] < five[j], gaps, -gaps)
    sums = np.bincount(i, signed, 5) - np.bincount(j, signed, 5)
    return five[np.argsort(-sums, kind="stable")]


def text_loop(texts: list[NDArray[np.float32]], x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Stage 1 as it is usually written: every class's texts in turn, the maximum of its names, the mean (Eq. 8)."""
    logits = np.empty(len(texts))
    for j, own in enumerate(texts):
        cosines = own @ x
        logits[j] = np.mean(np.append(cosines[2:], cosines[:2].max()))
    return logits


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "thousand.safetensors"
        synthetic_weights(path)
        size = path.stat().st_size / 1e6
        opened = median_ms(lambda: Head(load_weights(path)), runs=5, warmup=1)
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


def timings(heads: dict[int, Head], weights: Weights, images: NDArray[np.float32]) -> list[tuple[str, str]]:
    """Median time an image of the kernels, of NumPy and of the loop over all texts; answers compared."""
    texts = [unit(np.random.default_rng(j), T // C) for j in range(C)]
    fresh = iter(np.tile(images, (4, 1)))
    rows, times = [], {}
    for threads, head in heads.items():
        times[threads] = median_ms(lambda head=head: head.rank(next(fresh)[None]), runs=400)
        rows.append((f"matmul, max, top-5, rerank, {threads} thread{'s' * (threads > 1)}", f"{times[threads]:.3f} ms"))
    agreed = sum(numpy_head(weights, x).tolist() == heads[1].rank(x[None]).ids[0, :5].tolist() for x in images[:100])
    plain = median_ms(lambda: numpy_head(weights, next(fresh)), runs=200)
    loop = median_ms(lambda: text_loop(texts, next(fresh)), runs=50)
    best = min(times.values())
    rows.append(
        (
            f"the same algebra in NumPy ({agreed} of 100 top fives equal)",
            f"{plain:.3f} ms, {plain / best:.1f}x",
        )
    )
    rows.append((f"a loop over classes and {T:,} texts, stage 1 alone", f"{loop:.1f} ms, {loop / best:.0f}x"))
    batch = images[:64]
    many = median_ms(lambda: heads[max(heads)].rank(batch), runs=20) / 64
    rows.append((f"the head at B = 64, {max(heads)} threads", f"{many:.3f} ms an image"))
    return rows


if __name__ == "__main__":
    run()
