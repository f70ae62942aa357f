"""Kept one-to-one texts: what is packed comes back side by side, and indices that do not fit are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from coder_engine.weightfile.pair_texts import TENSORS, index_problem, pack_sides, shapes, side

SIDES = [["a cat", "büffel"], ["フクロウ"], ["x", "yy", "zzz"], ["ant"]]
FEATURES = np.arange(7 * 3, dtype=np.float16).reshape(7, 3)


def packed(**changes: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {**pack_sides(FEATURES, SIDES), **changes}


def test_every_side_comes_back() -> None:
    tensors = packed()
    assert tuple(tensors) == TENSORS
    start = 0
    for number, sentences in enumerate(SIDES):
        found, features = side(tensors, number)
        assert found == sentences
        assert_array_equal(features, FEATURES[start : start + len(sentences)])
        start += len(sentences)


def test_shapes() -> None:
    wanted = shapes(packed(), 2, 3)
    assert wanted == {name: array.shape for name, array in packed().items()}
    assert shapes(dict.fromkeys(TENSORS), 2, 3) == {}


def test_damaged_letters_are_shown_as_such() -> None:
    tensors = packed()
    tensors["pair_sentences"] = tensors["pair_sentences"].copy()
    tensors["pair_sentences"][5] = 255
    assert side(tensors, 0)[0] == ["a cat", "\N{REPLACEMENT CHARACTER}üffel"]


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("pair_text_starts", [0, 2, 9, 6, 7]),
        ("pair_text_starts", [1, 2, 3, 6, 7]),
        ("pair_sentence_starts", [0, 5, 3, 24, 25, 27, 30, 33]),
    ],
)
def test_an_index_that_would_reach_past_an_end(name: str, starts: list[int]) -> None:
    assert index_problem(packed()) is None
    assert index_problem(packed(**{name: np.array(starts)})) == f"{name} must ascend from 0"
