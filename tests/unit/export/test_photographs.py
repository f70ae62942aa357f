"""Which photographs judge an export."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_engine.errors import ModelError
from coder_export.photographs import image_files


def test_images_anywhere_below_but_hidden_ones_in_an_order_that_mixes(tmp_path: Path) -> None:
    names = [f"{folder}/{n}.jpg" for folder in ("a", "b/c") for n in range(6)]
    for name in (*names, "a/.hidden.jpg", ".thumbnails/0.jpg", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in image_files(tmp_path)]
    assert sorted(found) == names
    assert found != names
    assert [str(path.relative_to(tmp_path)) for path in image_files(tmp_path)] == found


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder; give one with images in it"):
        image_files(tmp_path / "gone")
