"""A plan, and the stand-in of tests/helpers_trt.py that runs it; imported late, as it skips where onnx is lacking."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coder_engine.weights import update_weights

if TYPE_CHECKING:
    from helpers_gpu import FakeCuda
    from helpers_trt import FakeEngine

RECORD = {
    "library": "tensorrt",
    "version": "11.0.0.1",
    "gpu": "NVIDIA L4",
    "compute_capability": "8.9",
    "max_batch": 8,
    "precision": "fp16",
    "onnx_sha256": "ab" * 32,
}


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan that nobody can load, of which the weight file says what ``RECORD`` does."""
    from helpers_plans import write_weights

    path = tmp_path / "m.plan"
    path.write_bytes(b"plan")
    write_weights(tmp_path / "m.safetensors", path)
    record(path)
    return path


def record(path: Path, **changes: Any) -> None:
    update_weights(path.with_suffix(".safetensors"), plans={path.name: {**RECORD, **changes}})


@pytest.fixture
def engine(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """What TensorRT makes of every plan."""
    from helpers_trt import FakeEngine, put_library

    fake = FakeEngine(cuda, max_batch=8)
    put_library(monkeypatch, fake)
    return fake


@pytest.fixture
def head(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The CUDA head, on ``cuda``."""
    from helpers_gpu_runs import fake_cuda_head

    fake = fake_cuda_head(engine.cuda)
    monkeypatch.setitem(sys.modules, "coder_engine._cuda", fake)
    return fake
