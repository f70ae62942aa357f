"""Image features against CODER in the plane: the paper's Figure 5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coder_engine.evaluate.extra import needs_extra
from coder_engine.evaluate.labelled import Labelled

MOST = 1500
"""Images drawn: more take minutes and print on one another."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """One space by t-SNE.

    Attributes:
        title: of the space.
        points: float64 [n, 2].
        labels: class ids [n].
        silhouette: mean silhouette of the classes in the space itself, -1 to 1.
    """

    title: str
    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    silhouette: float


def project(data: Labelled, texts: NDArray[np.float32], *, seed: int = 0) -> list[Projection]:
    """t-SNE of at most ``MOST`` images by their features and by their CODERs, both of unit length.

    The CODERs x W themselves are T wide; x H with H = (W W^T)^(1/2) has the same distances and is D wide.

    Raises:
        DataError: the [eval] extra is not installed.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(data))[:MOST])
    own = data.take(rows)
    values, vectors = np.linalg.eigh(texts.T.astype(np.float64) @ texts)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    coder = own.features @ root
    coder /= np.linalg.norm(coder, axis=1, keepdims=True)
    spaces = {"image features": own.features, f"CODER, {len(texts):,} texts": coder}
    return [_one(title, space, own.labels, seed) for title, space in spaces.items()]


def _one(title: str, space: NDArray[np.floating], labels: NDArray[np.int64], seed: int) -> Projection:
    with needs_extra("t-SNE plots"):
        from sklearn.manifold import TSNE
        from sklearn.metrics import silhouette_score

    perplexity = min(30.0, (len(space) - 1) / 3)
    points = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(space.astype(np.float64))
    several = 1 < len(np.unique(labels)) < len(labels)
    silhouette = float(silhouette_score(space, labels)) if several else float("nan")
    return Projection(title=title, points=np.asarray(points, np.float64), labels=labels, silhouette=silhouette)
