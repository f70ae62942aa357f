"""What the few-shot functions ask of the arrays they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_FAR_FROM_UNIT = 0.05
"""fp16 features are off by a thousandth; features nobody normalised are off by their whole length (about 10)."""


def check_features(features: ArrayLike, name: str, *, width: int | None = None) -> NDArray[Any]:
    """The features [N, D] as an array of floats.

    Raises:
        ValueError: they are not numbers [N, D], of another width, empty, not finite, or not of unit length.
    """
    found = np.asarray(features)
    wanted = f"[N, {'D' if width is None else width}]"
    if found.dtype.kind != "f" or found.ndim != 2 or 0 in found.shape or width not in (None, found.shape[1]):
        raise ValueError(
            f"{name} must be floats {wanted} with at least one row, got {found.dtype} {list(found.shape)}; "
            "Engine.embed gives them"
        )
    found = found.astype(np.float32, copy=False) if found.dtype.itemsize < 4 else found
    lengths = np.sqrt(np.einsum("nd,nd->n", found, found))
    bad = np.flatnonzero(~np.isfinite(lengths))
    if len(bad):
        raise ValueError(f"{name}: row {bad[0]} holds a NaN or an infinity, as do {len(bad)} in all; leave them out")
    if np.abs(lengths - 1).max() > _FAR_FROM_UNIT:
        raise ValueError(
            f"{name} must be of unit length, got lengths {lengths.min():.3g} to {lengths.max():.3g}; "
            "divide each row by its length"
        )
    return found


def check_labels(labels: ArrayLike, name: str, *, count: int, classes: int | None = None) -> NDArray[np.int32]:
    """The class ids [N] as int32.

    Raises:
        ValueError: they are not ``count`` whole numbers from 0 to ``classes`` - 1.
    """
    found = np.asarray(labels)
    if not count:
        raise ValueError(f"{name} must be of at least one image, got none")
    if found.dtype.kind not in "iu" or found.shape != (count,):
        raise ValueError(f"{name} must be whole numbers [{count}], got {found.dtype} {list(found.shape)}")
    most = int(found.max()) if classes is None else classes - 1
    if found.min() < 0 or found.max() > most:
        wanted = "from 0" if classes is None else f"from 0 to {most}, the classes"
        raise ValueError(f"{name} must be class ids {wanted}, got {found.min()} to {found.max()}")
    return found.astype(np.int32)
