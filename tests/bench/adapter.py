"""The few-shot adapter, collapsed, against the plain T-wide form: memory and time of one image.

    python tests/bench/adapter.py                     T = 20,000 texts, NM = 16,000 support images, D = 512
    python tests/bench/adapter.py --texts 2000

The plain form keeps S_train [NM, T] and multiplies each image's CODER with it; it runs in blocks of support images so
that it fits anywhere, but the bytes told are those it would hold. Both forms' logits are compared before the timing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from coder_engine.adapter_head import AdapterHead
from coder_engine.fewshot import CoderAdapter
from coder_engine.head import Head
from coder_engine.machine.cpus import usable_cpus
from coder_engine.weightfile.metadata import Metadata
from coder_engine.weights import load_weights, save_weights
from coder_export.measure import interleaved

Array = NDArray[np.float32]
SCALE = 100.0


def unit(random: np.random.Generator, count: int, width: int) -> Array:
    rows = random.standard_normal((count, width), np.float32) + 1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def label_set(folder: Path, random: np.random.Generator, classes: int, width: int, threads: int) -> Head:
    """A Head with one name a class and no pairs."""
    meta = Metadata(
        labels=tuple(map(str, range(classes))), model="m", pretrained="p", tower="t", preprocess={}, logit_scale=SCALE
    )
    tensors = {
        "bank": np.concatenate([np.zeros((classes, width), np.float32), unit(random, classes, width)]),
        "name_offsets": np.arange(classes + 1, dtype=np.int32),
        "name_weight": np.ones(classes, np.float32),
    }
    save_weights(folder / "bench.safetensors", meta, tensors)
    return Head(load_weights(folder / "bench.safetensors"), threads=threads)


def plain(image: Array, texts: Array, support: Array, labels: NDArray[np.int64], block: int) -> tuple[Array, float]:
    """Eq. 16-19 with l2 for one image: its votes, and the seconds that the run time would take of it."""
    votes = np.zeros(int(labels.max()) + 1, np.float32)
    begin = time.perf_counter()
    s = texts @ image  # Eq. 18
    s /= np.linalg.norm(s)
    seconds = time.perf_counter() - begin
    for start in range(0, len(support), block):
        s_train = support[start : start + block] @ texts.T  # Eq. 16, of the fit
        s_train /= np.linalg.norm(s_train, axis=1, keepdims=True)
        begin = time.perf_counter()
        np.add.at(votes, labels[start : start + block], np.exp(-5.5 * (1 - s_train @ s)))
        seconds += time.perf_counter() - begin
    return votes, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("texts", 20_000), ("support", 16_000), ("classes", 1000), ("width", 512)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=20.0, help="to measure, all calls in turn (default: 20)")
    parser.add_argument("--threads", type=int, default=usable_cpus())
    args = parser.parse_args()
    if args.support < args.classes:
        parser.error(f"--support must be an image a class at the least, {args.classes:,}, got {args.support:,}")
    random = np.random.default_rng(0)
    texts, support = unit(random, args.texts, args.width), unit(random, args.support, args.width)
    labels = np.arange(args.support) % args.classes
    image = unit(random, 1, args.width)
    print(f"T = {args.texts:,}, NM = {args.support:,}, D = {args.width}, B = 1, {args.threads} threads")
    votes, seconds = plain(image[0], texts, support, labels, 500)
    held = 4 * (args.support + args.width) * args.texts
    print(f"plain T-wide      {1e3 * seconds:.0f} ms, holds {held / 1e6:,.0f} MB (S_train and W)")
    begin = time.perf_counter()
    paper = CoderAdapter.fit(support, labels, texts, norm="l2", exponent=1, centre=False, ridge=0)
    print(f"fit               {time.perf_counter() - begin:.1f} s, once")
    np.testing.assert_allclose(paper.logits(image)[0], votes, rtol=1e-4)
    with TemporaryDirectory() as folder:
        head = label_set(Path(folder), random, args.classes, args.width, args.threads)
        calls: dict[str, Callable[[], object]] = {}
        for norm in ("l2", "minmax"):
            adapter = paper if norm == "l2" else CoderAdapter.fit(support, labels, texts)
            held = adapter.keys.nbytes + adapter.mean.nbytes + (0 if adapter.factor is None else adapter.factor.nbytes)
            ranker = AdapterHead(head, adapter, logit_scale=SCALE)
            name = f"{'collapsed, l2' if norm == 'l2' else 'spectral, minmax'}, with stage 1"
            print(f"{name} holds {held / 1e6:,.0f} MB")
            calls[name] = partial(ranker.rank, image)
        calls["keys, kernel"] = lambda: head.product(adapter.keys, image)
        calls["keys, NumPy"] = lambda: image @ adapter.keys.T
        calls["stage 1 alone"] = lambda: head.rank(image, rerank=False)
        for name, times in interleaved(calls, seconds=args.seconds).items():
            print(f"{name:30} p50 {times.p50:.2f} ms, p90 {times.p90:.2f} ms ({times.runs} runs)")


if __name__ == "__main__":
    main()
