"""The words before a descriptor, by the way it begins."""

from __future__ import annotations

import pytest

from coder_export.generate.imports.phrase import TEMPLATES, phrase

PHRASES = """
which has: red spots | webbed feet | a long tail | an eye on each side | one horn | a variety of shades | \
the smell of hay | with-it looks | made-up eyes | supports at both ends | covers on each seat | hassocks at the sides
which: has a red beak | have two horns | can swim under ice | may bite | often has a crest | usually, has a crest | \
lives in burrows | is as tall as a man | typically can be folded | consists of two bowls | covers the whole floor
which is: used to cut paper | made of clay | often made of clay | usually green | found under stones | \
typically a hollow tube | used primarily for rowing | decorated with shells | available in many sizes | \
a kind of lizard | a small type of boat | attached to a wall
"""
CASES = [
    (lead, text.strip())
    for line in PHRASES.replace("\\\n", "").strip().splitlines()
    for lead, _, texts in [line.partition(": ")]
    for text in texts.split(" | ")
]


@pytest.mark.parametrize(("lead", "text"), CASES)
def test_the_words_before_it(lead: str, text: str) -> None:
    assert phrase(text) == f"{lead} {text}"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("which turns its head", "which turns its head"),
        ("it has a hump", "which has a hump"),
        ("It is kept in stables", "which is kept in stables"),
        ("that can fly", "which can fly"),
        ("there is often a hatch on top", "which has a hatch on top"),
        ("with a ring of petals", "with a ring of petals"),
        ("often with a ring of petals", "often with a ring of petals"),
        ("the rim is bent outwards", "whose rim is bent outwards"),
        ("The two wheels may be spoked", "whose two wheels may be spoked"),
    ],
)
def test_what_needs_other_words(text: str, whole: str) -> None:
    assert phrase(text) == whole


def test_the_first_of_a_class_says_what_the_thing_is() -> None:
    assert phrase("a flat boat", first=True) == "which is a flat boat"
    assert phrase("an insect", first=True) == "which is an insect"
    assert phrase("flat sides", first=True) == "which has flat sides"


def test_the_sentence() -> None:
    words = {"class": "owl", "text": phrase("can turn its head")}
    assert TEMPLATES.render("attribute", words) == ["a photo of an owl, which can turn its head."]
