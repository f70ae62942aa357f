"""What tests of the LLM's side share."""

from __future__ import annotations

import pytest


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly any wait before a call is made again."""
    monkeypatch.setattr("coder_export.generate.llm.client.FIRST_WAIT", 0.01)
