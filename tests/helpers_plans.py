"""A weight file for the small graphs of ``helpers_engine``, which lists them as its engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from coder_engine.files import sha256_of
from coder_engine.weights import save_weights
from helpers_engine import HEIGHT, TOWER, WIDTH, D
from helpers_weights import PLAIN, make_tensors


def write_weights(path: Path, *engines: Path) -> Path:
    rng = np.random.default_rng(5)
    tensors = make_tensors("dense")
    bank = np.abs(rng.normal(size=(len(tensors["bank"]), D))).astype(np.float32)
    tensors["bank"] = bank / np.linalg.norm(bank, axis=1, keepdims=True)
    tensors["pair_rows"] = rng.normal(size=(len(tensors["pair_rows"]), D)).astype(np.float16)
    meta = replace(
        PLAIN,
        tower=TOWER,
        engine_files={engine.name: sha256_of(engine) for engine in engines},
        fidelity={"precision": {"precision": "fp16"}},
        preprocess={**PLAIN.preprocess, "size": [HEIGHT, WIDTH]},
    )
    save_weights(path, meta, tensors)
    return path
