"""Texts and rows of single classes and pairs are found where the exporter put them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

import reference
from coder_engine.explain.kept import duel_texts, general_texts, name_rows, pair_row
from helpers_explain import kept_weights, text_of
from parity.cases import grid_case


@pytest.mark.parametrize(("layout", "mode"), [("dense", "all"), ("sparse", "all"), ("sparse", "sparse")])
def test_every_pairs_row_and_texts(layout: str, mode: str) -> None:
    case = grid_case(7, 1, mode, seed=3, layout=layout)
    weights = kept_weights(case)
    assert weights.pair_rows is not None
    rows = []
    for a, b in combinations(range(7), 2):
        row = pair_row(weights, a, b)
        if not reference.has_texts(case.pairs, a, b):
            assert (row, duel_texts(weights, a, b), duel_texts(weights, b, a)) == (None, None, None)
            continue
        assert row is not None
        rows.append(row)
        np.testing.assert_array_equal(
            weights.pair_rows[row], case.pairs[a, b].mean(axis=0) - case.pairs[b, a].mean(axis=0)
        )
        for side in ((a, b), (b, a)):
            found = duel_texts(weights, *side)
            assert found is not None
            np.testing.assert_array_equal(found.features, case.pairs[side])
            assert found.sentences == tuple(text_of("pair", side, n) for n in range(len(case.pairs[side])))
            assert set(found.kinds) == {"pair"}
    assert rows == list(range(len(weights.pair_rows)))


def test_general_texts_of_a_class() -> None:
    case = grid_case(5, 1, "none", seed=4)
    weights = kept_weights(case)
    for j, own in enumerate(case.class_texts):
        found = general_texts(weights, j)
        assert found is not None
        assert found.kinds == tuple(kind for kind in reference.KINDS for _ in own[kind])
        np.testing.assert_array_equal(found.features, np.concatenate([own[kind] for kind in reference.KINDS]))
        np.testing.assert_array_equal(name_rows(weights, j), np.concatenate([own["name"], own["synonym"]]))


def test_what_was_not_kept() -> None:
    weights = kept_weights(grid_case(5, 1, "all", seed=4), general=False, pairs=False)
    assert (general_texts(weights, 0), duel_texts(weights, 0, 1)) == (None, None)
    assert pair_row(weights, 0, 1) == 0
    without = replace(weights, pair_rows=None, pair_starts=None, pair_others=None)
    assert pair_row(without, 0, 1) is None
