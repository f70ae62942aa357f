"""Single texts: repeats, near repeats against brute force, and class names where they should not be."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations

import pytest

from coder_export.generate.check.faults import Finding, Names, Text, all_texts, duplicates, naming, near_duplicates
from coder_export.textset import TextSet

LABELS = ("shark", "great white shark", "tiger", "sea_lion", "wolf", "Puppy", "knife", "C++", "glass", "glasses", "a")


def texts(raws: Sequence[str], kind: str = "attribute", label: str = "shark", other: str | None = None) -> list[Text]:
    """The raw texts as ``all_texts`` gives them."""
    if other is None:
        found = TextSet(name="t", labels=(label,), texts=({kind: tuple(raws)},), pairs={})
    else:
        found = TextSet(name="t", labels=(label, other), texts=({}, {}), pairs={(0, 1): tuple(raws)})
    return list(all_texts(found))


def fault(raw: str, kind: str = "attribute", label: str = "shark", other: str | None = None) -> list[tuple[str, str]]:
    """Kind of finding and the class named, for one text among LABELS."""
    [text] = texts([raw], kind, label, other)
    return [(finding.kind, finding.other or "") for finding in naming(text, Names(LABELS))]


# names


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ("a row of teeth", []),
        ("the stripes of a tiger", ["tiger"]),
        ("Tiger stripes, TIGER teeth", ["tiger"]),
        ("the tiger's stripes", ["tiger"]),
        ("tiger-like stripes", ["tiger"]),
        ("tigers, wolves, puppies and knives", ["tiger", "wolf", "Puppy", "knife"]),
        ("the head of sea lions", ["sea_lion"]),
        ("a sea-lion's head", ["sea_lion"]),
        ("a sea of lions", []),
        ("tigerish, untiger, tigerss", []),
        ("a c-shaped fin", ["C++"]),
        ("two glasses of glass", ["glasses", "glass"]),
    ],
)
def test_other_classes_in_an_attribute_text(raw: str, named: list[str]) -> None:
    assert fault(raw) == [("leak", label) for label in named]


def test_the_longest_name_counts_and_ones_own_is_no_leak() -> None:
    raw = "a great white shark with the fins of sharks"
    assert fault(raw, label="great white shark") == [("leak", "shark")]
    assert fault(raw, label="shark") == [("leak", "great white shark")]
    assert fault("the nose of a Great  White Shark", label="great white shark") == []
    assert [finding.other for finding in naming(texts(["a tiger shark"])[0], Names(("tiger", "tiger shark")))] == [
        "tiger shark"
    ]
    assert fault("a great white nose of great white sharks", label="tiger") == [("leak", "great white shark")]


def test_the_class_of_the_letter_a_is_not_an_article() -> None:
    assert fault("a row of teeth, a fin") == []
    assert fault("a", kind="synonym") == [("leak", "a")]


@pytest.mark.parametrize("kind", ["analogous", "synonym"])
@pytest.mark.parametrize("raw", ["tiger", "a tiger", "Tigers", "  TIGER. ", "the tiger"])
def test_an_analogue_or_synonym_that_is_another_class(kind: str, raw: str) -> None:
    assert fault(raw, kind) == [("leak", "tiger")]


@pytest.mark.parametrize("kind", ["analogous", "synonym"])
@pytest.mark.parametrize("raw", ["tiger cub", "sabre-toothed tiger"])
def test_an_analogue_or_synonym_may_have_a_class_name_within(kind: str, raw: str) -> None:
    assert fault(raw, kind) == []


@pytest.mark.parametrize("kind", ["attribute", "analogous", "synonym"])
@pytest.mark.parametrize("raw", ["shark", "Sharks", "a shark.", '"shark"'])
def test_nothing_but_its_own_name(kind: str, raw: str) -> None:
    assert fault(raw, kind) == [("name-only", "")]


def test_pair_texts_may_name_classes_but_not_be_one() -> None:
    assert fault("the stripes of a tiger, not of a wolf", other="tiger") == []
    assert fault("wolf", other="tiger") == []
    assert fault("a shark", other="tiger") == [("name-only", "tiger")]
    assert fault("Tigers", other="tiger") == [("name-only", "tiger")]


@pytest.mark.parametrize("raw", ["...", "!", "-", "__"])
def test_a_text_without_words(raw: str) -> None:
    [text] = texts([raw])
    [finding] = naming(text, Names((*LABELS, "+", "...")))
    assert (finding.kind, finding.message) == ("name-only", f"The attribute text of 'shark' has no words: {raw}")


def test_accents_of_either_form() -> None:
    [text] = texts(["a table of a cafe\u0301"])
    assert [finding.other for finding in naming(text, Names(("caf\u00e9", "shark")))] == ["caf\u00e9"]


def test_what_a_leak_says() -> None:
    [text] = texts(["the stripes of Tigers"])
    assert list(naming(text, Names(LABELS))) == [
        Finding(
            kind="leak",
            label="shark",
            other="tiger",
            text="the stripes of Tigers",
            message="The attribute text of 'shark' names the class 'tiger': the stripes of Tigers",
        )
    ]


# repeats


def test_case_spaces_and_the_last_punctuation_make_no_other_text() -> None:
    raws = ["Sharp teeth", "sharp  teeth.", " sharp teeth ;", "sharp, teeth", "teeth sharp", "grey skin"]
    [found] = duplicates(texts(raws))
    assert (found.kind, found.label, found.other, found.text) == ("duplicate", "shark", None, "Sharp teeth")
    assert found.message == "The attribute text of 'shark' is there 3 times: Sharp teeth"


def test_each_kind_may_say_the_same_but_that_is_a_near_duplicate() -> None:
    both = [*texts(["sea dog"], "analogous"), *texts(["Sea dog"], "synonym")]
    assert list(duplicates(both)) == []
    [found] = near_duplicates(both)
    assert found.message == "The synonym text of 'shark' nearly repeats the analogous text 'sea dog': Sea dog"


def test_a_direction_of_a_pair() -> None:
    [found] = duplicates(texts(["grey skin", "Grey skin!"], other="tiger"))
    assert (found.kind, found.other) == ("duplicate", "tiger")
    assert found.message == "The pair text of 'shark' against 'tiger' is there 2 times: grey skin"


@pytest.mark.parametrize(
    ("one", "two", "near"),
    [
        ("a b c d", "a b c d e", True),  # 4/5
        ("a b c d", "d c b a", True),
        ("a b c d x", "a b c d e", False),  # 4/6
        ("a b c", "a b c d", False),
        ("a b c d e f g h x", "a b c d e f g h i", True),  # 8/10
        ("a b c d e f g x", "a b c d e f g i", False),  # 7/9
        ("A, b; c d", "a b-c d!", True),
        ("a a a b c", "a b c", True),
        ("...", "!!!", False),
    ],
)
def test_near_is_from_four_fifths_of_the_words(one: str, two: str, near: bool) -> None:
    found = [finding.text for finding in near_duplicates(texts([one, two]))]
    assert found == ([two] if near else [])


def test_the_words_before_imported_descriptors_make_no_two_texts_alike() -> None:
    assert list(near_duplicates(texts(["which has a long tail", "which has a long thick tail"]))) == []
    assert fault("which is a shark") == [("name-only", "")]


def test_duplicates_are_not_near_duplicates_too() -> None:
    assert list(near_duplicates(texts(["sharp teeth", "Sharp teeth.", "sharp teeth"]))) == []


def test_synonyms_may_share_their_words() -> None:
    raws = ["soft coated wheaten terrier", "Irish soft coated wheaten terrier"]
    assert list(near_duplicates(texts(raws, "synonym"))) == []
    assert len(list(near_duplicates(texts(raws, "analogous")))) == 1


def test_near_duplicates_are_those_of_brute_force() -> None:
    rng = random.Random(3)
    vocabulary = [letter * rng.randint(1, 4) for letter in "abcdefghijkl"]
    raws = sorted({" ".join(sorted(rng.sample(vocabulary, rng.randint(1, 10)))) for _ in range(300)})
    rng.shuffle(raws)
    sets = {raw: set(raw.split()) for raw in raws}
    wanted = {b for a, b in combinations(raws, 2) if len(sets[a] & sets[b]) / len(sets[a] | sets[b]) >= 0.8}
    assert 20 < len(wanted) < len(raws) - 20
    assert [finding.text for finding in near_duplicates(texts(raws))] == [raw for raw in raws if raw in wanted]
