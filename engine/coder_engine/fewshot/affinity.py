"""Eq. 19 and the sums of Eq. 20, on products with an adapter's keys."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Norm = Literal["minmax", "l2"]
NORMS: tuple[Norm, ...] = get_args(Norm)


def check_norm(norm: str) -> None:
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")


def normalised(products: NDArray[np.float32], lengths: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Norm of Eq. 19: products [B, NM] of queries and keys, by the queries' lengths [B, 1], or min-max for None.

    Raises:
        ValueError: a product is not finite.
    """
    if not np.isfinite(products).all():
        raise ValueError("products with the keys must be finite, got a NaN or an infinity in a key or a feature")
    if lengths is not None:
        return np.asarray(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0))
    least = products.min(axis=1, keepdims=True)
    spread = products.max(axis=1, keepdims=True) - least
    return np.asarray(np.divide(products - least, spread, out=np.ones_like(products), where=spread > 0))


def affinity(closeness: NDArray[np.float32], beta: float, temperature: float) -> NDArray[np.float32]:
    """A of Eq. 19, exp(-beta (1 - closeness / T))."""
    found = closeness * np.float32(beta / temperature)
    found -= np.float32(beta)
    return np.asarray(np.exp(found, out=found))


def class_sums(values: NDArray[np.float32], labels: NDArray[np.int32], classes: int) -> NDArray[np.float32]:
    """A L of Eq. 20 without the one-hot matrix: [B, NM] -> [B, C]. ``labels`` [NM] are ascending."""
    sums = np.zeros((len(values), classes), np.float32)
    present, starts = np.unique(labels, return_index=True)
    sums[:, present] = np.add.reduceat(values, starts, axis=1)
    return sums
