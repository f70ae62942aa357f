"""Features computed once: image bytes -> feature, kept in the user's cache folder by content hash.

A folder an engine, named by a hash of the engine file, its preprocessing and the backend that ran it; in it files of
some hundred features each. Each is written whole or not at all, so two runs never harm one another and a run that was
stopped goes on where it was. Deleting the folder costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coder_engine.engine import Engine
from coder_engine.errors import DataError
from coder_engine.evaluate.feature_file import read_npz
from coder_engine.files import replacing, sha256_of
from coder_engine.weights import Weights

Features = dict[bytes, NDArray[np.float32]]


class FeatureCache:
    """The features an engine gave before.

    Args:
        folder: of this engine, see :func:`cache_folder`; None keeps nothing.

    Attributes:
        damaged: files that could not be read; what they held is computed again.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: Features = {}
        self.damaged: list[Path] = []
        for path in sorted(folder.glob("*.npz")) if folder is not None and folder.is_dir() else ():
            try:
                arrays = read_npz(path)
                self._known.update(zip(map(bytes, arrays["digests"]), arrays["features"], strict=True))
            except (DataError, KeyError, ValueError):
                self.damaged.append(path)

    def get(self, digest: bytes) -> NDArray[np.float32] | None:
        """The feature [D] of the image with this sha256, or None."""
        return self._known.get(digest)

    def add(self, digests: list[bytes], features: NDArray[np.float32]) -> None:
        """Keep features [n, D] of the images with these sha256.

        Raises:
            DataError: the cache folder cannot be written.
        """
        self._known.update(zip(digests, features, strict=True))
        if self._folder is None or not digests:
            return
        name = hashlib.sha256(b"".join(digests)).hexdigest()[:32]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._folder / f"{name}.npz") as scratch, scratch.open("wb") as stream:
                np.savez(stream, digests=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32), features=features)
        except OSError as err:
            raise DataError(f"{self._folder}: features cannot be kept ({err}); free space, or pass --no-cache") from err


def cache_folder(engine: Engine, weights: Weights) -> Path:
    """Where the features of an engine are kept: everything that a feature depends on is in the folder's name."""
    backend = engine.description.partition(";")[0]
    parts = [sha256_of(engine.path), weights.meta.tower, json.dumps(weights.meta.preprocess, sort_keys=True), backend]
    return _user_cache() / "coder-engine" / "features" / hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
