"""Some images at a time, so that nothing [B, T] or [B, NM] is ever held for all B of a test split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024


def by_blocks(run: Callable[..., NDArray[Any]], rows: NDArray[Any], *others: NDArray[Any] | None) -> NDArray[Any]:
    """``run`` on some rows of [B, ...] at a time, with the same rows of the others: what it gives, joined to [B, ...].

    Args:
        run: must give each row the same whatever rows are beside it.
        rows: one array [B, ...].
        others: more of as many rows; None is passed on as it is.
    """
    parts = [run(rows[own], *(None if one is None else one[own] for one in others)) for own in blocks(len(rows))]
    return np.concatenate(parts)


def blocks(count: int) -> Iterator[slice]:
    """``BLOCK`` rows of ``count`` at a time."""
    return (slice(start, start + BLOCK) for start in range(0, count, BLOCK))
