"""Images of an open engine as labelled features: found, embedded through the cache, and told about."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from coder_engine.engine import Engine
from coder_engine.errors import DataError
from coder_engine.evaluate.cache import FeatureCache
from coder_engine.evaluate.embed import Embedded, embed_images
from coder_engine.evaluate.labelled import Labelled
from coder_engine.evaluate.support import sample_support
from coder_engine.labelled_images import LabelledPaths, find_images, image_files
from coder_engine.stream import Advance


class ImageSource:
    """Reads labelled images for one engine.

    Args:
        engine: open.
        cache: of its features.
        by_order: see ``find_images``.
        workers: decoding threads.
        advance: see ``Advance``.

    Attributes:
        notes: names that matched no label, features that are not kept and the like, a line each.
        failed: (path, why) of images that could not be read.
    """

    def __init__(
        self, engine: Engine, cache: FeatureCache, *, by_order: bool = False, workers: int = 1, advance: Advance
    ) -> None:
        self.notes = cache.notes
        self.failed: list[tuple[str, str]] = []
        self._engine = engine
        self._cache = cache
        self._by_order = by_order
        self._workers = workers
        self._advance = advance

    def labelled(self, source: Path) -> Labelled:
        """All images of a class-folder tree or csv."""
        found = self._find(source)
        return self._embed(found.paths, found.labels).data

    def supports(self, source: Path, shots: list[int], seeds: int) -> dict[int, list[Labelled]]:
        """Support sets drawn from a class-folder tree or csv, by shots, one a seed; only what is drawn is embedded.

        Raises:
            DataError: a class has too few images, or one that was drawn cannot be read.
        """
        found = self._find(source)
        drawn = {
            m: [sample_support(found.labels, self._engine.labels, m, seed=seed) for seed in range(seeds)] for m in shots
        }
        rows = sorted({row for sets in drawn.values() for own in sets for row in own})
        got = self._embed([found.paths[row] for row in rows], [found.labels[row] for row in rows])
        if got.failed:
            raise DataError(f"{source}: a support image cannot be read: {got.failed[0][1]}; repair it or take it out")
        place = {row: i for i, row in enumerate(rows)}
        return {
            m: [got.data.take(np.array([place[row] for row in own], np.int64)) for own in sets]
            for m, sets in drawn.items()
        }

    def unlabelled(self, folder: Path) -> Labelled:
        """Every image below a folder; their labels, all 0, mean nothing.

        Raises:
            DataError: there is none, or a folder cannot be read.
        """
        paths = image_files(folder)
        if not paths:
            raise DataError(f"{folder}: no folder with images; give one of images that are of none of the classes")
        return self._embed(paths, [0] * len(paths)).data

    def _find(self, source: Path) -> LabelledPaths:
        found = find_images(source, self._engine.labels, by_order=self._by_order)
        self.notes += [f"{source}: {note}" for note in found.notes()]
        return found

    def _embed(self, paths: tuple[str, ...] | list[str], labels: tuple[int, ...] | list[int]) -> Embedded:
        advance = self._advance(len(paths))
        got = embed_images(self._engine, paths, labels, self._cache, workers=self._workers, advance=advance)
        self.failed += got.failed
        return got
