"""The CODER authors' form: which class a list is of, the dirt of the real files, and every malformed part refused."""

from __future__ import annotations

from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.imports.authors import read_coder
from coder_export.generate.imports.phrase import NOTE, TEMPLATES
from coder_export.templates import Templates

LABELS = ("cat", "elk", "owl")
GIVE = "give --import-labels FILE with their class names in order"
SYNONYMS = [
    {"class_name": "Cats", "syno": ["house_cat", "house cat", " puss "]},
    {"class_name": "elk", "syno": []},
    {"class_name": "owl", "syno": ["bird_of_Minerva"]},
]
DUELS = {
    "cat": {"elk": ["its size ", "", "its claws."], "owl": []},
    "elk": {"cat": ["its antlers", "its antlers"]},
}


def refused(data: object, theirs: tuple[str, ...] | None = None) -> str:
    with pytest.raises(TextsError) as caught:
        read_coder(data, "f", LABELS, theirs)
    return str(caught.value)


# which class a list is of


def test_lists_in_the_order_of_the_labels() -> None:
    raw = read_coder(
        {"attribute": [["whiskers"], [" antlers", ""], []], "analogous": [[], [], ["Nightjar"]]}, "f", LABELS
    )
    assert raw.texts == {
        "cat": {"attribute": ("which has whiskers",)},
        "elk": {"attribute": ("which has antlers",)},
        "owl": {"analogous": ("Nightjar",)},
    }
    assert raw.names == LABELS
    assert raw.notes == [
        f"The lists name no classes: they were taken to be in the order of the labels. If they are not, {GIVE}.",
        NOTE,
    ]


def test_lists_in_the_order_of_given_class_names() -> None:
    raw = read_coder({"attribute": [["hooves"], ["whiskers"]]}, "f", LABELS, ("yak", "cat"))
    assert raw.texts == {"yak": {"attribute": ("which has hooves",)}, "cat": {"attribute": ("which has whiskers",)}}
    assert (raw.names, raw.notes) == (("yak", "cat"), [NOTE])


def test_lists_in_the_order_of_the_synonyms() -> None:
    raw = read_coder({"attribute": [["beak"], ["whiskers"]], "synonym": [SYNONYMS[2], SYNONYMS[0]]}, "f", LABELS)
    assert raw.texts["owl"] == {"attribute": ("which has beak",), "synonym": ("bird of Minerva",)}
    assert raw.texts["Cats"]["attribute"] == ("which has whiskers",)
    assert raw.names == ("owl", "Cats")
    assert raw.notes == ["The lists were taken to be in the order of the class names in 'synonym'.", NOTE]


def test_given_class_names_spell_those_of_the_synonyms() -> None:
    raw = read_coder({"synonym": SYNONYMS}, "f", LABELS, ("cat", "elk", "night owl"))
    assert raw.names == ("cat", "elk", "night owl")
    assert raw.texts == {"cat": {"synonym": ("house cat", "puss")}, "night owl": {"synonym": ("bird of Minerva",)}}
    assert raw.cleaned == {"duplicate": 1}


@pytest.mark.parametrize(
    "synonyms", [[["house_cat"], [], []], [{"class_name": " ", "syno": ["house cat"]}, *SYNONYMS[1:]]]
)
def test_synonyms_without_class_names(synonyms: list[Any]) -> None:
    raw = read_coder({"synonym": synonyms}, "f", LABELS)
    assert raw.names == LABELS
    assert raw.texts["cat"] == {"synonym": ("house cat",)}


def test_only_descriptors_are_put_into_other_sentences() -> None:
    lists = {"attribute": [["can swim"], [], []], "analogous": [["can opener"], [], []]}
    raw = read_coder({**lists, "one_to_one": {"cat": {"elk": ["can swim"]}}}, "f", LABELS)
    assert raw.texts["cat"] == {"attribute": ("which can swim",), "analogous": ("can opener",)}
    assert raw.pairs == {("cat", "elk"): ("can swim",)}
    assert raw.templates == TEMPLATES
    assert read_coder({"analogous": lists["analogous"]}, "f", LABELS).templates == Templates()


def test_another_number_of_lists() -> None:
    four: dict[str, Any] = {"attribute": [[]] * 4}
    assert refused(four) == f"f: 'attribute' has 4 lists, for 3 labels; {GIVE}"
    assert refused(four, ("a", "b")) == f"f: 'attribute' has 4 lists, for 2 class names in --import-labels; {GIVE}"
    assert refused({**four, "synonym": SYNONYMS}) == (
        f"f: 'attribute' has 4 lists, for 3 class names in 'synonym'; {GIVE}"
    )


def test_given_class_names_in_another_order() -> None:
    wanted = f"f: 'synonym'[1] is of class 'elk', which --import-labels has at place 2, from 0; {GIVE}"
    assert refused({"synonym": SYNONYMS}, ("cat", "owl", "elk")) == wanted


def test_class_names_of_other_classes() -> None:
    wanted = "names 3 classes (Cats, elk, owl, ...), of which 1 are among the class names in --import-labels"
    assert refused({"synonym": SYNONYMS}, ("cat", "dog", "yak")) == (
        f"f: 'synonym' {wanted} that the lists were taken for; {GIVE}"
    )
    assert refused({"analogous": [[], [], []], "one_to_one": {"sea": {"road": []}, "cat": {}}}) == (
        "f: 'one_to_one' names 2 classes (sea, road, ...), of which 0 are among the labels that the lists were taken "
        f"for; {GIVE}"
    )


def test_class_names_that_are_there_twice() -> None:
    assert refused({"attribute": [[], []]}, ("cat", "cat")) == (
        "--import-labels: class name 'cat' is there twice; give each class its own name"
    )
    assert refused({"synonym": [SYNONYMS[1]] * 2}) == "f: 'synonym' has the class name 'elk' twice; rename one of them"


# one-to-one texts


def test_duels_alone_need_no_order() -> None:
    raw = read_coder({"one_to_one": DUELS}, "f", LABELS)
    assert raw.pairs == {("cat", "elk"): ("its size", "its claws"), ("elk", "cat"): ("its antlers",)}
    assert raw.names == ("cat", "elk", "owl")
    assert raw.cleaned == {"empty": 1, "full stop": 1, "duplicate": 1}
    assert raw.notes == []


def test_duels_take_the_spelling_of_the_lists() -> None:
    duels = {"Cat": {"Elks": ["claws"], "sea cow": ["fur"]}, "Elks": {"Cat": ["antlers"]}}
    raw = read_coder({"attribute": [[], [], []], "one_to_one": duels}, "f", LABELS)
    assert raw.pairs == {("cat", "elk"): ("claws",), ("cat", "sea cow"): ("fur",), ("elk", "cat"): ("antlers",)}
    assert raw.names == ("cat", "elk", "owl", "sea cow")


def test_a_class_against_itself_is_dropped_and_counted() -> None:
    raw = read_coder({"attribute": [[], [], []], "one_to_one": {"cat": {"cat": ["fur", "claws"]}}}, "f", LABELS)
    assert (raw.pairs, raw.cleaned) == ({}, {"itself": 2})


# shapes


@pytest.mark.parametrize(
    ("data", "got"),
    [
        ({}, "the keys "),
        ({"attribute": [], "colour": []}, "the keys 'attribute', 'colour'"),
        ([["whiskers"]], "a list of 1"),
    ],
)
def test_other_keys(data: object, got: str) -> None:
    assert (
        refused(data)
        == f"f: expected an object with any of the keys attribute, analogous, synonym, one_to_one, got {got}"
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"attribute": {}}, "f: 'attribute': expected a list with one entry a class, got an object of 0 keys"),
        ({"analogous": [[], "moose", []]}, "f: 'analogous'[1] ('elk'): expected a list of texts, got \"moose\";"),
        ({"analogous": [[], [], [3]]}, "f: 'analogous'[2] ('owl')[0]: expected a text, got 3;"),
        ({"attribute": [{}, [], []]}, "f: 'attribute'[0] ('cat'): expected a list of texts, got an object of 0 keys;"),
        (
            {"synonym": [{"class_name": "cat", "syno": None}]},
            "f: 'synonym'[0] ('cat'): 'syno': expected a list of texts, got null;",
        ),
        ({"one_to_one": []}, "f: 'one_to_one': expected an object class -> other class -> texts, got a list of 0"),
        (
            {"one_to_one": {"cat": []}},
            "f: 'one_to_one'['cat']: expected an object other class -> texts, got a list of 0",
        ),
        ({"one_to_one": {"cat": {"elk": "claws"}}}, "f: 'one_to_one'['cat']['elk']: expected a list of texts, got"),
    ],
)
def test_a_malformed_part_is_named(data: object, said: str) -> None:
    assert refused(data).startswith(said)
