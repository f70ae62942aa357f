"""Support sets: every refusal, draws that are nested, and what is held out."""

from __future__ import annotations

import numpy as np
import pytest

from coder_engine.errors import DataError
from coder_engine.evaluate.labelled import labelled
from coder_engine.evaluate.support import check_support, sample_support

NAMES = ("cat", "dog", "elk")
ROWS = np.array([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("labels", "classes", "shots", "message"),
    [
        ([0, 0, 1], 3, None, r"here: no support image for 1 class \(2\); every class needs one"),
        ([0, 0, 1], 2, None, "wanted 2 support images a class, got class 1 1"),
        ([0, 1, 2], 3, 2, "wanted 2 support images a class, got class 0 1, class 1 1, class 2 1"),
        ([0, 1, 4], 3, None, "labels must be class ids, 0 to 2, got 4"),
    ],
)
def test_support_that_does_not_fit(labels: list[int], classes: int, shots: int | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_support(labelled(ROWS, np.array(labels), where="here"), classes, where="here", shots=shots)


def test_one_image_a_class_is_a_support() -> None:
    check_support(labelled(ROWS, np.array([0, 1, 2]), where="here"), 3, where="here", shots=1)


def test_samples_are_of_each_class_nested_and_by_seed() -> None:
    labels = np.repeat(np.arange(3), 10)
    one, four = (sample_support(labels, NAMES, shots, seed=0) for shots in (1, 4))
    assert [labels[row] for row in four] == [0] * 4 + [1] * 4 + [2] * 4
    assert len(set(four)) == 12
    assert set(one) <= set(four)
    assert four != sample_support(labels, NAMES, 4, seed=1)
    with pytest.raises(DataError, match="class 'cat' has 10 support images, wanted 11; add images or lower --shots"):
        sample_support(labels, NAMES, 11, seed=0)
