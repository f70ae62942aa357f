"""What tests of the LLM share: calls that wait hardly, and a place for replies."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly any wait before a call is made again."""
    monkeypatch.setattr("coder_export.generate.llm.waits.FIRST_WAIT", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where replies are stored."""
    return tmp_path / "replies.jsonl"
