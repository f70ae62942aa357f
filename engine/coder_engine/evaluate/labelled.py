"""Image features with their classes, checked once: nothing behind this module meets a NaN or a foreign label."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.errors import DataError

MOST_CLASSES = 100_000
"""Several times the classes of any data set. A higher label is a mistake, and there are arrays [C] by the highest."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Features of labelled images.

    Attributes:
        features: float32 [B, D], unit length.
        labels: int64 [B], class ids.
        digests: sha256 of each image, or of its feature where there is no image: equal images have equal ones.
        paths: where each image came from; empty where only features are known.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    digests: tuple[bytes, ...]
    paths: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Labelled:
        """Some of the images, in the order of ``rows``."""
        return Labelled(
            features=self.features[rows],
            labels=self.labels[rows],
            digests=tuple(self.digests[row] for row in rows),
            paths=tuple(self.paths[row] for row in rows) if self.paths else (),
        )

    @property
    def digest(self) -> str:
        """Hex sha256 over images and labels: tells on what something was fitted."""
        whole = hashlib.sha256(b"".join(self.digests))
        whole.update(self.labels.astype("<i8").tobytes())
        return whole.hexdigest()


def labelled(features: NDArray[Any], labels: NDArray[Any], *, where: str) -> Labelled:
    """Check features and labels from a file, and bring the features to unit length in float32.

    Args:
        features: any float dtype [B, D].
        labels: any integer dtype [B]; whole numbers of a float dtype are taken too.
        where: what to call them in an error.

    Raises:
        DataError: shapes do not fit, a feature is NaN, infinite or all zero, or a label is negative, no whole number,
            or ``MOST_CLASSES`` or more.
    """
    rows = unit_rows(features, where=f"{where}: features")
    if labels.shape != (len(rows),):
        raise DataError(f"{where}: wanted one label a feature, [{len(rows)}], got labels {list(labels.shape)}")
    if labels.dtype.kind not in "iu" and not (labels.dtype.kind == "f" and (labels == np.round(labels)).all()):
        raise DataError(f"{where}: labels must be class ids, whole numbers from 0, got dtype {labels.dtype}")
    if (labels < 0).any():
        raise DataError(f"{where}: labels must be class ids from 0, got {labels.min()}")
    if (labels >= MOST_CLASSES).any():
        raise DataError(
            f"{where}: labels must be class ids, 0 to {MOST_CLASSES - 1}, got {labels.max()}; number the classes from 0"
        )
    ids = labels.astype(np.int64)
    digests = tuple(hashlib.sha256(row.tobytes()).digest() for row in rows)
    return Labelled(features=rows, labels=ids, digests=digests)


def unit_rows(rows: NDArray[Any], *, where: str) -> NDArray[np.float32]:
    """Rows [N, D] of any float dtype as float32 of unit length; fp16 files are off by a thousandth.

    Raises:
        DataError: another shape or dtype, or a row that is NaN, infinite or all zero.
    """
    if rows.ndim != 2 or 0 in rows.shape or rows.dtype.kind != "f":
        raise DataError(f"{where} must be floats [N, D] of at least one row, got {rows.dtype} {list(rows.shape)}")
    exact = rows.astype(np.float64)
    broken = np.asarray(~np.isfinite(exact).all(axis=1))
    if broken.any():
        raise DataError(f"{where}: {_rows(broken)} hold NaN or infinity; compute them again, or leave them out")
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    zero = np.asarray(lengths[:, 0] == 0)
    if zero.any():
        raise DataError(f"{where}: {_rows(zero)} are all zero and have no direction; leave them out")
    return np.asarray(exact / lengths, np.float32)


def check_width(features: NDArray[np.float32], width: int, *, where: str, other: str) -> None:
    """Refuse features of another model.

    Raises:
        DataError: they are not ``width`` wide, as ``other`` is.
    """
    if features.shape[1] != width:
        raise DataError(
            f"{where} is {features.shape[1]} wide, {other} is {width} wide: they come from different models; "
            "compute both with the same one"
        )


def check_classes(data: Labelled, classes: int, *, where: str) -> None:
    """Refuse labels past the last class.

    Raises:
        DataError: a label is ``classes`` or more.
    """
    if (data.labels >= classes).any():
        raise DataError(
            f"{where}: labels must be class ids, 0 to {classes - 1}, got {data.labels.max()}; "
            "it was labelled with another list of classes"
        )


def shared_images(one: Labelled, other: Labelled) -> list[tuple[int, int]]:
    """(row of ``one``, row of ``other``) of images that are in both, by hash: the first such row of ``other``."""
    places = {digest: row for row, digest in reversed(list(enumerate(other.digests)))}
    return [(row, places[digest]) for row, digest in enumerate(one.digests) if digest in places]


def _rows(bad: NDArray[np.bool_]) -> str:
    found = np.flatnonzero(bad)
    return f"{len(found):,} of {len(bad):,} rows (the first is row {found[0]})"
