"""The lines at the end of a run, and the check of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.summary import check_file, missing, summary
from coder_export.textset import TextSet
from coder_export.textset_file import save_textset

TEXTSET = TextSet(
    name="animals",
    labels=("cat", "elk", "owl"),
    texts=({"attribute": ("whiskers", "a tail"), "synonym": ("tom",)}, {"attribute": ("antlers",)}, {}),
    pairs={(0, 1): ("its size", "its claws"), (1, 0): ("its antlers",), (1, 2): ("its hooves",)},
)


def test_counts_and_the_next_command() -> None:
    assert summary(TEXTSET, Path("my/animals")) == [
        "wrote my/animals: 3 classes, 3 attribute, 0 analogous, 1 synonym, 4 texts of 2 pairs",
        "next: coder-export --model ViT-B/16 --labels my/animals/labels.txt --texts my/animals",
    ]


def test_what_is_missing() -> None:
    assert missing(["cat: nothing"], Path("animals")) == ["missing in animals:", "  cat: nothing"]


def test_long_lists_are_cut_and_say_so() -> None:
    lines = missing([f"class {i}" for i in range(1021)], Path("animals"))
    assert lines[1:21] == [f"  class {i}" for i in range(20)]
    assert lines[21:] == ["  ... and 1,001 more; coder-texts check animals --json lists every hole"]
    assert len(missing(["x"] * 20, Path("a"))) == 21


def test_a_folder_is_checked_with_the_lengths_of_its_sentences(tmp_path: Path) -> None:
    long = " ".join(["cat"] * 200)
    save_textset(TEXTSET, tmp_path)
    assert check_file(str(tmp_path)).longest == 16  # "Because of its antlers, an elk is different from a cat."
    with (tmp_path / "texts.jsonl").open("a") as file:
        file.write(f'{{"class": "owl", "kind": "attribute", "text": "{long}"}}\n')
    found = check_file(str(tmp_path))
    assert found.longest == 211
    assert [finding.label for finding in found.findings if finding.kind == "long"] == ["owl"]


def test_a_shipped_set_by_name() -> None:
    assert check_file("cifar10").counts.keys() >= {"airplane", "cat"}


def test_no_such_text_set() -> None:
    with pytest.raises(TextsError, match="neither a folder nor a shipped text set"):
        check_file("no/such/set")
