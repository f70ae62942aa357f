"""Analogues: no other class of the set under any of its names, and none that CLIP takes for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from coder_export.generate.analogues import AnalogueFilter
from coder_export.generate.similarity import TextSpace

LABELS = ("cat", "polar bear", "truck")
SYNONYMS = (("house cat",), (), ("lorry", "motortruck"))


def by_names() -> AnalogueFilter:
    return AnalogueFilter(labels=LABELS, synonyms=SYNONYMS, space=None, threshold=0.9)


def test_names_of_classes_are_dropped_with_the_reason() -> None:
    kept, dropped = by_names().sort([["lynx", "House-Cat", "PolarBear"], ["lorry"], []])
    assert kept == [["lynx"], [], []]
    assert dropped == [
        {"House-Cat": "another name of the class itself", "PolarBear": "a name of the class 'polar bear'"},
        {"lorry": "a name of the class 'truck'"},
        {},
    ]


def test_neither_the_plural_nor_an_article_makes_another_name() -> None:
    kept, dropped = by_names().sort([["Trucks", "a polar bear", "the lorries", "house cats", "an arctic fox"], [], []])
    assert kept[0] == ["an arctic fox"]
    assert list(dropped[0].values()) == [
        "a name of the class 'truck'",
        "a name of the class 'polar bear'",
        "a name of the class 'truck'",
        "another name of the class itself",
    ]


def test_a_class_that_is_the_plural_of_another_is_told_by_its_own_name() -> None:
    choose = AnalogueFilter(labels=("glasses", "glass", "cup"), synonyms=((), (), ()), space=None, threshold=0.9)
    assert choose.sort([[], [], ["glass", "glasses"]])[1][2] == {
        "glass": "a name of the class 'glass'",
        "glasses": "a name of the class 'glasses'",
    }


def test_order_stays_and_a_name_given_twice_is_there_once() -> None:
    assert by_names().sort([["zebra", "ant", "zebra"], [], []])[0] == [["zebra", "ant"], [], []]


def test_one_list_of_synonyms_for_each_class() -> None:
    with pytest.raises(ValueError, match="shorter"):
        AnalogueFilter(labels=LABELS, synonyms=SYNONYMS[:2], space=None, threshold=0.9)


class Cosines:
    """A text space whose cosines with (cat, polar bear, truck) are given."""

    def __init__(self, **cosines: tuple[float, float, float]) -> None:
        self._cosines = cosines

    def between(self, names: Sequence[str], others: Sequence[str]) -> np.ndarray:
        assert tuple(others) == LABELS
        return np.array([self._cosines[name] for name in names], np.float32)


def by_cosines(threshold: float = 0.9, **cosines: tuple[float, float, float]) -> AnalogueFilter:
    space: Any = Cosines(**cosines)
    return AnalogueFilter(labels=LABELS, synonyms=SYNONYMS, space=space, threshold=threshold)


def test_what_is_too_near_to_another_class_is_dropped() -> None:
    kept, dropped = by_cosines(bus=(0.3, 0.91, 0.95), van=(0.3, 0.4, 0.9)).sort([["bus", "van"], [], []])
    assert kept[0] == ["van"], "the threshold itself is not too near"
    assert dropped[0] == {"bus": "as near as 0.950 to the class 'truck'"}


def test_near_to_its_own_class_it_may_be() -> None:
    choose = by_cosines(kitten=(0.95, 0.5, 0.2))
    assert choose.sort([["kitten"], [], ["kitten"]])[0] == [["kitten"], [], []]
    assert choose.sort([["kitten"], [], []])[0][0] == ["kitten"], "an earlier class must leave no trace"


def test_underscores_are_no_part_of_a_name(space: TextSpace) -> None:
    near = [
        AnalogueFilter(labels=labels, synonyms=((), ()), space=space, threshold=0.0).sort([["zebra"], []])[1][0][
            "zebra"
        ]
        for labels in (("cat", "polar_bear"), ("cat", "polar bear"))
    ]
    assert near[0] == near[1].replace("polar bear", "polar_bear")


def test_names_are_judged_before_cosines() -> None:
    assert by_cosines(lorry=(0.0, 0.99, 0.0)).sort([["lorry"], [], []])[1][0] == {
        "lorry": "a name of the class 'truck'"
    }


def test_the_threshold_counts_in_the_space_of_a_model(space: TextSpace) -> None:
    nearest = float(space.between(["bus"], LABELS[1:]).max())
    for threshold, kept in ((nearest - 1e-3, []), (nearest + 1e-3, ["bus"])):
        choose = AnalogueFilter(labels=LABELS, synonyms=SYNONYMS, space=space, threshold=threshold)
        assert choose.sort([["bus"], [], []])[0][0] == kept


def test_each_name_is_encoded_once(space: TextSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    between = space.between

    def spy(names: list[str], others: tuple[str, ...]) -> object:
        asked.append(list(names))
        return between(names, others)

    monkeypatch.setattr(space, "between", spy)
    choose = AnalogueFilter(labels=LABELS, synonyms=SYNONYMS, space=space, threshold=0.9)
    choose.sort([["lynx", "bus"], ["lynx"], []])
    choose.sort([["lynx"], [], ["van"]])
    assert asked == [["bus", "lynx"], ["van"]]


def test_a_single_class_has_no_other_to_be_near_to(space: TextSpace) -> None:
    choose = AnalogueFilter(labels=("cat",), synonyms=((),), space=space, threshold=0.01)
    assert choose.sort([["kitten"]]) == ([["kitten"]], [{}])
