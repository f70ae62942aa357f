"""The batch sizes that CUDA graphs are made for: a graph has one size, so batches are filled up to the next."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def bucket_of(count: int, largest: int) -> int:
    """The least power of two that ``count`` images fit into, but never more than ``largest``.

    So at most half of a batch is padding, and a program makes few graphs whatever batches it sends.

    Args:
        count: images, 1 to ``largest``.
        largest: the most images of one run.
    """
    return min(1 << (count - 1).bit_length(), largest)


def chunks(pixels: NDArray[np.uint8], largest: int) -> Iterator[NDArray[np.uint8]]:
    """``pixels`` [B, ...] in parts of at most ``largest`` images, in order."""
    for start in range(0, len(pixels), largest):
        yield pixels[start : start + largest]
