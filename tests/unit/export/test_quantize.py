"""int8 copies: what runs in int8, that the interface stays, and that every runtime reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from coder_engine.backends import Backend, Unavailable
from coder_engine.backends.base import stored_precision
from coder_engine.backends.onnxruntime import OnnxRuntimeCpu
from coder_engine.backends.openvino import OpenVinoCpu
from coder_engine.plans.build import build_plan
from coder_export.precision import PRECISION_KEY
from coder_export.quantize import int8_copy, quantized_nodes


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def quantized(small_vit: Path, pixels: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "vit.onnx"
    onnx.save(int8_copy(small_vit, pixels), path)
    return path


def test_products_with_weights_run_in_int8_and_nothing_else(small_vit: Path, quantized: Path) -> None:
    model = onnx.load(quantized)
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    low = {
        n.name for n in model.graph.node if n.input and all(makers.get(i) == "DequantizeLinear" for i in n.input[:2])
    }
    before = onnx.load(small_vit).graph
    wanted = quantized_nodes(before)
    assert low == set(wanted)
    assert len(wanted) == 9, "four products in the first layer, five in the last; patches and the projection stay"
    weights = {item.name for item in before.initializer}
    assert all(not weights.isdisjoint(node.input) for node in before.node if node.name in low)


def test_weights_have_a_scale_a_channel_and_no_zero_points(quantized: Path) -> None:
    model = onnx.load(quantized)
    known = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert pairs
    for node in pairs:
        assert known[node.input[2]].dtype == np.int8
        assert not known[node.input[2]].any(), "TensorRT knows no zero points"
    scales = [known[node.input[1]].size for node in pairs if node.input[0] in known]
    assert min(scales) > 1


def test_interface_metadata_and_size(small_vit: Path, quantized: Path) -> None:
    before, after = onnx.load(small_vit), onnx.load(quantized)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    props = [{item.key: item.value for item in model.metadata_props} for model in (before, after)]
    assert props[1] == {**props[0], PRECISION_KEY: "int8"}
    assert (stored_precision(small_vit), stored_precision(quantized)) == ("fp32", "int8")
    assert quantized.stat().st_size < 0.6 * small_vit.stat().st_size
    assert not list(small_vit.parent.glob("*int8*")), "scratch files were left"


def test_every_image_is_run_and_told(small_vit: Path, pixels: NDArray[np.uint8]) -> None:
    seen: list[int] = []
    int8_copy(small_vit, pixels[:6], seen.append)
    assert seen == [4, 2]


@pytest.mark.parametrize("kind", [OnnxRuntimeCpu, OpenVinoCpu])
@pytest.mark.parametrize("count", [1, 3, 17])
def test_runtimes_give_nearly_fp32s_features(
    kind: type[Backend], count: int, small_vit: Path, quantized: Path, pixels: NDArray[np.uint8]
) -> None:
    try:
        low, exact = (kind(path, threads=1, precision="auto").encode(pixels[:count]) for path in (quantized, small_vit))
    except Unavailable as err:
        pytest.skip(str(err))
    cosines = (low * exact).sum(axis=1)
    assert cosines.min() > 0.99
    assert cosines.min() < 1 - 1e-6, "it computes what fp32 does"


def test_tensorrt_builds_it(quantized: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed: pip install tensorrt-rtx")
    build_plan(quantized, tmp_path / "m.plan", precision="int8", max_batch=4)
    assert (tmp_path / "m.plan").stat().st_size > 10_000


def node(kind: str, name: str, *inputs: str) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [f"{name}.out"], name=name)


def test_where_convolutions_outnumber_products_they_alone_are_quantized() -> None:
    convolutions = [node("Conv", f"conv{i}", f"x{i}", "w") for i in range(3)]
    products = [node("MatMul", f"product{i}", f"y{i}", "w") for i in range(2)]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    graph = helper.make_graph([*convolutions, *products], "g", [], [], [weight])
    assert quantized_nodes(graph) == ["conv1", "conv2"]
    graph = helper.make_graph([*convolutions[:2], *products, node("MatMul", "both", "a", "b")], "g", [], [], [weight])
    assert quantized_nodes(graph) == ["conv1", "product0"]
