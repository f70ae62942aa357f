"""Features computed once: image bytes -> feature, kept in the user's cache folder by content hash.

A folder an engine, named by a hash of the engine file, its preprocessing and the backend that ran it; in it files of
some hundred features each. Each is written whole or not at all, so two runs never harm one another and a run that was
stopped goes on where it was. Deleting the folder costs time and nothing else, and so does a folder that cannot be
written.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from coder_engine import __version__
from coder_engine.engine import Engine
from coder_engine.errors import DataError
from coder_engine.evaluate.feature_file import read_npz
from coder_engine.files import replacing, sha256_of
from coder_engine.machine.caches import cache_folder
from coder_engine.weights import Weights

Features = dict[bytes, NDArray[np.float32]]


class FeatureCache:
    """The features an engine gave before.

    Args:
        folder: of this engine, see :func:`features_folder`; None keeps nothing.

    Attributes:
        notes: files that could not be read, whose features are computed again, and why nothing more is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: Features = {}
        self.notes: list[str] = []
        for path in sorted(folder.glob("*.npz")) if folder is not None and folder.is_dir() else ():
            try:
                arrays = read_npz(path)
                self._known.update(zip(map(bytes, arrays["digests"]), arrays["features"], strict=True))
            except (DataError, KeyError, ValueError):
                self.notes.append(f"{path}: damaged, computed again; delete it")

    def get(self, digest: bytes) -> NDArray[np.float32] | None:
        """The feature [D] of the image with this sha256, or None."""
        return self._known.get(digest)

    def add(self, digests: list[bytes], features: NDArray[np.float32]) -> None:
        """Keep features [n, D] of the images with these sha256; in memory alone where the folder cannot be written."""
        self._known.update(zip(digests, features, strict=True))
        if self._folder is None or not digests:
            return
        name = hashlib.sha256(b"".join(digests)).hexdigest()[:32]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._folder / f"{name}.npz") as scratch, scratch.open("wb") as stream:
                np.savez(stream, digests=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32), features=features)
        except OSError as err:
            self.notes.append(f"{self._folder}: features are not kept ({err}); free space, or pass --no-cache")
            self._folder = None


def features_folder(engine: Engine, weights: Weights) -> Path | None:
    """Where the features of an engine are kept; None where nothing can be.

    Everything that a feature depends on is in the folder's name: of the backend's description runtime and version,
    device and precision, which come first; not the threads, which come after. What becomes of an image is this
    package's and Pillow's to say, so their versions are in it, too.
    """
    backend = ", ".join(engine.description.partition(";")[0].split(", ")[:3])
    preprocess = json.dumps(weights.meta.preprocess, sort_keys=True)
    readers = f"coder-engine {__version__}, Pillow {PIL.__version__}"
    parts = [sha256_of(engine.path), weights.meta.tower, preprocess, backend, readers]
    return cache_folder(f"features/{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}")
