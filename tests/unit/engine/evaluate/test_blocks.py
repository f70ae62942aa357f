"""Blocks give what the whole gives, and never more than a block is asked for at once."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from coder_engine.evaluate import blocks
from coder_engine.evaluate.blocks import by_blocks, rank_by_blocks
from coder_engine.head import Head, Ranking
from helpers_evaluate import images_of, label_set


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 7)


def test_blocks_are_joined_in_order_with_the_rows_of_the_others() -> None:
    seen = []

    def run(rows: np.ndarray, other: np.ndarray, none: None) -> np.ndarray:
        seen.append(len(rows))
        assert none is None
        return np.asarray(rows + 10 * other[:, None])

    rows, other = np.arange(30).reshape(15, 2), np.arange(15)
    assert (by_blocks(run, rows, other, None) == rows + 10 * other[:, None]).all()
    assert seen == [7, 7, 1]


def test_a_ranking_is_that_of_the_whole(tmp_path: Path) -> None:
    found = label_set(tmp_path)
    features = images_of(found, 40).features
    head = Head(found.weights)
    one, whole = rank_by_blocks(head.rank, features), head.rank(features)
    for item in fields(Ranking):
        assert_allclose(getattr(one, item.name), getattr(whole, item.name), atol=1e-6)
