"""CODER-Adapter in its collapsed form: NM support images as the rows of one matrix, whatever the number of texts.

With H = G_p^(1/2) and mu the mean support feature (0 without centring), the CODERs of the query and of a support
image, cut to unit length, have the affinity

    a_i = H(x - mu).H(f_i - mu) / (|H(x - mu)| |H(f_i - mu)|) = (x - mu).k_i / |H(x - mu)|
    k_i = G_p (f_i - mu) / |H(f_i - mu)|                                                    (Eq. 16, 18)

so the run time needs the rows k_i alone, [NM, D], and for the l2 norm H. Under min-max the query's length cancels, and
so does whatever is common to all k_i: their mean is taken off, which leaves single precision the differences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coder_engine.fewshot.arrays import check_features, check_labels
from coder_engine.fewshot.spectrum import Form, Spectrum

Norm = Literal["minmax", "l2"]
NORMS: tuple[str, ...] = get_args(Norm)

ALPHA, BETA, TEMPERATURE = 1.0, 5.5, 1.0
"""Tip-Adapter's published values: what is used where there is nothing to search on."""

ZERO_SHOT_SCALE = 100.0
"""What Eq. 20's zero-shot cosines are multiplied with; an engine uses its weight file's logit scale."""


@dataclass(frozen=True, kw_only=True)
class CoderAdapter:
    """A fitted adapter; :meth:`fit` makes one.

    Attributes:
        keys: k_i above, float32 [NM, D], by class.
        labels: the class id of each row, ascending, int32 [NM].
        mean: mu, float32 [D]; zeros without centring.
        factor: H, float32 [D, D]; None for the min-max norm, which does without.
        classes: C.
        norm: Norm of Eq. 19: "minmax" for each image's affinities, or "l2", which leaves them the cosines they are.
        form: exponent, centring and ridge, as used.
        alpha, beta, temperature: of Eq. 19 and 20; ``temperature`` is its T.
        texts: T, how many texts G was made of.
        search: what chose the parameters, see ``search_adapter``; empty where they were given.
    """

    keys: NDArray[np.float32]
    labels: NDArray[np.int32]
    mean: NDArray[np.float32]
    factor: NDArray[np.float32] | None
    classes: int
    norm: Norm
    form: Form
    alpha: float = ALPHA
    beta: float = BETA
    temperature: float = TEMPERATURE
    texts: int
    search: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_norm(self.norm)
        for name in ("alpha", "beta", "temperature"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {value}")

    @classmethod
    def fit(
        cls,
        support: ArrayLike,
        labels: ArrayLike,
        texts: ArrayLike | Spectrum,
        *,
        norm: Norm = "minmax",
        exponent: float = Form.exponent,
        centre: bool = True,
        ridge: float | None = None,
        alpha: float = ALPHA,
        beta: float = BETA,
        temperature: float = TEMPERATURE,
        classes: int | None = None,
    ) -> CoderAdapter:
        """Fit an adapter to a few labelled images; the default is the spectral form.

        Args:
            support: F, floats [NM, D], unit length.
            labels: class ids [NM]; any number a class, none too.
            texts: W^T, floats [T, D], unit length, of any general texts; or their ``Spectrum``, to use it again.
            norm: Norm of Eq. 19.
            exponent, centre, ridge: see :class:`Form`; 1, False and 0 are the paper's CODER-Adapter.
            alpha, beta, temperature: of Eq. 19 and 20.
            classes: C; by default one more than the highest label.

        Raises:
            ValueError: an argument is not as above.
        """
        check_norm(norm)
        rows = check_features(support, "support")
        ids = check_labels(labels, "labels", count=len(rows), classes=classes)
        form = Form(exponent=exponent, centre=centre, ridge=ridge)
        spectrum = texts if isinstance(texts, Spectrum) else Spectrum(texts, centre=centre)
        check_features(rows[:1], "support", width=spectrum.width)
        if spectrum.centre != centre:
            raise ValueError(f"texts must be a Spectrum with centre={centre}, as asked for, got {spectrum.centre}")
        form = Form(exponent=exponent, centre=centre, ridge=spectrum.ridge(form.ridge))
        factor = spectrum.factor(form.exponent, form.ridge)
        order = np.argsort(ids, kind="stable")
        keys, mean = _keys(rows[order].astype(np.float64), factor, form.centre)
        if norm == "minmax":
            keys -= keys.mean(axis=0)
        return cls(
            keys=keys.astype(np.float32),
            labels=ids[order],
            mean=mean.astype(np.float32),
            factor=None if norm == "minmax" else factor.astype(np.float32),
            classes=int(ids.max()) + 1 if classes is None else classes,
            norm=norm,
            form=form,
            alpha=alpha,
            beta=beta,
            temperature=temperature,
            texts=spectrum.count,
        )

    @property
    def width(self) -> int:
        """D."""
        return int(self.keys.shape[1])

    @property
    def shots(self) -> NDArray[np.int64]:
        """Support images by class, int64 [C]."""
        return np.bincount(self.labels, minlength=self.classes)

    def closeness(self, features: ArrayLike) -> NDArray[np.float32]:
        """Norm(s S_train^T) of Eq. 19: features [B, D], unit length -> float32 [B, NM], columns as ``labels``.

        Min-max gives 0 to 1; where all of an image's affinities are equal, every support image is the nearest: 1.
        L2 gives cosines; an image whose CODER has no length, or a support image, is at 0 from all.

        Raises:
            ValueError: the features are not as above.
        """
        centred = self.centred(check_features(features, "features", width=self.width))
        return self.normalise(centred @ self.keys.T, centred)

    def logits(self, features: ArrayLike, zero_shot: ArrayLike | None = None) -> NDArray[np.float32]:
        """Eq. 20, alpha A L + 100 * zero-shot: features [B, D], unit length -> float32 [B, C].

        Args:
            zero_shot: cosines of the images with their classes, or o of Eq. 8, floats [B, C]; None leaves them out.

        Raises:
            ValueError: an argument is not as above.
        """
        votes = self.votes(self.closeness(features))
        if zero_shot is None:
            return votes
        cosines = np.asarray(zero_shot, np.float32)
        if cosines.shape != votes.shape:
            raise ValueError(f"zero_shot must be [B, C] = {list(votes.shape)}, got {list(cosines.shape)}")
        return votes + np.float32(ZERO_SHOT_SCALE) * cosines

    # The three steps of ``logits`` by themselves, for whoever has the products x.k_i from elsewhere.

    def centred(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """x - mu, float32 [B, D]: what is multiplied with ``keys``."""
        return np.ascontiguousarray(features, np.float32) - self.mean

    def normalise(self, products: NDArray[np.float32], centred: NDArray[np.float32]) -> NDArray[np.float32]:
        """Products [B, NM] of ``centred`` [B, D] with the keys -> closeness [B, NM]."""
        if self.factor is not None:
            lengths = np.linalg.norm(centred @ self.factor, axis=1, keepdims=True)
            return np.asarray(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0))
        least = products.min(axis=1, keepdims=True)
        spread = products.max(axis=1, keepdims=True) - least
        return np.asarray(np.divide(products - least, spread, out=np.ones_like(products), where=spread > 0))

    def votes(self, closeness: NDArray[np.float32]) -> NDArray[np.float32]:
        """alpha A L of Eq. 19 and 20: closeness [B, NM] -> float32 [B, C]; 0 for a class without support."""
        return np.float32(self.alpha) * class_sums(affinity(closeness, self.beta, self.temperature), self)


def affinity(closeness: NDArray[np.float32], beta: float, temperature: float) -> NDArray[np.float32]:
    """A of Eq. 19, exp(-beta (1 - closeness / T))."""
    found = closeness * np.float32(beta / temperature)
    found -= np.float32(beta)
    return np.asarray(np.exp(found, out=found))


def class_sums(values: NDArray[np.float32], adapter: CoderAdapter) -> NDArray[np.float32]:
    """A L of Eq. 20 without the one-hot matrix: [B, NM] -> [B, C]. The rows of a class lie together."""
    sums = np.zeros((len(values), adapter.classes), np.float32)
    present, starts = np.unique(adapter.labels, return_index=True)
    sums[:, present] = np.add.reduceat(values, starts, axis=1)
    return sums


def check_norm(norm: str) -> None:
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")


def _keys(
    support: NDArray[np.float64], factor: NDArray[np.float64], centre: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """k_i [NM, D] and mu [D]; a support image without a length, as a single one once centred, keeps a row of zeros."""
    mean = support.mean(axis=0) if centre else np.zeros(support.shape[1])
    coder = (support - mean) @ factor
    lengths = np.linalg.norm(coder, axis=1, keepdims=True)
    return np.divide(coder, lengths, out=np.zeros_like(coder), where=lengths > 0) @ factor, mean
