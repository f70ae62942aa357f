"""Support sets: drawn and checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coder_engine.counts import count_of
from coder_engine.errors import DataError
from coder_engine.evaluate.labelled import Labelled, check_classes

_SHOWN = 5


def sample_support(
    labels: Sequence[int] | NDArray[np.int64], names: Sequence[str], shots: int, *, seed: int
) -> list[int]:
    """Rows of ``shots`` random images of each class. More shots of one seed contain the fewer, so curves are nested.

    Args:
        labels: class ids of the images to draw from.
        names: of the C classes.
        shots: images a class.
        seed: of the draw.

    Raises:
        DataError: a class has fewer images.
    """
    rng = np.random.default_rng(seed)
    ids = np.asarray(labels)
    rows: list[int] = []
    for label, name in enumerate(names):
        own = np.flatnonzero(ids == label)
        if len(own) < shots:
            raise DataError(
                f"class {name!r} has {count_of(len(own), 'support image')}, wanted {shots:,}; add images or lower "
                "--shots"
            )
        rows += rng.permutation(own)[:shots].tolist()
    return rows


def check_support(support: Labelled, classes: int, *, where: str, shots: int | None = None) -> None:
    """Refuse a support set that leaves a class empty, or gives some classes more images than others.

    Raises:
        DataError: a label is out of range, a class has no image, or not exactly ``shots`` where that is given.
    """
    check_classes(support, classes, where=where)
    counts = np.bincount(support.labels, minlength=classes)
    if (empty := counts == 0).any():
        raise DataError(f"{where}: no support image for {_some(np.flatnonzero(empty))}; every class needs one")
    wanted = int(counts[0]) if shots is None else shots
    if (off := counts != wanted).any():
        got = ", ".join(f"class {i} {counts[i]}" for i in np.flatnonzero(off)[:_SHOWN])
        raise DataError(f"{where}: wanted {wanted} support images a class, got {got}; give every class as many")


def _some(ids: NDArray[np.int64]) -> str:
    shown = ", ".join(str(i) for i in ids[:_SHOWN])
    return f"{count_of(len(ids), 'class')} ({shown}{', ...' if len(ids) > _SHOWN else ''})"
