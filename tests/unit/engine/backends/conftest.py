"""CUDA on host memory, of tests/helpers_gpu.py; imported late, as it skips where onnx is lacking."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from coder_engine.backends import cuda_memory

if TYPE_CHECKING:
    from helpers_gpu import FakeCuda


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, driver: Callable[..., None]) -> FakeCuda:
    """CUDA on host memory, and no CUDA head."""
    from helpers_gpu import FakeCuda

    driver()
    fake = FakeCuda()
    monkeypatch.setattr(cuda_memory, "import_runtime", lambda *_: fake)
    monkeypatch.setitem(sys.modules, "coder_engine._cuda", None)
    return fake
