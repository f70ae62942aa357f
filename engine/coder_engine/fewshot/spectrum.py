"""The texts' side of the adapter: G = W W^T and its powers.

CODER-Adapter's affinity s S_train^T is x (W W^T) F^T, so all that T texts say is one [D, D] matrix. Tip-Adapter is the
same with the identity in its place, which is G^0: the exponent p leads from image features (0) to CODER (1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coder_engine.fewshot.arrays import check_features

EXPONENT = 0.5
"""p of the spectral form: half way between image features and CODER."""

FEW_TEXTS_RIDGE = 0.1
"""r of few texts: then G lacks directions, and the ridge gives them a tenth of the mean variance."""

_TEXTS_A_BLOCK = 4096
_LEAST = 1e-12
"""Eigenvalues below this part of the largest are rounding, and count as none."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """Which member of the family: ``Form(exponent=1, centre=False, ridge=0)`` is the paper, exponent 0 Tip-Adapter.

    Attributes:
        exponent: p of G^p, 0 to 1.
        centre: take the mean text off the texts, and the mean support feature off all image features.
        ridge: r; None for 0.1 where there are fewer different texts than D, else 0.
    """

    exponent: float = EXPONENT
    centre: bool = True
    ridge: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.exponent <= 1:
            raise ValueError(f"exponent must be from 0 (image features) to 1 (CODER), got {self.exponent}")
        if self.ridge is not None and not 0 <= self.ridge < np.inf:
            raise ValueError(f"ridge must be a number from 0 up, or None to choose it by T, got {self.ridge}")


class Spectrum:
    """Eigenvalues and eigenvectors of G = (W - mean)(W - mean)^T / T, float64; no mean is taken without ``centre``.

    Args:
        texts: W^T, floats [T, D], unit length. They are multiplied in blocks: no float64 copy of all is made.
        centre: see :class:`Form`.

    Raises:
        ValueError: the texts are not as above.
    """

    def __init__(self, texts: ArrayLike, *, centre: bool = True) -> None:
        rows = check_features(texts, "texts")
        self.count, self.width = rows.shape
        self.centre = centre
        mean = rows.mean(axis=0, dtype=np.float64) if centre else np.zeros(self.width)
        gram = np.zeros((self.width, self.width))
        for start in range(0, self.count, _TEXTS_A_BLOCK):
            block = rows[start : start + _TEXTS_A_BLOCK].astype(np.float64) - mean
            gram += block.T @ block
        values, self._vectors = np.linalg.eigh(gram / self.count)
        self._values = np.where(values > _LEAST * values[-1], values, 0.0)
        self._different = int(np.count_nonzero(self._values)) + centre  # copies, and sums of others, add no direction

    def ridge(self, ridge: float | None) -> float:
        """The ridge meant by :class:`Form`: a number stays, None is chosen by the number of different texts."""
        if ridge is not None:
            return ridge
        return FEW_TEXTS_RIDGE if self._different < self.width else 0.0

    def factor(self, exponent: float, ridge: float | None) -> NDArray[np.float64]:
        """H = (G + r tr(G)/D I)^(p/2), [D, D] symmetric, so that x G_p y = (H x).(H y)."""
        values = self._values + self.ridge(ridge) * self._values.mean()
        return np.asarray((self._vectors * values ** (exponent / 2)) @ self._vectors.T)
