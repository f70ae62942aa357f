"""Several looks at one support image: the image itself, then random crops, every other one mirrored."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coder_engine.preprocess import Preprocess

LEAST_AREA = 0.5
"""Of the image, in a crop. Tip-Adapter's cache and the authors of CODER crop so."""

_RATIO = math.log(4 / 3)


def views_of(image: Image.Image, preprocess: Preprocess, count: int, *, seed: int) -> NDArray[np.uint8]:
    """The first is what a prediction would see; the same seed gives the same crops.

    Args:
        image: RGB, upright.
        count: how many views, at least 1.
        seed: of the crops, one an image.

    Returns:
        uint8 [count, H, W, 3].
    """
    random = np.random.default_rng(seed)
    views = [preprocess(image)]
    for number in range(1, count):
        crop = image.crop(_box(image.size, random))
        pixels = preprocess(crop)
        views.append(pixels[:, ::-1] if number % 2 else pixels)
    return np.stack(views)


def _box(size: tuple[int, int], random: np.random.Generator) -> tuple[int, int, int, int]:
    """A part of the image with 0.5 to 1 of its area and 3/4 to 4/3 of its shape, cut to what fits."""
    area = size[0] * size[1] * random.uniform(LEAST_AREA, 1)
    shape = size[0] / size[1] * math.exp(random.uniform(-_RATIO, _RATIO))
    width = min(size[0], max(1, round(math.sqrt(area * shape))))
    height = min(size[1], max(1, round(math.sqrt(area / shape))))
    left = int(random.integers(0, size[0] - width + 1))
    top = int(random.integers(0, size[1] - height + 1))
    return left, top, left + width, top + height
