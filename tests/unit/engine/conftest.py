"""What tests of several modules share."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_engine import Engine


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Engine:
    """coder-tiny, opened."""
    return Engine(tiny)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an engine file may be written."""
    return tmp_path / "engine.onnx"
