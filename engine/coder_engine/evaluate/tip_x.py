"""TIP-X (SuS-X, section 3.2) and the nearest class mean: what CODER-Adapter is set against besides Tip-Adapter.

TIP-X adds to Tip-Adapter how alike two images' texts are. The signature of an image is the softmax of its text cosines,
and two images are as far apart as the KL divergence of their signatures:

    o = 100 zero-shot + alpha exp(-beta (1 - x F^T)) L + gamma psi(-KL(x || F)) L

psi brings the divergences to the range of the cosines. The authors take both ranges from the whole test split; here
they come from the images that the parameters are chosen on, so that an answer does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.evaluate.blocks import blocks, by_blocks
from coder_engine.fewshot.folds import Part
from coder_engine.fewshot.search import BETAS

Array = NDArray[np.float32]
Ids = NDArray[np.int64]
Spread = tuple[float, float, float, float]

SIGNATURE_TEMPERATURE = 0.5
ALPHAS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_SMALLEST = 0.01
"""What a gamma of 0 counts as where its distance from the default is asked for."""
GAMMAS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_SCALE = 100.0


def log_signatures(features: Array, texts: Array) -> Array:
    """log softmax(x W / temperature): features [B, D], texts [T, D] -> [B, T]."""
    scaled = features @ texts.T / SIGNATURE_TEMPERATURE
    scaled -= scaled.max(axis=1, keepdims=True)
    return np.asarray(scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True)))


def class_means(support: Array, labels: Ids, classes: int) -> Array:
    """The mean support feature of each class, [C, D], unit length: its cosines are the nearest-class-mean logits."""
    sums = np.zeros((classes, support.shape[1]), np.float64)
    np.add.at(sums, labels, support)
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), np.float32)


@dataclass(frozen=True, kw_only=True)
class TipX:
    """TIP-X with its parameters. Give it features by blocks: it holds several arrays [B, NM] and [B, T].

    Attributes:
        support: float32 [NM, D], and ``one_hot`` [NM, C] of its labels.
        texts: W, float32 [T, D], that signatures are taken over, and ``signatures`` log q of the support, [NM, T].
        spread: lowest and highest divergence, lowest and highest cosine of the images it was chosen on.
        alpha, beta, gamma: see the module.
    """

    support: Array
    one_hot: Array
    texts: Array
    signatures: Array
    spread: Spread
    alpha: float = 1.0
    beta: float = 5.5
    gamma: float = 1.0

    def logits(self, features: Array, zero_shot: Array | None = None) -> Array:
        """Features [B, D], zero-shot cosines [B, C] or None -> [B, C]."""
        cache = _cache(features @ self.support.T, self.beta) @ self.one_hot
        return _sum(self.alpha * cache + self.gamma * self.alike(self.divergences(features)), zero_shot)

    def divergences(self, features: Array) -> Array:
        """KL(p || q) = sum p (log p - log q) of every query and support image: features [B, D] -> [B, NM]."""
        log_p = log_signatures(features, self.texts)
        p = np.exp(log_p)
        return np.asarray((p * log_p).sum(axis=1, keepdims=True) - p @ self.signatures.T)

    def alike(self, far: Array) -> Array:
        """psi(-KL) L: divergences [B, NM] -> [B, C]."""
        low, high, least, most = self.spread
        scaled = (far - low) / max(high - low, 1e-12) * (most - least) + least
        return np.asarray(-scaled @ self.one_hot)


def search_tip_x(support: Array, labels: Ids, parts: Sequence[Part], texts: Array, *, classes: int) -> TipX:
    """TIP-X with alpha, beta and gamma of the best accuracy on ``parts``; of equal ones the nearest to the defaults.

    Args:
        support: float32 [NM, D], and ``labels`` [NM], class ids of C classes.
        parts: what is judged by which support: all of it by validation images, or folds of it. With none the
            parameters keep their defaults. Where they have no zero-shot cosines alpha stays 1, as only its ratio to
            gamma counts.
        texts: W, float32 [T, D].
        classes: C.
    """
    whole = _fitted(support, labels, support, texts, classes)
    if not parts:
        return whole
    alphas = (TipX.alpha,) if parts[0].zero_shot is None else ALPHAS
    right = np.zeros((len(BETAS), len(alphas), len(GAMMAS)), np.int64)
    spreads = []
    for part in parts:
        tip = _fitted(part.support, part.support_labels, part.features, texts, classes)
        spreads.append(tip.spread)
        for own in blocks(len(part.labels)):
            cosines = None if part.zero_shot is None else part.zero_shot[own]
            right += _right(tip, alphas, part.features[own], part.labels[own], cosines)
    b, a, g = _nearest_to_defaults(right, alphas)
    return replace(whole, spread=_widest(spreads), alpha=alphas[a], beta=BETAS[b], gamma=GAMMAS[g])


def _fitted(support: Array, labels: NDArray[np.integer[Any]], judged: Array, texts: Array, classes: int) -> TipX:
    """With the defaults, and the ranges of ``judged`` [V, D]."""
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    signatures = _signatures(support, texts)
    tip = TipX(support=support, one_hot=one_hot, texts=texts, signatures=signatures, spread=(0.0, 1.0, 0.0, 1.0))
    return replace(tip, spread=_spread(tip, judged))


def _nearest_to_defaults(right: NDArray[np.int64], alphas: Sequence[float]) -> tuple[int, int, int]:
    """Of the candidates [betas, alphas, gammas] with the most right answers: its places."""
    b, a, g = (
        np.abs(np.log(np.maximum(values, _SMALLEST) / default))
        for values, default in ((BETAS, TipX.beta), (alphas, TipX.alpha), (GAMMAS, TipX.gamma))
    )
    far = np.where(right == right.max(), b[:, None, None] + a[:, None] + g, np.inf)
    beta, alpha, gamma = map(int, np.unravel_index(far.argmin(), far.shape))
    return beta, alpha, gamma


def _signatures(support: Array, texts: Array) -> Array:
    return by_blocks(lambda rows: log_signatures(rows, texts), support)


def _spread(tip: TipX, features: Array) -> Spread:
    """Lowest and highest divergence, lowest and highest cosine of features [V, D] with the support."""
    ranges = []
    for own in blocks(len(features)):
        both = (tip.divergences(features[own]), features[own] @ tip.support.T)
        low, high, least, most = (bound for array in both for bound in (float(array.min()), float(array.max())))
        ranges.append((low, high, least, most))
    return _widest(ranges)


def _widest(spreads: Sequence[Spread]) -> Spread:
    low, high, least, most = zip(*spreads, strict=True)
    return min(low), max(high), min(least), max(most)


def _right(
    tip: TipX, alphas: Sequence[float], features: Array, labels: NDArray[np.integer[Any]], zero_shot: Array | None
) -> NDArray[np.int64]:
    """Right answers of every beta, alpha and gamma on some images, [betas, alphas, gammas]."""
    cosines, alike = features @ tip.support.T, tip.alike(tip.divergences(features))
    right = np.zeros((len(BETAS), len(alphas), len(GAMMAS)), np.int64)
    for b, beta in enumerate(BETAS):
        cache = _cache(cosines, beta) @ tip.one_hot
        for (a, alpha), (g, gamma) in product(enumerate(alphas), enumerate(GAMMAS)):
            logits = _sum(alpha * cache + gamma * alike, zero_shot)
            right[b, a, g] = (logits.argmax(axis=1) == labels).sum()
    return right


def _cache(cosines: Array, beta: float) -> Array:
    return np.asarray(np.exp(-beta * (1.0 - cosines)))


def _sum(adapted: Array, zero_shot: Array | None) -> Array:
    return adapted if zero_shot is None else adapted + np.float32(_SCALE) * zero_shot
