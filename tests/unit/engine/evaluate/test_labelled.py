"""Features and labels: what is taken, and every refusal."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from coder_engine.errors import DataError
from coder_engine.evaluate.labelled import check_classes, check_width, labelled, shared_images, unit_rows

ROWS = np.array([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]], np.float16)


def test_features_come_out_in_float32_and_of_unit_length() -> None:
    found = labelled(ROWS, np.array([0, 2, 1], np.int16), where="here")
    assert_allclose(found.features, [[0.6, 0.8], [0, 1], [1, 0]], rtol=1e-6)
    assert (found.features.dtype, found.labels.dtype, len(found)) == (np.float32, np.int64, 3)


def test_whole_float_labels_are_taken() -> None:
    assert labelled(ROWS, np.array([0.0, 2.0, 1.0]), where="here").labels.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (ROWS[0], [0], r"here: features must be floats \[N, D\] of at least one row, got float16 \[2\]"),
        (ROWS[:0], [], r"at least one row, got float16 \[0, 2\]"),
        (np.ones((2, 2), np.int64), [0, 1], "got int64"),
        ([[1.0, np.nan], [1.0, 0.0]], [0, 1], r"1 of 2 rows \(the first is row 0\) hold NaN or infinity"),
        ([[1.0, 0.0], [0.0, np.inf]], [0, 1], r"the first is row 1\) hold NaN or infinity"),
        ([[0.0, 0.0], [1.0, 0.0]], [0, 1], "are all zero and have no direction"),
        (ROWS, [0, 1], r"wanted one label a feature, \[3\], got labels \[2\]"),
        (ROWS, [0, 1.5, 1], "labels must be class ids, whole numbers from 0, got dtype float64"),
        (ROWS, ["a", "b", "c"], "whole numbers from 0, got dtype <U1"),
        (ROWS, [0, -1, 1], "labels must be class ids from 0, got -1"),
        (ROWS, [0, 10**10, 1], "labels must be class ids, 0 to 99999, got 10000000000; number the classes from 0"),
        (ROWS, [0, np.inf, 1], "0 to 99999, got inf"),
    ],
)
def test_refusals(rows: object, labels: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        labelled(np.asarray(rows), np.asarray(labels), where="here")


def test_width_and_classes() -> None:
    found = labelled(ROWS, np.array([0, 2, 1]), where="here")
    check_width(found.features, 2, where="here", other="there")
    with pytest.raises(DataError, match="here is 2 wide, there is 5 wide: they come from different models"):
        check_width(found.features, 5, where="here", other="there")
    check_classes(found, 3, where="here")
    with pytest.raises(DataError, match="here: labels must be class ids, 0 to 1, got 2"):
        check_classes(found, 2, where="here")


def test_shared_images_are_found_by_hash() -> None:
    one = labelled(ROWS, np.array([0, 1, 2]), where="one")
    other = labelled(ROWS[[2, 0, 2]] * np.float16(0.5), np.array([0, 1, 1]), where="other")
    assert shared_images(one, other) == [(0, 1), (2, 0)]


def test_the_digest_tells_images_and_labels_apart() -> None:
    one = labelled(ROWS, np.array([0, 1, 2]), where="one")
    assert one.digest == labelled(ROWS, np.array([0, 1, 2]), where="again").digest
    assert one.digest != labelled(ROWS, np.array([0, 2, 1]), where="labels").digest
    assert one.digest != one.take(np.array([1, 0, 2])).digest
    assert one.take(np.array([2, 0])).labels.tolist() == [2, 0]


def test_unit_rows_keep_small_values() -> None:
    assert_allclose(unit_rows(np.array([[1e-30, 0.0]]), where="tiny"), [[1, 0]])
