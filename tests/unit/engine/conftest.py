"""What tests of several modules share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coder_engine import Engine
from coder_engine.machine import cuda_driver
from helpers_driver import Driver


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Engine:
    """coder-tiny, opened."""
    return Engine(tiny)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an engine file may be written."""
    return tmp_path / "engine.onnx"


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the driver this machine seems to have."""
    return lambda **facts: monkeypatch.setattr(cuda_driver.ctypes, "CDLL", lambda name: Driver(**facts))
