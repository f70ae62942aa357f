"""A text set for other labels than those it was written for: reordered, fewer, or refused."""

from __future__ import annotations

import pytest

from coder_engine.errors import TextsError
from coder_export.textset import TextSet
from helpers_textset import LABELS


def test_the_same_labels_change_nothing(animals: TextSet) -> None:
    assert animals.for_labels(LABELS) is animals


def test_a_reorder_takes_texts_and_pairs_along(animals: TextSet) -> None:
    found = animals.for_labels(("owl", "cat", "elk"))
    assert found.labels == ("owl", "cat", "elk")
    assert found.texts == (animals.texts[2], animals.texts[0], animals.texts[1])
    assert found.pairs == {(1, 2): ("its size", "its claws"), (2, 1): ("its antlers",), (0, 1): ("its beak",)}
    assert found.duel_sentences(2, 1) == animals.duel_sentences(1, 0)
    assert (found.name, found.source, found.templates) == (animals.name, animals.source, animals.templates)


def test_a_subset_drops_the_pairs_of_the_others(animals: TextSet) -> None:
    found = animals.for_labels(("owl", "cat"))
    assert found.pairs == {(0, 1): ("its beak",)}
    assert [found.sentences(i) for i in range(2)] == [animals.sentences(2), animals.sentences(0)]
    assert animals.for_labels(("elk",)).pairs == {}


def test_labels_without_texts(animals: TextSet) -> None:
    wanted = r"text set 'animals' has no texts for 1 of 2 labels \(dog\); give the labels it was written for"
    with pytest.raises(TextsError, match=wanted):
        animals.for_labels(("cat", "dog"))


def test_many_labels_without_texts_are_not_all_listed(animals: TextSet) -> None:
    with pytest.raises(TextsError, match=r"no texts for 7 of 8 labels \(1, 2, 3, 4, 5, \.\.\.\);"):
        animals.for_labels(("cat", *"1234567"))


def test_sentences_say_spaces_for_underscores_and_labels_keep_them() -> None:
    pairs = {(0, 1): ("its blades",), (1, 0): ("its keys",)}
    textset = TextSet(name="rooms", labels=("ceiling_fan", "grand_piano"), texts=({}, {}), pairs=pairs)
    assert textset.labels == ("ceiling_fan", "grand_piano")
    assert textset.sentences(0)[0].text == "a photo of a ceiling fan."
    assert textset.duel_sentences(0, 1) == ["Because of its blades, a ceiling fan is different from a grand piano."]
    assert textset.for_labels(("Grand-Piano",)).sentences(0)[0].text == "a photo of a grand piano."


def test_labels_that_name_a_class_of_a_set_are_spoken_as_it_has_them(animals: TextSet) -> None:
    assert animals.for_labels(("OWL_",)).names == ("owl",)
