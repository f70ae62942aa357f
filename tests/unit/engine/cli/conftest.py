"""What tests of coder-infer share: an engine that says colours, and three images; of coder-eval: feature files."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from coder_engine.cli import infer_run
from helpers_evaluate import feature_files
from unit.engine.cli.fake_engine import FakeEngine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """What coder-infer opens in place of an engine file."""
    fake = FakeEngine()
    monkeypatch.setattr(infer_run, "open_engine", lambda args, **options: fake)
    return fake


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three images, ``photos/a.png`` to ``c.png``, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in {"a": (200, 30, 20), "b": (20, 220, 10), "c": (90, 80, 100)}.items():
        Image.new("RGB", (4, 4), colour).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A features file and a texts file, see ``feature_files``."""
    return feature_files(tmp_path)
