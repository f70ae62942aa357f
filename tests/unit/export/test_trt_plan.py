"""Plans, built for real by TensorRT-RTX, which needs no GPU for that."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from coder_engine.errors import BackendError, EngineError
from coder_export import trt_plan
from coder_export.precision import typed_copy
from coder_export.trt_plan import build_plan, open_library

needs_trt = pytest.mark.skipif(
    not any(__import__("importlib.util").util.find_spec(name) for name in trt_plan.LIBRARIES),
    reason="neither tensorrt nor tensorrt_rtx is installed: pip install tensorrt-rtx",
)


@needs_trt
@pytest.mark.parametrize("precision", [None, "fp16", "bf16"])
def test_a_plan_of_each_precision(precision: str | None, small_vit: Path, tmp_path: Path) -> None:
    graph = small_vit
    if precision:
        graph = tmp_path / "low.onnx"
        onnx.save(typed_copy(onnx.load(small_vit), precision), graph)
    seen: list[tuple[str, int, int]] = []
    facts = build_plan(graph, tmp_path / "m.plan", width=32, max_batch=4, progress=lambda *step: seen.append(step))
    assert (tmp_path / "m.plan").stat().st_size > 10_000
    assert facts.max_batch == 4
    assert facts.version.split(".")[0].isdecimal()
    assert seen, "the builder told nothing of its progress"


@needs_trt
def test_a_graph_it_cannot_parse(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"m\.onnx: tensorrt.* does not parse it"):
        build_plan(tmp_path / "m.onnx", tmp_path / "m.plan", width=32)
    assert not (tmp_path / "m.plan").exists()


@needs_trt
def test_a_graph_of_another_interface(small_vit: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not build it"):
        build_plan(small_vit, tmp_path / "m.plan", width=33)
    assert not (tmp_path / "m.plan").exists()


def test_no_library() -> None:
    with pytest.raises(BackendError, match="no_such_trt is not installed; on a machine with an RTX GPU"):
        open_library("no_such_trt")


def test_an_empty_batch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_batch must be at least 1, got 0"):
        build_plan(tmp_path / "m.onnx", tmp_path / "m.plan", width=32, max_batch=0)
