"""One class as the text tower reads it, for people and machines."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.check.show import class_json, show_class
from coder_export.templates import Templates
from coder_export.textset import TextSet, names_only

ANIMALS = TextSet(
    name="animals",
    labels=("cat", "elk", "sea lion", "owl"),
    texts=({"attribute": ("whiskers", "claws"), "synonym": ("house cat",)}, {}, {}, {}),
    pairs={
        (0, 3): ("its whiskers",),
        (0, 1): ("its size", "its claws"),
        (1, 0): ("its antlers",),
        (2, 1): ("its fins",),
    },
    templates=Templates(name=("a photo of {a class}.", "one {class}")),
)


def test_a_class_for_people() -> None:
    assert show_class(ANIMALS, "cat").splitlines() == [
        "cat (class 0 of 4, counted from 0)",
        "",
        "name: 2",
        "  a photo of a cat.",
        "  one cat",
        "",
        "attribute: 2",
        "  a photo of a cat, which has whiskers.",
        "  a photo of a cat, which has claws.",
        "",
        "analogous: none",
        "",
        "synonym: 1",
        "  a photo of a house cat.",
        "",
        "against elk: 2",
        "  Because of its size, a cat is different from an elk.",
        "  Because of its claws, a cat is different from an elk.",
        "",
        "elk against it: 1",
        "  Because of its antlers, an elk is different from a cat.",
        "",
        "against owl: 1",
        "  Because of its whiskers, a cat is different from an owl.",
        "",
        "owl against it: none",
    ]


def test_a_class_for_machines() -> None:
    found = class_json(ANIMALS, "elk")
    assert found == json.loads(json.dumps(found))
    assert found == {
        "class": "elk",
        "id": 1,
        "sentences": {"name": ["a photo of an elk.", "one elk"], "attribute": [], "analogous": [], "synonym": []},
        "pairs": [
            {
                "other": "cat",
                "class_has": ["Because of its antlers, an elk is different from a cat."],
                "other_has": [
                    "Because of its size, a cat is different from an elk.",
                    "Because of its claws, a cat is different from an elk.",
                ],
            },
            {
                "other": "sea lion",
                "class_has": [],
                "other_has": ["Because of its fins, a sea lion is different from an elk."],
            },
        ],
    }


def test_pairs_come_in_label_order() -> None:
    labels = tuple("abcdefghij")
    textset = TextSet(name="t", labels=labels, texts=({},) * 10, pairs={(0, 9): ("x",), (8, 0): ("y",), (0, 1): ("z",)})
    assert [pair["other"] for pair in class_json(textset, "a")["pairs"]] == ["b", "i", "j"]


@pytest.mark.parametrize(
    ("asked", "near"),
    [("Cat", "'cat'"), ("cats", "'cat'"), ("Sea_Lions", "'sea lion'"), ("elc", "'elk'")],
)
@pytest.mark.parametrize("function", [show_class, class_json])
def test_an_unknown_class_gets_near_ones(function: Callable[[TextSet, str], object], asked: str, near: str) -> None:
    with pytest.raises(TextsError, match=f"^text set 'animals' has no class '{asked}'; did you mean {near}\\?$"):
        function(ANIMALS, asked)


def test_several_near_ones() -> None:
    with pytest.raises(TextsError, match=r"did you mean 'tabby cat' or 'tabby-cat'\?$"):
        class_json(names_only(("tabby cat", "tabby-cat", "owl")), "tabbycat")


def test_an_unknown_class_like_none() -> None:
    with pytest.raises(TextsError, match=r"no class 'xyz'; give one of its labels: cat, elk, sea lion, owl$"):
        class_json(ANIMALS, "xyz")
    with pytest.raises(TextsError, match=r"no class 'xyz'; give one of its labels: 0, 1, 2, 3, 4, \.\.\.$"):
        class_json(names_only(tuple("0123456")), "xyz")
