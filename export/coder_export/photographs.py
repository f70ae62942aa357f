"""Real photographs for the fidelity check: scikit-image's, or the user's own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coder_engine.errors import ImageError, ModelError
from coder_engine.images import read_rgb
from coder_engine.preprocess import Preprocess

NAMES = (
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "astronaut.png",
    "motorcycle_left.png",
    "retina.jpg",
    "hubble_deep_field.jpg",
    "camera.png",
)


def sample_photographs() -> list[Path]:
    """The photographs that scikit-image carries in its wheel: a cat, a cup of coffee, a rocket, ..."""
    folder = Path(str(files("skimage.data")))
    return [folder / name for name in NAMES]


def photograph_pixels(folder: Path | None, preprocess: Preprocess, *, count: int = 8) -> NDArray[np.uint8]:
    """``count`` photographs as the engine takes them: uint8 [count, H, W, 3], repeated where there are fewer.

    Raises:
        ModelError: ``folder`` has no readable image.
    """
    paths = sample_photographs() if folder is None else sorted(path for path in folder.iterdir() if path.is_file())
    pixels: list[NDArray[np.uint8]] = []
    for path in paths:
        try:
            pixels.append(preprocess(read_rgb(path)))
        except ImageError:
            if folder is None:
                raise
        if len(pixels) == count:
            break
    if not pixels:
        raise ModelError(f"{folder}: no readable image in it; give a folder of photographs for the fidelity check")
    return np.stack([pixels[i % len(pixels)] for i in range(count)])
