"""The tower in ONNX Runtime's own operators: torch's numbers by the CPU's kernels for them, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the build side is not installed: pip install '.[export,cpu]'")
onnx = pytest.importorskip("onnx")
pytest.importorskip("open_clip")

from torch import nn  # noqa: E402

from coder_engine import EngineError, ModelError  # noqa: E402
from coder_engine.backends import open_backend  # noqa: E402
from coder_engine.backends.base import is_fused, stored_precision  # noqa: E402
from coder_engine.backends.onnxruntime import open_session  # noqa: E402
from coder_export.engine_graph import EngineGraph  # noqa: E402
from coder_export.fused import DOMAIN  # noqa: E402
from coder_export.model import ClipModel, open_model  # noqa: E402
from coder_export.onnx_model import export_onnx, save_graph  # noqa: E402
from coder_export.precision import typed_copy  # noqa: E402


@pytest.fixture(scope="module", params=["GELU", "QuickGELU", "tanh"])
def clip(request: pytest.FixtureRequest, small_vit: Path) -> ClipModel:
    """A small ViT, its biases random, too."""
    from open_clip.transformer import QuickGELU

    found = open_model("small-vit", "random")
    kinds = {"GELU": nn.GELU, "QuickGELU": QuickGELU, "tanh": lambda: nn.GELU(approximate="tanh")}
    torch.manual_seed(0)
    for block in found.model.visual.transformer.resblocks:
        block.mlp.gelu = kinds[request.param]()
        for name, parameter in block.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter)
    return found


@pytest.fixture(scope="module")
def fused(clip: ClipModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fused") / "fused.onnx"
    export_onnx(EngineGraph(clip).eval(), path, width=32, tower="t", cuda=True)
    return path


@pytest.mark.parametrize("count", [1, 3])
def test_features_are_torchs(clip: ClipModel, fused: Path, count: int) -> None:
    graph = EngineGraph(clip).eval()
    pixels = np.random.default_rng(count).integers(0, 256, (count, *graph.size, 3), np.uint8)
    bank = np.eye(32, dtype=np.float32)[:5]
    with torch.inference_mode():
        wanted = graph(torch.from_numpy(pixels), torch.from_numpy(bank))
    got = open_session(fused, threads=1).run(["features", "coder"], {"pixels": pixels, "bank": bank})
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=2e-6)


def test_operators_a_layer(fused: Path) -> None:
    model = onnx.load(fused)
    seen = Counter(node.op_type for node in model.graph.node)
    assert seen["MultiHeadAttention"] == 2
    assert seen["SkipLayerNormalization"] == 3  # two a block, but for the one after the last
    assert seen["MatMul"] == 2 * 6 + 3  # q, k, v, out and the MLP's two; then the patches, the projection, the bank
    assert seen["Softmax"] == 0
    for node in model.graph.node:
        if node.op_type == "SkipLayerNormalization":
            assert [bool(name) for name in node.output] == [True, False, False, True]


def test_its_operators_are_in_fp16(fused: Path) -> None:
    low = typed_copy(onnx.load(fused), "fp16")
    weights = {item.name: item.data_type for item in low.graph.initializer}
    for node in low.graph.node:
        if node.domain == DOMAIN:
            assert {weights[name] for name in node.input if name in weights} <= {onnx.TensorProto.FLOAT16}


def test_rounding_to_fp16_keeps_the_direction(clip: ClipModel, fused: Path, tmp_path: Path) -> None:
    (rounded,) = save_graph(typed_copy(onnx.load(fused), "fp16", emulate=True), tmp_path / "rounded.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (4, *clip.preprocess.size, 3), np.uint8)
    feeds = {"pixels": pixels, "bank": np.zeros((1, 32), np.float32)}
    wanted, got = (open_session(path, threads=1).run(["features"], feeds)[0] for path in (fused, rounded))
    assert not np.array_equal(wanted, got)
    assert (wanted * got).sum(axis=1).min() > 0.9999


def test_it_is_known_by_its_file(fused: Path, small_vit: Path, tmp_path: Path) -> None:
    assert is_fused(fused)
    assert not is_fused(small_vit)
    (low,) = save_graph(typed_copy(onnx.load(fused), "fp16"), tmp_path / "low.onnx")
    assert is_fused(low)
    assert stored_precision(low) == "fp16"
    wanted = r"made for ONNX Runtime on NVIDIA GPUs \(coder-export --format cuda\); leave --backend, --device and"
    for backend, device in (("auto", "cpu"), ("openvino", "auto")):
        with pytest.raises(EngineError, match=wanted):
            open_backend(low, threads=1, backend=backend, device=device)


def test_towers_of_another_kind_are_refused(tmp_path: Path) -> None:
    clip = open_model("coder-tiny")
    with pytest.raises(ModelError, match=r"^coder-tiny: --format cuda is for ViTs .* leave it out$"):
        export_onnx(EngineGraph(clip).eval(), tmp_path / "no.onnx", width=128, tower="t", cuda=True)
