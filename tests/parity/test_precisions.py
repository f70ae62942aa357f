"""fp16, bf16 and int8 files against fp32, on 2,000 labelled images none of them has seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from coder_engine.backends import Backend, Unavailable
from coder_engine.backends.onnxruntime import OnnxRuntimeCpu
from coder_engine.backends.openvino import OpenVinoCpu
from coder_engine.head import Head
from coder_engine.images import read_rgb
from coder_engine.preprocess import Preprocess
from coder_engine.weights import load_weights

AGREEMENT = {"fp16": 0.995, "bf16": 0.995, "int8": 0.97}
"""Of the first classes, reranked; measured were 0.9995, 0.9995 and 0.985."""


@pytest.fixture(scope="module")
def pixels(tiny: Path, cifar_test: Path) -> NDArray[np.uint8]:
    preprocess = Preprocess.from_json(load_weights(tiny.with_suffix(".safetensors")).meta.preprocess)
    return np.stack([preprocess(read_rgb(path)) for path in sorted(cifar_test.rglob("*.jpg"))])


@pytest.fixture(scope="module")
def truth(tiny: Path, cifar_test: Path) -> NDArray[np.int_]:
    labels = load_weights(tiny.with_suffix(".safetensors")).meta.labels
    return np.array([labels.index(path.parent.name) for path in sorted(cifar_test.rglob("*.jpg"))])


@pytest.fixture(scope="module")
def head(tiny: Path) -> Head:
    return Head(load_weights(tiny.with_suffix(".safetensors")), threads=2)


@pytest.fixture(scope="module")
def copies(tiny: Path, cifar_train: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """coder-tiny in every precision; int8 is calibrated on training images."""
    from coder_export.photographs import image_files, read_pixels
    from coder_export.precision import LOW, typed_copy
    from coder_export.quantize import int8_copy

    folder = tmp_path_factory.mktemp("precisions")
    preprocess = Preprocess.from_json(load_weights(tiny.with_suffix(".safetensors")).meta.preprocess)
    found = {name: folder / f"{name}.onnx" for name in (*LOW, "int8")}
    for name in LOW:
        onnx.save(typed_copy(onnx.load(tiny), name), found[name])
    calibration = read_pixels(image_files(cifar_train), preprocess, most=256)
    onnx.save(int8_copy(tiny, calibration), found["int8"])
    return found


def features(backend: Backend, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([backend.encode(pixels[i : i + 100]) for i in range(0, len(pixels), 100)])


@pytest.fixture(scope="module")
def exact(tiny: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return features(OnnxRuntimeCpu(tiny, threads=2), pixels)


@pytest.mark.parametrize("kind", [OnnxRuntimeCpu, OpenVinoCpu])
@pytest.mark.parametrize("precision", AGREEMENT)
def test_what_a_precision_costs(
    kind: type[Backend],
    precision: str,
    copies: dict[str, Path],
    pixels: NDArray[np.uint8],
    truth: NDArray[np.int_],
    head: Head,
    exact: NDArray[np.float32],
) -> None:
    try:
        low = kind(copies[precision], threads=2, precision="fp32")
    except Unavailable as err:
        pytest.skip(str(err))
    assert low.stored == precision
    assert precision in low.description
    got = features(low, pixels)
    first, same = (head.rank(found, top=1).ids[:, 0] for found in (exact, got))
    assert (first == same).mean() >= AGREEMENT[precision]
    assert abs((same == truth).mean() - (first == truth).mean()) <= 1.5 * (1 - AGREEMENT[precision])
    assert 0.02 > 1 - np.median((exact * got).sum(axis=1)) > 0, "it computes what fp32 does"
