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
    image: Image.Image | NDArray[np.uint8],
    size: tuple[int, int],
    top_left: tuple[int, int],
    crop: tuple[int, int],
    interpolation: str,
) -> NDArray[np.uint8] | None:
    """What ``image.resize`` and then ``crop`` would give; all pairs are (height, width).

    Args:
        image: mode RGB, or uint8 [H, W, 3], contiguous.
        size: of the whole image, resized.
        top_left: the crop's first row and column in it.
        crop: the crop's own size.
        interpolation: "bicubic" or "bilinear".

    Returns:
        uint8 [h, w, 3], or None where that is left to Pillow: the crop reaches beyond the resized image, Pillow
        would resize in another order, a side is over 2^24 pixels, or the pixels are only had by a long copy.
    """
    inside = all(n >= 0 and n + c <= s for n, c, s in zip(top_left, crop, size, strict=True))
    source = image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
    if not inside or _height_first(source, size) or max(*source, *size) > _LONGEST:
        return None
    pixels = image if isinstance(image, np.ndarray) else _pixels_of(image)
    if pixels is None:
        return None
    from coder_engine import _kernels  # here, so that it is `head` that says how to build a missing one

    out = np.empty((*crop, 3), np.uint8)
    _kernels.resize_crop(pixels, out, size=size, top=top_left[0], left=top_left[1], filter=interpolation)
    return out


def _pixels_of(image: Image.Image) -> NDArray[np.uint8] | None:
    """uint8 [H, W, 4], copied where its memory is Pillow's own; None where that takes too long."""
    pixels = jpeg.pixels_of(image)
    if pixels is not None or image.width * image.height > _COPIED:
        return pixels
    return np.frombuffer(image.tobytes("raw", "RGBX"), np.uint8).reshape(image.height, image.width, 4)


def _height_first(source: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether Pillow may resize the height before the width. The pixels between are rounded, so it shows.

    From version 13 on it does so exactly here, where the height loses more than twice what the width does; before, for
    the narrowest strips among these or not at all.
    """
    height, width = size
    return height < source[0] and source[0] - height > 2 * (source[1] - width)
