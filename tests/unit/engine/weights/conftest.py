"""Where the tests of the weight file keep theirs, and one that is saved there."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_engine.weights import save_weights
from helpers_weights import PLAIN, make_tensors


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "animals.safetensors"


@pytest.fixture
def saved(path: Path) -> Path:
    save_weights(path, PLAIN, make_tensors("sparse"))
    return path
