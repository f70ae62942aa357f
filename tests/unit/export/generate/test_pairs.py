"""Which pairs: the option, the nearest by name, and those that real images confuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coder_export.generate.pairs import PairChoice, all_pairs, count_seen, nearest_pairs


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("all", PairChoice(how="all")),
        ("none", PairChoice(how="none")),
        ("top:1", PairChoice(how="top", nearest=1)),
        ("top:12", PairChoice(how="top", nearest=12)),
        ("seen:my:images", PairChoice(how="seen", folder=Path("my:images"))),
    ],
)
def test_the_option(text: str, choice: PairChoice) -> None:
    assert PairChoice.parse(text) == choice


@pytest.mark.parametrize(
    "text", ["", "some", "All", "all:3", "top", "top:", "top:0", "top:-1", "top:1.5", "top:²", "seen", "seen:"]
)
def test_other_options_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--pairs takes all, none, top:K .* or seen:FOLDER, got") as caught:
        PairChoice.parse(text)
    assert str(caught.value).endswith(repr(text))


def test_few_classes_get_all_pairs_many_the_nearest() -> None:
    assert PairChoice.default(20) == PairChoice(how="all")
    assert PairChoice.default(21) == PairChoice(how="top", nearest=8)


def test_all_pairs() -> None:
    assert all_pairs(3) == [(0, 1), (0, 2), (1, 2)]
    assert all_pairs(1) == []


def directions(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_nearest_of_each_class_most_similar_first() -> None:
    # 3 is far from all: its nearest is 2, whose nearest it is not.
    assert nearest_pairs(directions(0, 10, 15, 60), 1) == [(1, 2), (0, 1), (2, 3)]


def test_more_neighbours_than_there_are_is_all() -> None:
    assert sorted(nearest_pairs(directions(0, 10, 30), 99)) == all_pairs(3)
    assert nearest_pairs(directions(0), 3) == []


def test_equal_names_are_in_the_order_of_classes() -> None:
    assert nearest_pairs(directions(0, 0, 0), 2) == all_pairs(3)


def test_a_class_is_no_neighbour_of_its_own() -> None:
    assert all(a < b for a, b in nearest_pairs(directions(0, 180, 90), 2))


SEEN = [(2, 0, 1), (0, 1, 2), (1, 0), (3, 4)]


def test_seen_pairs_most_frequent_first() -> None:
    seen = count_seen(SEEN)
    assert seen.pairs == ((0, 1), (0, 2), (1, 2), (3, 4))
    assert seen.counts == (3, 2, 2, 1)
    assert seen.candidates == {(0, 1, 2): 2, (0, 1): 1, (3, 4): 1}


def test_ids_of_numpy_become_plain_ones() -> None:
    pair = count_seen(np.array([[4, 1]])).pairs[0]
    assert pair == (1, 4)
    assert {type(i) for i in pair} == {int}


@pytest.mark.parametrize(
    ("most", "images", "duels"), [(0, 0, 0), (1, 1 / 4, 3 / 8), (2, 1 / 4, 5 / 8), (3, 3 / 4, 7 / 8), (4, 1, 1)]
)
def test_coverage(most: int, images: float, duels: float) -> None:
    assert count_seen(SEEN).coverage(most) == (images, duels)


def test_coverage_of_nothing() -> None:
    assert count_seen([]).coverage(3) == (0, 0)


def test_the_table_ends_with_all_pairs() -> None:
    head, *rows = count_seen([(i, i + 1) for i in range(25)]).table()
    assert head.split() == ["pairs", "images", "wholly", "covered", "duels", "covered"]
    assert [row.split() for row in rows] == [
        ["10", "40.0%", "40.0%"],
        ["20", "80.0%", "80.0%"],
        ["25", "100.0%", "100.0%"],
    ]
    assert {len(row) for row in (head, *rows)} == {len(head)}


def test_the_table_of_few_pairs_has_one_row() -> None:
    assert len(count_seen(SEEN).table()) == 2
