"""Labelled images -> features: read and hashed ahead in threads, encoded only where the cache has not got them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coder_engine.counts import count_of
from coder_engine.engine import Engine
from coder_engine.errors import DataError, ImageError
from coder_engine.evaluate.cache import FeatureCache
from coder_engine.evaluate.labelled import Labelled
from coder_engine.images import file_bytes, read_rgb
from coder_engine.stream import batches, decode_ahead

BATCH = 32
_KEEP_EVERY = 512
"""New features between two files of the cache: a stopped run loses no more than these."""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Features of the images that could be read, and what became of the others.

    Attributes:
        data: the images that could be read.
        failed: (path, why) of those that could not.
        computed: how many features were new; the others came from the cache.
    """

    data: Labelled
    failed: tuple[tuple[str, str], ...]
    computed: int


@dataclass(frozen=True, kw_only=True)
class _Read:
    digest: bytes
    pixels: NDArray[np.uint8] | None  # None where the cache has the feature


def embed_images(
    engine: Engine,
    paths: Sequence[str],
    labels: Sequence[int],
    cache: FeatureCache,
    *,
    workers: int,
    advance: Callable[[], object] = lambda: None,
) -> Embedded:
    """Features of labelled images, in bounded memory but for the features themselves.

    Args:
        engine: open, of the model that is evaluated.
        paths, labels: of the images, as long as one another.
        cache: is read and added to.
        workers: decoding threads.
        advance: called once an image, for progress.

    Raises:
        DataError: not one image could be read.
    """
    rows: list[tuple[int, bytes]] = []
    failed: list[tuple[str, str]] = []
    new: list[tuple[bytes, NDArray[np.float32]]] = []
    computed = 0
    place = 0
    stream = decode_ahead(paths, lambda path: _read(engine, path, cache), workers=workers, ahead=2 * BATCH)
    with closing(stream):
        for chunk in batches(stream, BATCH):
            fresh = {}
            for path, got in chunk:
                if isinstance(got, ImageError):
                    failed.append((path, str(got)))
                else:
                    rows.append((place, got.digest))
                    if got.pixels is not None:
                        fresh[got.digest] = got.pixels
                place += 1
                advance()
            if fresh:
                new += zip(fresh, engine.embed(np.stack(list(fresh.values()))), strict=True)
                computed += len(fresh)
            if len(new) >= _KEEP_EVERY:
                _keep(cache, new)
    _keep(cache, new)
    if not rows:
        raise DataError(
            f"none of {count_of(len(paths), 'image')} could be read; the first: {failed[0][1] if failed else 'none'}"
        )
    features = [cache.get(digest) for _, digest in rows]
    data = Labelled(
        features=np.stack([feature for feature in features if feature is not None]),
        labels=np.array([labels[i] for i, _ in rows], np.int64),
        digests=tuple(digest for _, digest in rows),
        paths=tuple(paths[i] for i, _ in rows),
    )
    return Embedded(data=data, failed=tuple(failed), computed=computed)


def _keep(cache: FeatureCache, new: list[tuple[bytes, NDArray[np.float32]]]) -> None:
    if new:
        cache.add([digest for digest, _ in new], np.stack([feature for _, feature in new]))
        new.clear()


def _read(engine: Engine, path: str, cache: FeatureCache) -> _Read | ImageError:
    try:
        content = file_bytes(path)
        digest = hashlib.sha256(content).digest()
        known = cache.get(digest) is not None
        return _Read(digest=digest, pixels=None if known else engine.preprocess(read_rgb(content)))
    except ImageError as err:
        return ImageError(err.kind, f"{path}: {err}")
