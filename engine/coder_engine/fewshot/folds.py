"""What an adapter's parameters are chosen on: validation images, or folds of the support that are held out in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coder_engine.fewshot.arrays import check_features, check_labels

MOST_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Labelled images that are neither support nor test.

    Attributes:
        features: floats [V, D], unit length.
        labels: class ids [V].
        zero_shot: cosines [V, C] as :meth:`CoderAdapter.logits` takes them; None to leave them out.
    """

    features: ArrayLike
    labels: ArrayLike
    zero_shot: ArrayLike | None = None


@dataclass(frozen=True)
class Part:
    """An adapter's support and the images it is judged on.

    Attributes:
        support: floats [NM, D].
        support_labels: class ids, int32 [NM].
        features: floats [V, D], of other images.
        labels: int32 [V].
        zero_shot: cosines, float32 [V, C]; None where they are left out.
    """

    support: NDArray[Any]
    support_labels: NDArray[np.int32]
    features: NDArray[Any]
    labels: NDArray[np.int32]
    zero_shot: NDArray[np.float32] | None


def validation_part(rows: NDArray[Any], ids: NDArray[np.int32], validation: Validation, classes: int) -> Part:
    """All of the support, judged on validation images.

    Raises:
        ValueError: the validation images are not as :class:`Validation` says.
    """
    features = check_features(validation.features, "validation features", width=rows.shape[1])
    labels = check_labels(validation.labels, "validation labels", count=len(features), classes=classes)
    zero_shot = validation.zero_shot
    cosines = None if zero_shot is None else check_cosines(zero_shot, len(features), classes)
    return Part(rows, ids, features, labels, cosines)


def folds_of(
    rows: NDArray[Any], ids: NDArray[np.int32], cosines: NDArray[np.float32] | None, seen: NDArray[Any] | None = None
) -> Iterator[Part]:
    """Every image of a class with two or more is held out once, and its class keeps some in every fold.

    Equal rows of a class are one image: with a copy still in the support, it would be judged on what it knows by heart.

    Args:
        rows: floats [NM, D], the support.
        ids: their class ids [NM].
        cosines: zero-shot cosines [NM, C].
        seen: the same images as a prediction sees them, floats [NM, D], which are held out in place of ``rows``.
    """
    place, counts = _places(rows, ids)
    if counts.max() < 2:
        return
    folds = min(MOST_FOLDS, int(counts.max()))
    held = np.where(counts[ids] > 1, place % folds, -1)
    judged = rows if seen is None else seen
    for fold in range(folds):
        out = held == fold
        yield Part(rows[~out], ids[~out], judged[out], ids[out], None if cosines is None else cosines[out])


def _places(rows: NDArray[Any], ids: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The place of each image among the different ones of its class [NM], and how many these are by class [C]."""
    place = np.empty(len(ids), np.int64)
    counts = np.zeros(int(ids.max()) + 1, np.int64)
    for label in np.unique(ids):
        own = np.flatnonzero(ids == label)
        _, first, which = np.unique(rows[own], axis=0, return_index=True, return_inverse=True)
        place[own] = np.argsort(np.argsort(first))[which.reshape(-1)]
        counts[label] = len(first)
    return place, counts


def check_cosines(zero_shot: ArrayLike, count: int, classes: int) -> NDArray[np.float32]:
    found = np.asarray(zero_shot, np.float32)
    if found.shape != (count, classes):
        raise ValueError(f"zero_shot must be [images, C] = [{count}, {classes}], got {list(found.shape)}")
    if not np.isfinite(found).all():
        raise ValueError("zero_shot holds a NaN or an infinity; leave those images out")
    return found
