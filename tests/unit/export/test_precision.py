"""Typed copies: which tensors are low, which stay fp32, and what it costs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from coder_engine.backends.onnxruntime import open_session
from coder_export import precision as precision_module
from coder_export.collapse import GeneralRows
from coder_export.gate import WIDER, measure_loss
from coder_export.precision import LOW, PRECISION_KEY, typed_copy


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def features(path: Path, count: int) -> np.ndarray:
    session = open_session(path, threads=1)
    return session.run(["features"], {"pixels": pixels(count), "bank": np.zeros((1, 32), np.float32)})[0]


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {item.name: item.type.tensor_type.elem_type for item in (*graph.value_info, *graph.input, *graph.output)}
    return {**found, **{item.name: item.data_type for item in graph.initializer}}


@pytest.mark.parametrize("precision", LOW)
def test_products_run_low_and_norms_in_fp32(small_vit: Path, precision: str) -> None:
    model = typed_copy(onnx.load(small_vit), precision)
    types = types_of(model)
    seen: Counter[tuple[str, int]] = Counter()
    for node in model.graph.node:
        for name in node.input:
            if types.get(name) in (TensorProto.FLOAT, LOW[precision]):
                seen[node.op_type, types[name]] += 1
    assert seen["MatMul", LOW[precision]] > 0
    assert seen["MatMul", TensorProto.FLOAT] == 2, "the bank's matmul alone is fp32"
    for exact in ("LayerNormalization", "Softmax", "ReduceL2"):
        assert seen[exact, LOW[precision]] == 0
        assert seen[exact, TensorProto.FLOAT] > 0


def test_the_residual_stream_is_fp32(small_vit: Path) -> None:
    model = typed_copy(onnx.load(small_vit), "fp16")
    types = types_of(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type == "LayerNormalization" and makers[node.input[0]].op_type == "Add":
            assert types[node.input[0]] == TensorProto.FLOAT


@pytest.mark.parametrize("precision", LOW)
def test_interface_and_metadata_stay(small_vit: Path, precision: str) -> None:
    before, after = onnx.load(small_vit), typed_copy(onnx.load(small_vit), precision)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    props = [{item.key: item.value for item in model.metadata_props} for model in (before, after)]
    assert props[1] == {**props[0], PRECISION_KEY: precision}
    assert sum(len(w.raw_data) for w in after.graph.initializer) < 0.6 * sum(
        len(w.raw_data) for w in before.graph.initializer
    )


@pytest.mark.parametrize("count", [1, 3])
def test_fp16_runs_and_is_near(small_vit: Path, tmp_path: Path, count: int) -> None:
    onnx.save(typed_copy(onnx.load(small_vit), "fp16"), tmp_path / "low.onnx")
    onnx.save(typed_copy(onnx.load(small_vit), "fp16", emulate=True), tmp_path / "emulated.onnx")
    exact, low, emulated = (
        features(path, count) for path in (small_vit, tmp_path / "low.onnx", tmp_path / "emulated.onnx")
    )
    assert low.dtype == np.float32
    assert 0 < np.abs(low - exact).max() < 5e-3
    assert np.abs(low - emulated).max() < 2e-3
    assert (exact * low).sum(axis=1).min() > 0.9999


def test_bf16_has_fewer_digits_than_fp16(small_vit: Path, tmp_path: Path) -> None:
    exact = features(small_vit, 4)
    errors = {}
    for precision in LOW:
        onnx.save(typed_copy(onnx.load(small_vit), precision, emulate=True), tmp_path / "low.onnx")
        errors[precision] = float(np.abs(features(tmp_path / "low.onnx", 4) - exact).max())
    assert 0 < errors["fp16"] < errors["bf16"] < 0.05


def test_an_unknown_precision(small_vit: Path) -> None:
    with pytest.raises(ValueError, match="precision must be one of fp16, bf16, got 'fp8'"):
        typed_copy(onnx.load(small_vit), "fp8")


def test_the_gate_sees_an_overflow_that_bf16_has_not(tmp_path: Path) -> None:
    """Weights of a thousand on pixels of up to 255: past fp16's 65,504, well within bf16."""
    weights = {"big": np.full((48, 8), 1000.0, np.float32), "half": np.full(1, 0.5, np.float32)}
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("MatMul", ["flat", "big"], ["product"]),
        helper.make_node("Mul", ["product", "half"], ["scaled"]),
        helper.make_node("LpNormalization", ["scaled"], ["features"], axis=1),
        helper.make_node("Transpose", ["bank"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["features", "turned"], ["coder"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["b", 4, 4, 3]),
            helper.make_tensor_value_info("bank", TensorProto.FLOAT, ["r", 8]),
        ],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["b", 8]),
            helper.make_tensor_value_info("coder", TensorProto.FLOAT, ["b", "r"]),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    rows = GeneralRows(
        bank=np.eye(4, 8, dtype=np.float32),
        name_offsets=np.array([0, 1, 2], np.int32),
        name_weight=np.ones(2, np.float32),
    )
    images = np.full((2, 4, 4, 3), 200, np.uint8)
    fp16 = measure_loss(path, model, "fp16", images, rows)
    assert not np.isfinite(fp16.cosine)
    assert fp16.fault(cosine=0.5, agreement=None) == "its features are not finite"
    bf16 = measure_loss(path, model, WIDER["fp16"][1], images, rows)
    assert bf16.fault(cosine=0.999, agreement=0.99) is None
    assert (bf16.agreement, bf16.images) == (1.0, 2)


def test_weights_past_two_gigabytes(small_vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What infers shapes and checks a graph serialises it, which protobuf does up to 2 GB: it may not get weights."""
    wanted = typed_copy(onnx.load(small_vit), "fp16")
    given: list[int] = []
    for place, name in ((onnx.shape_inference, "infer_shapes"), (onnx.checker, "check_model")):
        real = getattr(place, name)

        def watched(model: onnx.ModelProto, real: Any = real, **options: Any) -> Any:
            given.append(sum(len(item.raw_data) for item in model.graph.initializer))
            return real(model, **options)

        monkeypatch.setattr(place, name, watched)
    monkeypatch.setattr(precision_module, "_LARGE", 1000)
    assert typed_copy(onnx.load(small_vit), "fp16") == wanted
    assert len(given) == 2
    assert max(given) < 20_000 < sum(len(item.raw_data) for item in wanted.graph.initializer)
