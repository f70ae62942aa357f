"""Support images -> features, by the engine that is fitted, each averaged over several views."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from coder_engine.counts import count_of
from coder_engine.engine import Engine
from coder_engine.errors import DataError, ImageError
from coder_engine.fit.views import views_of
from coder_engine.images import file_bytes, read_rgb
from coder_engine.stream import Advance, batches, decode_ahead

_PIXELS_A_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class SupportImages:
    """What could be read, and what could not.

    Attributes:
        features: means over the views, float32 [NM, D], unit length.
        seen: features of the first views, which are what a prediction would see, float32 [NM, D], unit length.
        labels: class ids, int32 [NM].
        digests: sha256 of each image.
        failed: why the others could not be read.
    """

    features: NDArray[np.float32]
    seen: NDArray[np.float32]
    labels: NDArray[np.int32]
    digests: tuple[bytes, ...]
    failed: tuple[ImageError, ...]

    def take(self, rows: Sequence[int]) -> SupportImages:
        """Some of the images, in the order of ``rows``, with all that could not be read."""
        return replace(
            self,
            features=self.features[rows],
            seen=self.seen[rows],
            labels=self.labels[rows],
            digests=tuple(self.digests[row] for row in rows),
        )


def embed_support(
    engine: Engine,
    paths: Sequence[str],
    ids: NDArray[np.int32],
    *,
    views: int,
    seed: int,
    workers: int,
    advance: Advance,
) -> SupportImages:
    """Features of the images that can be read: means over their views, cut to unit length again.

    Args:
        paths, ids: images and their class ids [N].
        views, seed: see ``views_of``.
        workers: decoding threads.
        advance: told how many images come; what it gives is called after each.

    Raises:
        DataError: not one image could be read.
    """

    rows: list[int] = []
    digests: list[bytes] = []
    failed: list[ImageError] = []
    parts: list[NDArray[np.float32]] = []
    seen: list[NDArray[np.float32]] = []
    size = max(1, _PIXELS_A_BATCH // views)
    count = advance(len(paths))
    read = partial(_read, engine, views, seed)
    with closing(decode_ahead(enumerate(paths), read, workers=workers, ahead=2 * size)) as stream:
        for chunk in batches(stream, size):
            good = []
            for (number, _), got in chunk:
                count()
                if isinstance(got, ImageError):
                    failed.append(got)
                    continue
                rows.append(number)
                digests.append(got[0])
                good.append(got[1])
            if good:
                found = engine.embed(np.concatenate(good)).reshape(len(good), views, -1)
                means = found.mean(axis=1)
                parts.append(means / np.linalg.norm(means, axis=1, keepdims=True))
                seen.append(found[:, 0])
    if not rows:
        raise DataError(f"none of {count_of(len(paths), 'image')} could be read; the first: {failed[0]}")
    return SupportImages(
        features=np.concatenate(parts),
        seen=np.concatenate(seen),
        labels=ids[rows],
        digests=tuple(digests),
        failed=tuple(failed),
    )


def _read(engine: Engine, views: int, seed: int, item: tuple[int, str]) -> tuple[bytes, NDArray[np.uint8]] | ImageError:
    """sha256 and views, uint8 [views, H, W, 3], of one numbered path."""
    number, path = item
    try:
        content = file_bytes(path)
        pixels = views_of(read_rgb(content), engine.preprocess, views, seed=seed + number)
    except ImageError as err:
        return ImageError(err.kind, f"{path}: {err}")
    return hashlib.sha256(content).digest(), pixels
