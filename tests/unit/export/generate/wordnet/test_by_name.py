"""Senses by names alone: as the other classes of the set are, else what can be seen, else the most frequent."""

from __future__ import annotations

import pytest

from coder_export.generate.wordnet.by_name import senses_by_name
from coder_export.generate.wordnet.senses import Sense


def senses(*kinds: str) -> list[Sense]:
    """Senses of one word of these kinds, the most frequent first."""
    return [
        Sense(name=f"x.n.{n:02}", kind=f"noun.{kind}", gloss="", lemmas=("x",), hypernyms=(), sisters=())
        for n, kind in enumerate(kinds, start=1)
    ]


def kinds(*known: list[Sense]) -> list[str | None]:
    return [sense and sense.kind.removeprefix("noun.") for sense in senses_by_name(["x"] * len(known), known)[0]]


ANIMAL, TOOL = senses("animal"), senses("artifact")


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ([senses("person", "animal"), ANIMAL, ANIMAL], "animal"),  # a boxer among dogs
        ([senses("animal", "artifact"), *[ANIMAL] * 5, *[TOOL] * 4], "animal"),  # a cat among animals and ships
        ([senses("animal", "artifact"), *[ANIMAL], *[TOOL] * 9], "artifact"),
        ([senses("act", "artifact"), senses("act"), senses("act")], "act"),  # cricket among sports
        ([senses("group", "artifact"), TOOL, senses("location"), []], "group"),  # one is no company
        ([senses("state", "act", "food")], "food"),
        ([senses("state", "act")], "state"),
    ],
)
def test_the_first_sense_of_a_kind_that_the_set_is_of(known: list[list[Sense]], wanted: str) -> None:
    assert kinds(*known)[0] == wanted


def test_what_has_no_sense() -> None:
    assert kinds([], ANIMAL) == [None, "animal"]
    assert senses_by_name([], []) == ([], [])


def test_what_is_doubtful() -> None:
    known = [senses("animal", "animal"), senses("person", "animal"), ANIMAL, []]
    assert senses_by_name(("cat", "boxer", "elk", "x"), known)[1] == ["cat"]
