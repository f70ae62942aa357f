"""Decoded pixels of any kind -> RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coder_engine.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image


def to_rgb(image: Image.Image) -> Image.Image:
    """The same pixels in mode RGB, by the table of ``read_rgb``; the very object given where it is so.

    Raises:
        ImageError: unsupported: nothing says what its values mean in colours.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_high_bytes(image)
    if image.mode == "F":
        raise ImageError(
            "unsupported",
            "32-bit float pixels do not say which value is white; save it with 8 bits, or pass a uint8 array",
        )
    if image.mode == "LAB":
        return _from_lab(image)
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    return _on_white(image) if image.has_transparency_data else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    rgba = image.convert("RGBA")
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=rgba)
    return white


def _from_high_bytes(image: Image.Image) -> Image.Image:
    from PIL import Image

    values = np.asarray(image)
    if image.mode == "I" and (values.min() < 0 or values.max() > 0xFFFF):
        raise ImageError(
            "unsupported",
            f"pixels from {values.min()} to {values.max()}, wanted 0 to 65535; save it as 8 or 16 bits",
        )
    return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    rgb = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if rgb is None:
        raise ImageError("unsupported", "LAB pixels could not be turned into sRGB; save it as RGB")
    return rgb
