"""The lines at the end of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from coder_export.generate.config import TextsConfig
from coder_export.generate.summary import missing, replaced, summary
from coder_export.textset import TextSet

TEXTSET = TextSet(
    name="animals",
    labels=("cat", "elk", "owl"),
    texts=({"attribute": ("whiskers", "a tail"), "synonym": ("tom",)}, {"attribute": ("antlers",)}, {}),
    pairs={(0, 1): ("its size", "its claws"), (1, 0): ("its antlers",), (1, 2): ("its hooves",)},
)


def test_counts_and_the_next_command() -> None:
    config = TextsConfig(labels=Path("labels.txt"), out=Path("my/animals"), model="none")
    assert summary(TEXTSET, config) == [
        "wrote my/animals: 3 classes, 3 attribute, 0 analogous, 1 synonym, 4 texts of 2 pairs",
        "next: coder-export --model ViT-B/16 --labels my/animals/labels.txt --texts my/animals",
    ]


def test_the_next_command_has_the_same_clip_and_can_be_pasted() -> None:
    config = TextsConfig(labels=Path("a"), out=Path("my animals"), model="ViT-L/14", checkpoint=Path("vit.pt"))
    wanted = "--model ViT-L/14 --checkpoint vit.pt --labels 'my animals/labels.txt' --texts 'my animals'"
    assert summary(TEXTSET, config)[1] == f"next: coder-export {wanted}"


def test_texts_that_are_gone_are_counted() -> None:
    own = ({"attribute": ("a tail", "a long tail"), "synonym": ("tom",)}, {}, {"attribute": ("antlers",)})
    new = replace(TEXTSET, texts=own, pairs={(0, 1): ("its claws",), (1, 0): ("its size",), (1, 2): ("its hooves",)})
    assert replaced(TEXTSET, new) == [
        "replaces 3 attribute texts by 3: 2 are gone",
        "replaces 4 pair texts by 3: 2 are gone",
    ]
    assert replaced(TEXTSET, replace(new, texts=TEXTSET.texts, pairs={**TEXTSET.pairs, (1, 2): ()})) == [
        "replaces 4 pair texts by 3: 1 is gone"
    ]


def test_more_texts_replace_none() -> None:
    nothing = replace(TEXTSET, texts=({}, {}, {}), pairs={})
    assert replaced(nothing, TEXTSET) == replaced(TEXTSET, TEXTSET) == []


def test_what_is_missing() -> None:
    assert missing(["cat: nothing"], Path("animals")) == ["missing in animals:", "  cat: nothing"]


def test_long_lists_are_cut_and_say_so() -> None:
    lines = missing([f"class {i}" for i in range(1021)], Path("animals"))
    assert lines[1:21] == [f"  class {i}" for i in range(20)]
    assert lines[21:] == ["  ... and 1,001 more; coder-texts check animals --json counts by class"]
    assert len(missing(["x"] * 20, Path("a"))) == 21


def test_long_lines_are_cut() -> None:
    line = missing(["pair texts of cat against elk: " + "a text is empty; " * 40], Path("a"))[1]
    assert len(line) == 242
    assert line.endswith(" ...")
