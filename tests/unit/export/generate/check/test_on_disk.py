"""The check of a folder, measured by the tower of a model."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest

from coder_engine.errors import ModelError, TextsError
from coder_export.generate.check.on_disk import check_file
from coder_export.textset import TextSet
from coder_export.textset_file import save_textset

TEXTSET = TextSet(
    name="animals",
    labels=("cat", "elk", "owl"),
    texts=({"attribute": ("whiskers", "a tail"), "synonym": ("tom",)}, {"attribute": ("antlers",)}, {}),
    pairs={(0, 1): ("its size", "its claws"), (1, 0): ("its antlers",), (1, 2): ("its hooves",)},
)


def test_a_folder_is_checked_with_the_lengths_of_its_sentences(tmp_path: Path) -> None:
    long = " ".join(["cat"] * 200)
    save_textset(TEXTSET, tmp_path)
    assert (
        check_file(str(tmp_path), "ViT-B/16").longest == 16
    )  # "Because of its antlers, an elk is different from a cat."
    with (tmp_path / "texts.jsonl").open("a") as file:
        file.write(f'{{"class": "owl", "kind": "attribute", "text": "{long}"}}\n')
    found = check_file(str(tmp_path), "ViT-B/16")
    assert found.longest == 211
    assert [finding.label for finding in found.findings if finding.kind == "long"] == ["owl"]


def test_a_shipped_set_by_name() -> None:
    assert check_file("cifar10", "coder-tiny").counts.keys() >= {"airplane", "cat"}


def test_no_such_text_set() -> None:
    with pytest.raises(TextsError, match="neither a folder nor a shipped text set"):
        check_file("no/such/set", "ViT-B/16")


def test_the_context_is_the_models(tmp_path: Path) -> None:
    save_textset(TEXTSET, tmp_path)
    with (tmp_path / "texts.jsonl").open("a") as file:
        file.write(f'{{"class": "owl", "kind": "attribute", "text": "{" ".join(["cat"] * 40)}"}}\n')
    assert check_file(str(tmp_path), "ViT-B/16").context_length == 77
    found = check_file(str(tmp_path), "PE-Core-T-16-384")
    assert found.context_length == 32
    assert [finding.label for finding in found.findings if finding.kind == "long"] == ["owl"]


def test_without_a_model_lengths_are_not_checked(tmp_path: Path) -> None:
    save_textset(TEXTSET, tmp_path)
    found = check_file(str(tmp_path), "none")
    assert found.longest is None
    assert {finding.kind for finding in found.findings} == {"hole", "one-sided"}
    assert "The length of the sentences was not checked" in found.table()


def test_no_such_model(tmp_path: Path) -> None:
    save_textset(TEXTSET, tmp_path)
    with pytest.raises(ModelError, match="no model is called 'ViT-B/61'"):
        check_file(str(tmp_path), "ViT-B/61")


def test_a_tokenizer_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> None:
        raise OSError("the hub is out of reach")

    save_textset(TEXTSET, tmp_path)
    monkeypatch.setattr(open_clip, "get_tokenizer", offline)
    with pytest.raises(ModelError, match=r"the tokenizer of ViT-B-16 cannot be had \(the hub is out of reach\)"):
        check_file(str(tmp_path), "ViT-B/16")
