"""The bank of texts of no class: what ships, and what a user's own file must be."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("open_clip", reason="the build side is not installed")

from coder_engine.errors import TextsError
from coder_export.config import ExportConfig
from coder_export.generic import open_generic
from coder_export.shipped import shipped, shipped_generic


def test_the_shipped_bank() -> None:
    bank = open_generic("generic")
    assert 500 <= len(bank.sentences) == len(set(bank.sentences))
    assert "a photo of a dog." in bank.sentences
    assert all(text.startswith("a photo of ") and text.endswith(".") and "{" not in text for text in bank.sentences)
    assert bank.source["licence"] == "Apache-2.0"
    assert bank.to_json() == {"name": "generic", "count": len(bank.sentences), "source": dict(bank.source)}


def test_it_is_no_text_set_of_classes() -> None:
    assert "generic" in shipped_generic()
    assert "generic" not in shipped()


def test_a_file_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("a widget\nrust\n", encoding="utf-8")
    bank = open_generic(str(tmp_path / "mine.txt"))
    assert bank.sentences == ("a photo of a widget.", "a photo of rust.")
    assert (bank.name, bank.to_json()["count"]) == ("mine.txt", 2)


def test_a_file_of_one_s_own_comes_before_a_shipped_bank_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generic").mkdir()
    assert len(open_generic("generic").sentences) >= 500
    (tmp_path / "generic").rmdir()
    (tmp_path / "generic").write_text("a widget\n", encoding="utf-8")
    assert open_generic("generic").sentences == ("a photo of a widget.",)


def test_its_faults_are_told_in_its_own_words(tmp_path: Path) -> None:
    for content, said in (("a\n\nb\n", "blank line; remove it"), ("a\nA\n", "text 'A' stands on line 1 already")):
        (tmp_path / "mine.txt").write_text(content, encoding="utf-8")
        with pytest.raises(TextsError, match=said) as caught:
            open_generic(str(tmp_path / "mine.txt"))
        assert "class" not in str(caught.value).replace("classes", "")
    (tmp_path / "mine.txt").write_bytes(b"")
    with pytest.raises(TextsError, match=r"mine\.txt: no texts in it; write one text a line"):
        open_generic(str(tmp_path / "mine.txt"))


def test_neither_a_bank_nor_a_file() -> None:
    with pytest.raises(TextsError, match="none: neither a file with one text a line nor a shipped bank; shipped are g"):
        open_generic("none")


@pytest.mark.parametrize("options", [{"shots": 4}, {"support": Path("s"), "shots": 0}])
def test_shots_go_with_support(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^--shots must be at least 1, and goes with --support DIR, got"):
        ExportConfig(model="coder-tiny", labels=Path("labels.txt"), **options)  # type: ignore[arg-type]
