"""Small engine files for the tests of the backends: the least graph with coder-export's interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx", reason="the build side, which writes engine files, is not installed")

from onnx import TensorProto, helper  # noqa: E402

HEIGHT, WIDTH, D = 2, 4, 3 * 2 * 4
TOWER = "ab" * 32
PROPS = {"coder.format": "1", "coder.tower": TOWER}


def graph(
    *,
    pixels: tuple[object, ...] = ("B", HEIGHT, WIDTH, 3),
    bank: tuple[object, ...] = ("R", D),
    rows: int = -1,
    cast: int = TensorProto.FLOAT,
    scale: float = 1.0,
    outputs: tuple[str, ...] = ("features", "coder"),
    props: dict[str, str] = PROPS,
) -> Any:
    """The features are the pixels as they lie in memory, scaled to the length ``scale``.

    ``rows`` is the batch that the features are reshaped to; -1 takes any.
    """
    constants = [
        helper.make_tensor("shape", TensorProto.INT64, [2], [rows, D]),
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("scale", cast, [], [scale]),
    ]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["cast"], to=cast),
        helper.make_node("Reshape", ["cast", "shape"], ["flat"]),
        helper.make_node("ReduceL2", ["flat", "axes"], ["length"]),
        helper.make_node("Div", ["flat", "length"], ["unit"]),
        helper.make_node("Mul", ["unit", "scale"], [outputs[0]]),
        helper.make_node("Cast", [outputs[0]], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["bank"], ["columns"]),
        helper.make_node("MatMul", ["x", "columns"], [outputs[1]]),
    ]
    made = helper.make_graph(
        nodes,
        "engine",
        [
            helper.make_tensor_value_info("pixels", TensorProto.UINT8, pixels),
            helper.make_tensor_value_info("bank", TensorProto.FLOAT, bank),
        ],
        [
            helper.make_tensor_value_info(outputs[0], cast, None),
            helper.make_tensor_value_info(outputs[1], TensorProto.FLOAT, None),
        ],
        constants,
    )
    return model_of(made, props)


def model_of(made: Any, props: dict[str, str] = PROPS) -> Any:
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, props)
    return model


def write(path: Path, **changes: Any) -> Path:
    onnx.save_model(graph(**changes), path)
    return path


def images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


def features_of(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What the graph gives for them."""
    flat = pixels.reshape(len(pixels), D).astype(np.float64)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)
