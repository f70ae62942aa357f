"""For engines that GPUs run: a weight file of ``helpers_engine``'s small graphs, and a stand-in for what runs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.onnxruntime import open_session
from coder_engine.files import sha256_of
from coder_engine.weights import save_weights
from helpers_engine import HEIGHT, TOWER, WIDTH, D
from helpers_weights import PLAIN, make_tensors


def write_weights(path: Path, *engines: Path, classes: int | None = None) -> Path:
    """Of the four classes that are usual, or of so many with one name each."""
    rng = np.random.default_rng(5)
    tensors, labels = make_tensors("dense"), PLAIN.labels
    rows, pairs = len(tensors["bank"]), len(tensors["pair_rows"])
    if classes is not None:
        labels = tuple(f"class {i}" for i in range(classes))
        rows, pairs = 2 * classes, classes * (classes - 1) // 2
        tensors["name_offsets"] = np.arange(classes + 1, dtype=np.int32)
        tensors["name_weight"] = np.full(classes, 0.5, np.float32)
    bank = np.abs(rng.normal(size=(rows, D))).astype(np.float32)
    tensors["bank"] = bank / np.linalg.norm(bank, axis=1, keepdims=True)
    tensors["pair_rows"] = rng.normal(size=(pairs, D)).astype(np.float16)
    meta = replace(
        PLAIN,
        labels=labels,
        tower=TOWER,
        engine_files={engine.name: sha256_of(engine) for engine in engines},
        fidelity={"precision": {"precision": "fp16"}},
        preprocess={**PLAIN.preprocess, "size": [HEIGHT, WIDTH]},
    )
    save_weights(path, meta, tensors)
    return path


class Turned:
    """Stands for an engine on a GPU: ONNX Runtime's features of an .onnx on the CPU, turned by ``angle``."""

    description = "a GPU"

    def __init__(self, path: Path, angle: float) -> None:
        self._session, self._angle = open_session(path, threads=2), angle
        self.width = int(self._session.get_inputs()[1].shape[1])

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        feeds = {"pixels": pixels, "bank": np.zeros((1, self.width), np.float32)}
        features: NDArray[np.float32] = self._session.run(["features"], feeds)[0]
        across = np.roll(features, 1, axis=1)
        across -= (across * features).sum(axis=1, keepdims=True) * features
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        return features * np.float32(np.cos(self._angle)) + across * np.float32(np.sin(self._angle))

    def close(self) -> None:
        pass
