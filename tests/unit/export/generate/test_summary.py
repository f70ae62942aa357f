"""The lines at the end of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from coder_export.generate.summary import missing, replaced, summary
from coder_export.textset import TextSet

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


def test_texts_that_are_gone_are_counted() -> None:
    own = ({"attribute": ("a tail", "a long tail"), "synonym": ("tom",)}, {}, {"attribute": ("antlers",)})
    new = replace(TEXTSET, texts=own, pairs={(0, 1): ("its claws",), (1, 0): ("its size",), (1, 2): ("its hooves",)})
    assert replaced(TEXTSET, new) == [
        "replaces 3 attribute texts by 3: 2 are gone",
        "replaces 4 pair texts by 3: 2 are gone",
    ]


def test_more_texts_replace_none() -> None:
    nothing = replace(TEXTSET, texts=({}, {}, {}), pairs={})
    assert replaced(nothing, TEXTSET) == replaced(TEXTSET, TEXTSET) == []


def test_what_is_missing() -> None:
    assert missing(["cat: nothing"], Path("animals")) == ["missing in animals:", "  cat: nothing"]


def test_long_lists_are_cut_and_say_so() -> None:
    lines = missing([f"class {i}" for i in range(1021)], Path("animals"))
    assert lines[1:21] == [f"  class {i}" for i in range(20)]
    assert lines[21:] == ["  ... and 1,001 more; coder-texts check animals --json lists every hole"]
    assert len(missing(["x"] * 20, Path("a"))) == 21
