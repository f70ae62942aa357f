"""Heads of the kernels on label sets at random, and the arrays that their calls take."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine import _kernels

Arrays = dict[str, NDArray[Any]]
C, R, D, P = 6, 12, 16, 15
K = 5
OUTPUTS = ("logits", "ids", "scores", "gaps", "duels", "reranked")


def weights(classes: int = C, width: int = D) -> Arrays:
    """A dense label set with one, two, three, one, ... names a class."""
    random = np.random.default_rng(classes)
    offsets = np.concatenate([[0], np.cumsum(1 + np.arange(classes) % 3)]).astype(np.int32)
    bank = random.normal(size=(classes + int(offsets[-1]), width)) / np.sqrt(width)
    pairs = random.normal(size=(classes * (classes - 1) // 2, width)) / np.sqrt(width)
    return {
        "bank": bank.astype(np.float32),
        "name_offsets": offsets,
        "name_weight": random.uniform(0.1, 1.0, classes).astype(np.float32),
        "pair_rows": pairs.astype(np.float16),
    }


def head(arrays: Arrays | None = None, **options: Any) -> _kernels.Head:
    given: dict[str, Any] = {"pair_starts": None, "pair_others": None, **(arrays or weights()), **options}
    return _kernels.Head(**given)


def call(batch: int = 3, arrays: Arrays | None = None, n: int = K) -> Arrays:
    """The arguments of ``rank`` that are arrays: inputs at random, outputs full of 77."""
    arrays = arrays or weights()
    rows, width = arrays["bank"].shape
    classes = len(arrays["name_weight"])
    k = min(5, classes)
    random = np.random.default_rng(1)
    return {
        "features": random.normal(size=(batch, width)).astype(np.float32),
        "coder": random.normal(size=(batch, rows)).astype(np.float32),
        "logits": np.full((batch, classes), 77, np.float32),
        "ids": np.full((batch, n), 77, np.int32),
        "scores": np.full((batch, n), 77, np.float32),
        "gaps": np.full((batch, k), 77, np.float32),
        "duels": np.full((batch, k, k), 77, np.float32),
        "reranked": np.zeros(batch, np.bool_),
    }


def rank(kernel: _kernels.Head, arrays: Arrays, **options: Any) -> Arrays:
    given: dict[str, Any] = {"scale": 30.0, "temperature": 1.0, "margin": -1.0, "rerank": True, **arrays, **options}
    kernel.rank(**given)
    return {name: arrays[name] for name in OUTPUTS}
