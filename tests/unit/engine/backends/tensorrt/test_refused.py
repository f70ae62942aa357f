"""Plans that are refused before TensorRT sees them, for real: built elsewhere, another file, no GPU, no weight file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from coder_engine import Engine
from coder_engine.backends import open_backend
from coder_engine.backends.tensorrt import TensorRt
from coder_engine.errors import BackendError, EngineError
from coder_engine.machine import cuda_driver
from coder_engine.plans.rebuild import rebuild_plan
from coder_engine.weights import update_weights
from helpers_engine import write
from helpers_plans import write_weights


@pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt_rtx is not installed: pip install tensorrt-rtx")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "1.0.0.0"}, r"built by TensorRT-RTX 1\.0\.0\.0, this machine has TensorRT-RTX \d"),
        ({"library": "tensorrt"}, r"built by TensorRT [\d.]+, this machine has TensorRT-RTX \d"),
        (
            {"gpu": "Orin", "compute_capability": "8.9"},
            r"built for Orin \(.*8\.9\), this machine has NVIDIA L4 \(.*8\.9",
        ),
        ({"compute_capability": "8.7"}, r"built for NVIDIA L4 \(.*8\.7\), this machine has NVIDIA L4 \(.*8\.9\)"),
        ({"max_batch": 0}, "what its weight file says of it cannot be read"),
        (None, "its weight file does not say what it was built by and for"),
    ],
)
def test_a_real_plan_of_elsewhere(
    tmp_path: Path, driver: Callable[..., None], monkeypatch: Any, changes: dict[str, Any] | None, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(TensorRt, "_deserialized", lambda *_: pytest.fail("TensorRT was given the plan"))
    write_weights(tmp_path / "m.safetensors", write(tmp_path / "m.onnx"))
    path = tmp_path / "m.plan"
    built = rebuild_plan(path).to_json()
    driver()
    update_weights(path.with_suffix(".safetensors"), plans={} if changes is None else {"m.plan": {**built, **changes}})
    with pytest.raises(
        EngineError, match=said + r".*rebuild it from m\.onnx: coder-infer IMAGES --engine .* --rebuild$"
    ):
        Engine(path)


@pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt_rtx is not installed: pip install tensorrt-rtx")
def test_a_real_plan_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "_LIBRARY", "libnone.so.0")
    write_weights(tmp_path / "m.safetensors", write(tmp_path / "m.onnx"))
    rebuild_plan(tmp_path / "m.plan")
    with pytest.raises(BackendError, match=r"^no NVIDIA driver on this machine .*, or use --device cpu with m\.onnx$"):
        Engine(tmp_path / "m.plan")


def test_a_plan_that_is_not_the_one_recorded(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan.write_bytes(b"something else")
    opened: list[object] = []
    monkeypatch.setattr(TensorRt, "_open", lambda *args: opened.append(args))
    with pytest.raises(EngineError, match=r"m\.plan \(sha256 .*m\.safetensors .*do not belong together"):
        Engine(plan)
    assert not opened


def test_a_plan_alone(plan: Path) -> None:
    with pytest.raises(EngineError, match="a plan is opened with its weight file"):
        open_backend(plan, threads=1)


def test_another_backend_asked_for(plan: Path) -> None:
    with pytest.raises(EngineError, match=r"not a kind of engine file this can run \(\.onnx\)"):
        Engine(plan, backend="onnxruntime")


def test_a_graph_where_a_plan_is_wanted() -> None:
    with pytest.raises(EngineError, match=r"this can run \(\.plan\); coder-export --format plan makes one$"):
        open_backend(Path("engine.onnx"), threads=1, backend="tensorrt")
