"""The heads that the kernels are measured against give the kernels' answers: a wrong one would be no measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the build side is not installed: pip install '.[export,cpu]'")

import reference  # noqa: E402
from coder_engine.head import Head  # noqa: E402
from coder_engine.weights import load_weights, save_weights  # noqa: E402
from coder_export.bench.heads import loop_head, numpy_head  # noqa: E402
from helpers_weights import PLAIN  # noqa: E402

C, D = 9, 16


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    found = rng.standard_normal(shape).astype(np.float32)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


@pytest.mark.parametrize("pairs", ["dense", "sparse", "none"])
def test_numpy_gives_the_kernels_answers(tmp_path: Path, pairs: str) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "bank": np.concatenate([unit(rng, C, D) * 0.5, unit(rng, 2 * C, D)]),
        "name_offsets": np.arange(0, 2 * C + 1, 2, dtype=np.int32),
        "name_weight": np.full(C, 0.2, np.float32),
    }
    all_pairs = [(a, b) for a in range(C) for b in range(a + 1, C)]
    kept = [pair for pair in all_pairs if pairs == "dense" or (pair[0] + pair[1]) % 2]
    if pairs != "none":
        tensors["pair_rows"] = (unit(rng, len(kept), D) * 0.3).astype(np.float16)
    if pairs == "sparse":
        tensors["pair_starts"] = np.searchsorted([a for a, _ in kept], np.arange(C + 1)).astype(np.int64)
        tensors["pair_others"] = np.array([b for _, b in kept], np.int32)
    meta = replace(PLAIN, labels=tuple(f"class {i}" for i in range(C)))
    save_weights(tmp_path / "w.safetensors", meta, tensors)
    weights = load_weights(tmp_path / "w.safetensors")
    images = unit(rng, 50, D)
    wanted = Head(weights).rank(images).ids[:, :5]
    np.testing.assert_array_equal([numpy_head(weights, x) for x in images], wanted)


@pytest.mark.parametrize("both", [True, False])
def test_the_loops_give_the_papers_answers(both: bool) -> None:
    rng = np.random.default_rng(1)
    classes = [{"attribute": unit(rng, 1 + i % 3, D), "name": unit(rng, 1 + i % 2, D)} for i in range(C)]
    pairs = {(a, b): unit(rng, 3, D) for a in range(C) for b in range(C) if a != b}
    rows = torch.from_numpy(np.concatenate([rows for own in classes for rows in own.values()]))
    counts = [(len(own["attribute"]), len(own["name"])) for own in classes]
    for x in unit(rng, 20, D):
        wanted = (reference.two_stage(x, classes, pairs) if both else reference.one_stage(x, classes)).order[:5]
        one_to_one = (lambda a, b: torch.from_numpy(pairs[a, b])) if both else None
        found = loop_head(rows, counts, one_to_one, torch.from_numpy(x))
        assert found == wanted.tolist()
