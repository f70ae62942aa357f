from __future__ import annotations

import numpy as np
import pytest

from coder_engine.backends.buckets import bucket_of, chunks


@pytest.mark.parametrize(
    ("count", "bucket"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (31, 32), (33, 48), (47, 48), (48, 48)]
)
def test_the_next_power_of_two_or_the_largest(count: int, bucket: int) -> None:
    assert bucket_of(count, 48) == bucket


@pytest.mark.parametrize("largest", [1, 2, 7, 64, 100])
def test_every_batch_fits_its_bucket(largest: int) -> None:
    sizes = {count: bucket_of(count, largest) for count in range(1, largest + 1)}
    assert all(count <= bucket <= min(2 * count - 1, largest) for count, bucket in sizes.items())
    assert len(set(sizes.values())) <= largest.bit_length() + 1


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (4, [4]), (5, [4, 1]), (9, [4, 4, 1]), (0, [])], ids=str)
def test_chunks(count: int, sizes: list[int]) -> None:
    pixels = np.arange(count * 2, dtype=np.uint8).reshape(count, 2)
    parts = list(chunks(pixels, 4))
    assert [len(part) for part in parts] == sizes
    assert np.array_equal(np.concatenate([*parts, pixels[:0]]), pixels)
