"""What tests of coder-texts share: CLIP's text space, loaded once, and a small invented WordNet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers_wordnet import write_wordnet

if TYPE_CHECKING:
    from coder_export.generate.similarity import TextSpace
    from coder_export.report import Report


@pytest.fixture(scope="session")
def space() -> TextSpace:
    """The text space of coder-tiny."""
    pytest.importorskip("open_clip", reason="the build side is not installed: pip install '.[texts,cpu]'")
    from coder_export.generate.similarity import TextSpace
    from coder_export.model import open_model

    return TextSpace(open_model("coder-tiny"))


@pytest.fixture
def report() -> Report:
    from coder_export.report import Report

    return Report(quiet=True)


@pytest.fixture
def wordnet_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The WordNet of tests/helpers_wordnet.py, as this process finds it."""
    folder = write_wordnet(tmp_path / "wordnet")
    monkeypatch.setenv("CODER_WORDNET", str(folder))
    return folder
