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
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coder_engine.counts import count_of
from coder_engine.errors import WeightsError
from coder_engine.fewshot.affinity import Norm, affinity, check_norm, class_sums, normalised
from coder_engine.fewshot.arrays import check_features, check_labels
from coder_engine.fewshot.spectrum import Form, Spectrum
from coder_engine.weights import Weights, update_weights

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
        source: on what it was fitted, in plain values, for people.
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
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_norm(self.norm)
        for name in ("alpha", "beta", "temperature"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {value}")
        count, width = self.keys.shape
        ids = check_labels(self.labels, "labels", count=count, classes=self.classes)
        if (ids[1:] < ids[:-1]).any():
            raise ValueError("labels must be in ascending order: the keys of a class lie together")
        if (self.factor is None) != (self.norm == "minmax"):
            raise ValueError(f"factor must be there for the l2 norm and only for it, got norm {self.norm!r}")
        # Mapped keys are not read yet, as reading is what opening a file must not wait for: see ``normalise``.
        read = [self.mean, self.factor, None if isinstance(self.keys, np.memmap) else self.keys]
        if self.mean.shape != (width,) or not all(np.isfinite(tensor).all() for tensor in read if tensor is not None):
            raise ValueError(f"keys, mean and factor must be finite and {width} wide")

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

    def save(
        self, path: str | PathLike[str], *, out: str | PathLike[str] | None = None, since: Weights | None = None
    ) -> Weights:
        """Write the adapter into a weight file, in place of any that is there; the rest of the file stays as it is.

        Args:
            out: write the changed file there instead.
            since: the file as it was when the fit began: refuse if it is another by now.

        Raises:
            WeightsError: the file cannot be opened or written, or has other classes or another width.
        """
        tensors = {
            "adapter_keys": self.keys,
            "adapter_labels": self.labels,
            "adapter_mean": self.mean,
            "adapter_factor": self.factor,
        }
        parameters = {name: getattr(self, name) for name in _STORED}
        meta = {**parameters, "form": asdict(self.form), "shots": self.shots.tolist()}
        # What was fitted to the scores without it is void.
        scores: dict[str, Any] = {"temperature": 1.0, "calibration": {}, "unknown_below": None, "unknown_record": {}}
        return update_weights(path, out=out, since=since, tensors=tensors, adapter=meta, **scores)

    @classmethod
    def load(cls, weights: Weights) -> CoderAdapter | None:
        """The adapter of an open weight file; None where it has none.

        Raises:
            WeightsError: its parameters or tensors are damaged.
        """
        meta = weights.meta.adapter
        keys, labels, mean = weights.adapter_keys, weights.adapter_labels, weights.adapter_mean
        if keys is None or labels is None or mean is None:
            return None
        try:
            adapter = cls(
                keys=keys,
                labels=labels,
                mean=mean,
                factor=weights.adapter_factor,
                form=Form(**meta["form"]),
                **{name: meta[name] for name in _STORED},
            )
            if adapter.classes != len(weights.meta.labels):
                raise ValueError(f"it is for {adapter.classes} classes, the file has {len(weights.meta.labels)}")
        except (KeyError, TypeError, ValueError) as err:
            raise WeightsError(
                f"{weights.path}: its few-shot adapter is malformed ({err}); fit it again with coder-fit"
            ) from err
        return adapter

    @property
    def width(self) -> int:
        """D."""
        return int(self.keys.shape[1])

    @property
    def shots(self) -> NDArray[np.int64]:
        """Support images by class, int64 [C]."""
        return np.bincount(self.labels, minlength=self.classes)

    @property
    def shots_text(self) -> str:
        """How many support images a class has, in words."""
        least, most = int(self.shots.min()), int(self.shots.max())
        if least < most:
            return f"{least:,} to {most:,} shots"
        return count_of(most, "shot")

    def closeness(self, features: ArrayLike) -> NDArray[np.float32]:
        """Norm(s S_train^T) of Eq. 19: features [B, D], unit length -> float32 [B, NM], columns as ``labels``.

        Min-max gives 0 to 1; where all of an image's affinities are equal, every support image is the nearest: 1.
        L2 gives cosines; an image whose CODER has no length, or a support image, is at 0 from all.

        Raises:
            ValueError: the features are not as above.
        """
        centred = self.centred(check_features(features, "features", width=self.width))
        lengths = None if self.factor is None else np.linalg.norm(centred @ self.factor, axis=1, keepdims=True)
        return self.normalise(centred @ self.keys.T, lengths)

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

    def normalise(self, products: NDArray[np.float32], lengths: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Products [B, NM] of ``centred`` with the keys, and the lengths |H(x - mu)| [B, 1] for the l2 norm, None for
        min-max -> closeness [B, NM].

        Raises:
            ValueError: a product is not finite, as a key or a feature is not.
        """
        return normalised(products, lengths)

    def votes(self, closeness: NDArray[np.float32]) -> NDArray[np.float32]:
        """alpha A L of Eq. 19 and 20: closeness [B, NM] -> float32 [B, C]; 0 for a class without support."""
        return np.float32(self.alpha) * class_sums(
            affinity(closeness, self.beta, self.temperature), self.labels, self.classes
        )


_STORED = ("classes", "norm", "alpha", "beta", "temperature", "texts", "search", "source")


def _keys(
    support: NDArray[np.float64], factor: NDArray[np.float64], centre: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """k_i [NM, D] and mu [D]; a support image without a length, as a single one once centred, keeps a row of zeros."""
    mean = support.mean(axis=0) if centre else np.zeros(support.shape[1])
    coder = (support - mean) @ factor
    lengths = np.linalg.norm(coder, axis=1, keepdims=True)
    return np.divide(coder, lengths, out=np.zeros_like(coder), where=lengths > 0) @ factor, mean
