"""What tests of text sets share: a folder written anew with any file changed, and one that is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_export.textset import TextSet
from coder_export.textset_file import load_textset
from helpers_textset import LABELS, PAIRS, TEXTS, Write, lines


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a text set with some files replaced (str), or left out (None)."""

    def write(**files: str | None) -> Path:
        folder = tmp_path / "animals"
        folder.mkdir()
        content = {
            "labels_txt": "\n".join(LABELS) + "\n",
            "texts_jsonl": lines(TEXTS),
            "pairs_jsonl": lines(PAIRS),
        }
        for name, text in {**content, **files}.items():
            if text is not None:
                (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def animals(write: Write) -> TextSet:
    return load_textset(write(source_json='{"writer": "us"}', templates_json='{"name": ["{class}"]}'))
