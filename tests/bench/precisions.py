"""What fp16, bf16 and int8 cost coder-tiny in accuracy, and their time a batch, on every CPU backend.

    python tests/bench/precisions.py TEST_FOLDER TRAIN_FOLDER

Both hold labelled CIFAR-10 images, one folder a class; int8 is calibrated on 256 of the second.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from coder_engine.backends import BACKENDS, Backend, Unavailable
from coder_engine.head import Head
from coder_engine.images import read_rgb
from coder_engine.machine.cpus import usable_cpus
from coder_engine.preprocess import Preprocess
from coder_engine.weights import load_weights
from coder_export.config import ExportConfig
from coder_export.measure import interleaved
from coder_export.photographs import image_files, read_pixels
from coder_export.pipeline import export
from coder_export.precision import LOW, typed_copy
from coder_export.quantize import int8_copy
from coder_export.report import Report
from coder_export.shipped import open_textset


def run(test: Path, train: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        labels = Path(scratch) / "labels.txt"
        labels.write_text("".join(f"{label}\n" for label in open_textset("cifar10").labels))
        config = ExportConfig(model="coder-tiny", labels=labels, texts="cifar10", out=Path(scratch) / "fp32")
        export(config, Report(quiet=True))
        weights = load_weights(config.weights_path)
        preprocess = Preprocess.from_json(weights.meta.preprocess)
        paths = sorted(test.rglob("*.jpg"))
        pixels = np.stack([preprocess(read_rgb(path)) for path in paths])
        truth = np.array([weights.meta.labels.index(path.parent.name) for path in paths])
        head = Head(weights, threads=usable_cpus())
        opened = _open(_copies(config.engine_path, read_pixels(image_files(train), preprocess, most=256)))
        times = [
            interleaved({name: partial(b.encode, pixels[:n]) for name, b in opened.items()}, seconds=20)
            for n in (1, 8, 64)
        ]
        exact, first = None, None
        print(f"{'':44} accuracy  agreement  least cosine  ms at B = 1     8      64")
        for name, backend in opened.items():
            features = np.concatenate([backend.encode(pixels[i : i + 100]) for i in range(0, len(pixels), 100)])
            ids = head.rank(features, top=1).ids[:, 0]
            exact, first = (features, ids) if exact is None else (exact, first)
            medians = "".join(f"{taken[name].p50:8.2f}" for taken in times)
            cosine = float((exact * features).sum(axis=1).min())
            print(f"{name:44} {(ids == truth).mean():8.2%} {(ids == first).mean():10.2%} {cosine:13.4f} {medians:>28}")


def _copies(engine: Path, calibration: np.ndarray) -> dict[str, Path]:
    found = {"fp32": engine, **{name: engine.with_name(f"{name}.onnx") for name in (*LOW, "int8")}}
    for name in LOW:
        onnx.save(typed_copy(onnx.load(engine), name), found[name])
    onnx.save(int8_copy(engine, calibration), found["int8"])
    return found


def _open(copies: dict[str, Path]) -> dict[str, Backend]:
    """Every CPU backend on every file, the reference first."""
    found: dict[str, Backend] = {}
    for kind in reversed([kind for kind in BACKENDS if kind.device == "cpu"]):
        for name, path in copies.items():
            for precision in kind.precisions if name == "fp32" else ("auto",):
                try:
                    backend = kind(path, threads=usable_cpus(), precision=precision)
                except Unavailable as err:
                    print(f"{kind.title} {name}: {err.short}", file=sys.stderr)
                else:
                    found[f"{name}: {backend.description}"] = backend
    return found


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
