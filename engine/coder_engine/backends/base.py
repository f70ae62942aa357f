"""What every backend does, and the checks they share.

A backend runs the image encoder: pixels in, unit features out. The matmul with the bank and all that follows is done
in fp32 by the head, so a backend's precision never reaches the ranking itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from coder_engine.errors import EngineError


class Backend(ABC):
    """One open engine file.

    Attributes:
        name: what ``--backend`` calls it.
        suffixes: the engine files it reads.
        size: (H, W) of the pixels the engine takes.
        width: D of the features it gives.
        tower: the image tower's sha256 as recorded in the engine file.
        description: backend, version, device, precision and threads in a few words.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    size: tuple[int, int]
    width: int
    tower: str
    description: str

    @abstractmethod
    def __init__(self, path: Path, *, threads: int) -> None: ...

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Image features of ``pixels``: uint8 [B, H, W, 3] to float32 [B, D], unit length.

        Raises:
            ValueError: the pixels have another dtype or shape.
            BackendError: the runtime failed.
            EngineError: the features it gave have another dtype or shape.
        """
        height, width = self.size
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (height, width, 3):
            raise ValueError(
                f"pixels must be uint8 [B, {height}, {width}, 3], got {pixels.dtype} {list(pixels.shape)}; "
                "resize and crop first, the engine does the scaling"
            )
        if not len(pixels):
            return np.empty((0, self.width), np.float32)
        features = self._run(np.ascontiguousarray(pixels))
        if features.shape != (len(pixels), self.width) or features.dtype != np.float32:
            raise EngineError(
                f"the engine gave {features.dtype} {list(features.shape)} features, wanted float32 "
                f"[{len(pixels)}, {self.width}]; export it again with coder-export"
            )
        return features

    @abstractmethod
    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The runtime's own call, on checked pixels with B >= 1."""
