"""What the fits of this package ask of their arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def checked_logits(logits: ArrayLike) -> NDArray[np.float64]:
    """``logits`` [N, C] in float64.

    Raises:
        ValueError: there is no image or no class, or a logit is not finite.
    """
    found = np.asarray(logits, np.float64)
    if found.ndim != 2 or 0 in found.shape:
        raise ValueError(f"logits must be [N, C] of at least one image and class, got {list(found.shape)}")
    if not np.isfinite(found).all():
        raise ValueError("logits must be finite, got a NaN or an infinity; check the features they come from")
    return found


def checked_ids(given: ArrayLike, name: str, logits: NDArray[np.float64]) -> NDArray[np.int64]:
    """Class ids [N] that fit ``logits`` [N, C].

    Raises:
        ValueError: another shape or dtype, or an id is no class.
    """
    count, classes = logits.shape
    ids = np.asarray(given)
    if ids.shape != (count,) or ids.dtype.kind not in "iu":
        raise ValueError(f"{name} must be whole numbers [{count}], got {ids.dtype} {list(ids.shape)}")
    if ids.min() < 0 or ids.max() >= classes:
        raise ValueError(f"{name} must be class ids, 0 to {classes - 1}, got {ids.min()} to {ids.max()}")
    return ids.astype(np.int64)
