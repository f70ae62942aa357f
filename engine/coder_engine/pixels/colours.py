"""Decoded pixels of any kind -> RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coder_engine.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image


_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
"""TIFF's tags, and a value of the second."""

_TRANSPARENT = "_coder_transparent"
"""The attribute of an image that keeps its transparent colour."""
_GREY_STEPS = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies a PNG's grey values of 2 and 4 bits with, by what it calls them."""


def transparent_colour(image: Image.Image) -> Any:
    """The colour that a PNG calls transparent, as its pixels will have it, where Pillow leaves it as in the file.

    Decoding forgets how many bits the file has, so it is asked for before, and kept for a further reading; None where
    Pillow's own is right, or others have decoded the image. Of 16 bits a channel only the high bytes are decoded, and
    so compared.
    """
    tile, colour = getattr(image, "tile", None), image.info.get("transparency")
    if image.format != "PNG" or not tile or colour is None:
        return getattr(image, _TRANSPARENT, None)
    found = None
    if tile[0][3] == "RGB;16B":
        found = tuple(value >> 8 for value in colour)
    elif tile[0][3] in _GREY_STEPS:
        found = colour * _GREY_STEPS[tile[0][3]]
    setattr(image, _TRANSPARENT, found)
    return found


def to_rgb(image: Image.Image, transparent: Any = None) -> Image.Image:
    """The same pixels in mode RGB, by the table of ``read_rgb``; the very object given where it is so.

    Args:
        transparent: what :func:`transparent_colour` said.

    Raises:
        ImageError: unsupported: nothing says what its values mean in colours.
    """
    if transparent is not None:
        image = image.copy()
        image.info["transparency"] = transparent
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
    bits = _tiff_tag(image, _BITS, 16) if image.mode != "I" else 16
    if image.mode != "I" and _tiff_tag(image, _PHOTOMETRIC, None) == _WHITE_IS_ZERO:
        values = (1 << bits) - 1 - values
    grey = (values >> (bits - 8)).astype(np.uint8)
    if (transparent := image.info.get("transparency")) is not None:
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _tiff_tag(image: Image.Image, tag: int, default: int | None) -> Any:
    """A number of a TIFF's header, the first of several; the default for all other images."""
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return value[0] if isinstance(value, tuple) else value


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    rgb = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if rgb is None:
        raise ImageError("unsupported", "LAB pixels could not be turned into sRGB; save it as RGB")
    return rgb
