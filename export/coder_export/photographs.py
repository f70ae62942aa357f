"""Real photographs for the fidelity check: scikit-image's, or the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coder_engine import labelled_images
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
    pixels = read_pixels(sample_photographs() if folder is None else image_files(folder), preprocess, most=count)
    if not len(pixels):
        raise ModelError(f"{folder}: no readable image in it; give a folder of photographs for the fidelity check")
    return pixels[np.arange(count) % len(pixels)]


def image_files(folder: Path) -> list[Path]:
    """The images in ``folder`` and its sub-folders, in an order that mixes these and is always the same.

    Raises:
        ModelError: no such folder.
        DataError: a folder below it cannot be read.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder; give one with images in it")
    found = [Path(path) for path in labelled_images.image_files(folder)]
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))]


def read_pixels(
    paths: Iterable[Path],
    preprocess: Preprocess,
    *,
    most: int,
    progress: Callable[[int], object] = lambda images: None,
) -> NDArray[np.uint8]:
    """The first ``most`` images that can be read: uint8 [N, H, W, 3], N of 0 to ``most``."""
    pixels: list[NDArray[np.uint8]] = []
    for path in paths:
        if len(pixels) == most:
            break
        try:
            pixels.append(preprocess(read_rgb(path)))
        except ImageError:
            continue
        progress(1)
    return np.stack(pixels) if pixels else np.empty((0, *preprocess.size, 3), np.uint8)
