"""An int8 copy of an engine graph, as explicit Q/DQ pairs that ONNX Runtime, OpenVINO and TensorRT all read.

Weights have a scale for each output channel, activations one for each tensor, both symmetric and signed, since TensorRT
knows no zero points. Scales of activations come from the user's own images, at the 99.99th percentile.

By ONNX Runtime's quantizer. On the 2,000 CIFAR-10 test images with coder-tiny (fp32: 85.75 %; 256 training images to
calibrate on; agreement is with fp32's first class, cosine the smallest), run by ONNX Runtime:

    =========================================================== ======== ========= ======
    ONNX Runtime, percentile, convolutions but the first        85.70 %  98.55 %   0.978
    ONNX Runtime, minmax or entropy, the same                   85.80 %  98.45 %   0.986
    ONNX Runtime, percentile, outputs quantized, too            85.55 %  98.70 %   0.975
    ONNX Runtime, minmax, all products and convolutions         85.40 %  97.50 %   0.918
    NNCF 3.4, mixed preset, convolutions but the first          85.80 %  97.95 %   0.927
    NNCF 3.4, transformer mode with SmoothQuant, all            85.75 %  97.80 %   0.958
    =========================================================== ======== ========= ======

The settings were compared on these very test images, calibration apart, so the rows are a little optimistic, and most
differ by a few images. The percentile has the best first percentile and median of the cosine (0.9968 and 0.9998). NNCF
quantizes additions and pooling as well and cannot be held to signed activations, which TensorRT needs; its smoothing of
outliers is what ONNX Runtime's quantizer lacks. The gate says where that costs too much.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from coder_export.hub import quiet
from coder_export.precision import mark

PERCENTILE = 99.99
"""Of an activation's magnitudes: what lies above is clipped."""

_PRODUCTS = ("MatMul", "Gemm")
_CHUNK = 4
"""Images whose activations are held at once; with ViT-B/16 the process came to 3.3 GB."""


def int8_copy(
    path: Path, pixels: NDArray[np.uint8], progress: Callable[[int], object] = lambda images: None
) -> onnx.ModelProto:
    """An int8 copy of the fp32 engine file ``path``, with the same inputs and outputs and a dynamic batch.

    LayerNormalization, Softmax, the products of two activations, the first convolution, the projection, the final norm
    and all that touches the bank stay in fp32, and so do biases.

    Args:
        pixels: uint8 [N, H, W, 3], images like those that will be classified; N at least 1.
        progress: called with the number of images just run.
    """
    model = onnx.load(path, load_external_data=False)
    graph, props = model.graph, {item.key: item.value for item in model.metadata_props}
    target = path.with_name(f"{path.stem}.int8.onnx")
    with quiet(), contextlib.redirect_stdout(io.StringIO()):  # it prints, and warns through the root logger
        quantize_static(
            path,
            target,
            _Reader(pixels, _width(graph), progress),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=quantized_nodes(graph),
            op_types_to_quantize=["Conv", *_PRODUCTS],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            use_external_data_format=path.with_name(path.name + ".data").exists(),
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={
                "ActivationSymmetric": True,
                "CalibPercentile": PERCENTILE,
                "CalibStridedMinMax": 1,  # of the reader's chunks: without it, all activations are held at once
                "OpTypesToExcludeOutputQuantization": ["Conv", *_PRODUCTS],
                "QuantizeBias": False,  # int32, which TensorRT does not dequantize
            },
        )
    found = onnx.load(target)
    for left in (target, target.with_name(target.name + ".data")):
        left.unlink(missing_ok=True)
    onnx.helper.set_model_props(found, props)  # without the quantizer's own, which says that shapes were inferred
    mark(found, "int8")
    return found


def quantized_nodes(graph: onnx.GraphProto) -> list[str]:
    """The names of the nodes that run in int8.

    The first convolution sees pixels, whose errors reach everything, and the last product is the projection. Where
    convolutions outnumber the products (ResNets), those are the pooling by attention: with them in int8, the smallest
    cosine of coder-tiny fell from 0.992 to 0.932.
    """
    weights = {item.name for item in graph.initializer}
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    products = [n.name for n in graph.node if n.op_type in _PRODUCTS and not weights.isdisjoint(n.input)]
    return convolutions[1:] if len(convolutions) > len(products) else [*convolutions[1:], *products[:-1]]


def _width(graph: onnx.GraphProto) -> int:
    shape = next(item for item in graph.input if item.name == "bank").type.tensor_type.shape
    return int(shape.dim[1].dim_value)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Pixels in chunks, as the quantizer asks for them; its length and ranges are in chunks."""

    def __init__(self, pixels: NDArray[np.uint8], width: int, progress: Callable[[int], object]) -> None:
        self._chunks = [pixels[i : i + _CHUNK] for i in range(0, len(pixels), _CHUNK)]
        self._bank = np.zeros((1, width), np.float32)
        self._progress = progress
        self._rest = iter(self._chunks)

    def __len__(self) -> int:
        return len(self._chunks)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._rest = iter(self._chunks[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        chunk = next(self._rest, None)
        if chunk is None:
            return None
        self._progress(len(chunk))
        return {"pixels": chunk, "bank": self._bank}
