"""``Image.resize`` and ``Image.crop`` in one, by the kernels: Pillow's bits in a fraction of its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coder_engine.pixels import jpeg

if TYPE_CHECKING:
    from PIL import Image

_COPIED = 1 << 22
"""Pixels: a longer copy out of Pillow's memory takes as long as Pillow's own resizing."""

_LONGEST = 1 << 24  # the kernels' limit: Pillow rounds the length of a longer side


def resize_crop(
    image: Image.Image, size: tuple[int, int], top_left: tuple[int, int], crop: tuple[int, int], interpolation: str
) -> NDArray[np.uint8] | None:
    """What ``image.resize`` and then ``crop`` would give; all pairs are (height, width).

    Args:
        image: mode RGB.
        size: of the whole image, resized.
        top_left: the crop's first row and column in it.
        crop: the crop's own size.
        interpolation: "bicubic" or "bilinear".

    Returns:
        uint8 [h, w, 3], or None where that is left to Pillow: the crop reaches beyond the resized image, Pillow
        would resize in another order, a side is over 2^24 pixels, or the pixels are only had by a long copy.
    """
    inside = all(n >= 0 and n + c <= s for n, c, s in zip(top_left, crop, size, strict=True))
    if not inside or _height_first(image, size) or max(*image.size, *size) > _LONGEST:
        return None
    pixels = jpeg.pixels_of(image)
    if pixels is None:
        if image.width * image.height > _COPIED:
            return None
        copied = np.frombuffer(image.tobytes("raw", "RGBX"), np.uint8)
        pixels = copied.reshape(image.height, image.width, 4)
    from coder_engine import _kernels  # here, so that it is `head` that says how to build a missing one

    out = np.empty((*crop, 3), np.uint8)
    _kernels.resize_crop(pixels, out, size=size, top=top_left[0], left=top_left[1], filter=interpolation)
    return out


def _height_first(image: Image.Image, size: tuple[int, int]) -> bool:
    """Whether Pillow may resize the height before the width. The pixels between are rounded, so it shows.

    From version 13 on it does so exactly here, where the height loses more than twice what the width does; before, for
    the narrowest strips among these or not at all.
    """
    height, width = size
    return height < image.height and image.height - height > 2 * (image.width - width)
