"""Blocks give what the whole gives, and never more than a block is asked for at once."""

from __future__ import annotations

import numpy as np
import pytest

from coder_engine.evaluate import blocks
from coder_engine.evaluate.blocks import by_blocks


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
