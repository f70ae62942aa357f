"""JPEG through simplejpeg, where that is installed: Pillow's pixels in less time; and JPEGs decoded small.

Both are libjpeg-turbo. The time saved is Pillow's rows: simplejpeg writes Pillow's own memory layout at once.
Pillow reads the header and stays the judge: whatever simplejpeg refuses, or only warns of, Pillow decodes.
"""

from __future__ import annotations

import functools
import importlib
import io
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image, ImageFile

_LAYOUTS = {"RGB": "RGBX", "L": "GRAY"}
"""Pillow's mode -> simplejpeg's name for how Pillow keeps it in memory. CMYK is Pillow's: it inverts some."""

_PIXELS = "_coder_pixels"
"""The attribute of an image that holds its memory as Pillow knows it, and the array that this memory is."""

_Turn = Callable[[NDArray[np.uint32]], NDArray[np.uint32]]
_TURNS: dict[str, _Turn] = {
    "FLIP_LEFT_RIGHT": lambda whole: whole[:, ::-1],
    "FLIP_TOP_BOTTOM": lambda whole: whole[::-1],
    "ROTATE_90": lambda whole: whole.T[::-1],
    "ROTATE_180": lambda whole: whole[::-1, ::-1],
    "ROTATE_270": lambda whole: whole[::-1].T,
    "TRANSPOSE": lambda whole: whole.T,
    "TRANSVERSE": lambda whole: whole[::-1, ::-1].T,
}
"""By the name of Pillow's transposition, of pixels [H, W] that are one number each."""

_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # Pillow cannot read arithmetic coding across its 64 kB blocks
_TABLES_AND_TEXT = frozenset({0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE})


def shrink(image: ImageFile.ImageFile, least: tuple[int, int]) -> None:
    """Have a JPEG decoded to a half, a quarter or an eighth, while it keeps ``least`` (height, width) pixels.

    Other fractions would be nearer, but neither quicker (they have no SIMD code) nor in Pillow's reach.
    """
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (least[1], least[0]))


def fill(image: ImageFile.ImageFile, file: IO[bytes]) -> bool:
    """Decode ``image``, which Pillow opened from ``file``, to what its ``load`` would give.

    Returns:
        False where that is left to Pillow: nothing has changed then.

    Raises:
        OSError: the file could not be read.
    """
    if image.format != "JPEG" or image.mode not in _LAYOUTS or why_not() is not None:
        return False
    data = _whole(image, file)
    pixels = _decode(data, image) if data is not None and _is_plain(data, image) else None
    if pixels is None:
        return False
    _give(image, pixels)
    return True


def pixels_of(image: Image.Image) -> NDArray[np.uint8] | None:
    """The memory of an image of mode RGB, uint8 [H, W, 4], the fourth byte being padding; not a copy.

    Returns:
        None where ``fill`` did not decode it, or it has got other memory since.
    """
    owner, pixels = getattr(image, _PIXELS, (None, None))
    return pixels if image.mode == "RGB" and owner is image.im else None


def turned(image: Image.Image, turn: Image.Transpose) -> Image.Image | None:
    """What ``image.transpose(turn)`` gives, with ``pixels_of`` of its own; None where the image has none.

    Whole pixels are moved, in half of Pillow's time, and they can be resized without another copy.
    """
    pixels = pixels_of(image)
    if pixels is None:
        return None
    whole = np.ascontiguousarray(_TURNS[turn.name](pixels.view(np.uint32)[:, :, 0]))
    height, width = whole.shape
    memory = whole.view(np.uint8).reshape(height, width, 4)
    upright = image._new(_as_memory(memory, (width, height), "RGB"))
    setattr(upright, _PIXELS, (upright.im, memory))
    return upright


@functools.cache
def why_not() -> str | None:
    """Why Pillow decodes every JPEG here; None where simplejpeg does."""
    try:
        importlib.import_module("simplejpeg")
    except ImportError as err:
        return f"simplejpeg cannot be imported ({err}); pip install 'coder-engine[fast]'"
    from PIL import features

    version = features.version_feature("libjpeg_turbo")
    if version is None or not version.startswith("3."):
        return f"Pillow decodes JPEG with libjpeg-turbo {version}, wanted 3, as in simplejpeg; pip install -U pillow"
    try:
        same = _agree()
    except Exception as err:  # another version of either, with another interface
        return f"simplejpeg and Pillow do not fit together ({err}); pip install -U simplejpeg pillow"
    return None if same else "simplejpeg and Pillow decode a JPEG differently; pip install -U simplejpeg pillow"


def _agree() -> bool:
    """Whether both decode a small JPEG, its colours at half size, to the same pixels."""
    from PIL import Image, JpegImagePlugin

    ramp = np.arange(24 * 20 * 3, dtype=np.uint32).reshape(20, 24, 3) * 2654435761 >> 24
    file = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint8)).save(file, "JPEG", subsampling=2)
    data = file.getvalue()
    ours, theirs = (JpegImagePlugin.JpegImageFile(io.BytesIO(data)) for _ in range(2))
    _give(ours, _decoder()(data, "RGBX", strict=True))
    return ours.tobytes() == theirs.tobytes()


def _decoder() -> Callable[..., NDArray[np.uint8]]:
    decode: Callable[..., NDArray[np.uint8]] = importlib.import_module("simplejpeg").decode_jpeg
    return decode


def _whole(image: ImageFile.ImageFile, file: IO[bytes]) -> bytes | None:
    """The file's bytes; None where it is far longer than its picture, after whose end Pillow reads no more."""
    scale = _scale(image)
    if file.seek(0, io.SEEK_END) > 4 * image.width * image.height * scale * scale + (1 << 20):
        return None
    file.seek(0)
    return file.read()


def _is_plain(data: bytes, image: ImageFile.ImageFile) -> bool:
    """Whether the data are Huffman coded and of the size that Pillow checked against its limit."""
    scale = _scale(image)
    frame = _frame(data)
    if frame is None:
        return False
    coding, *sides = frame
    return coding in _HUFFMAN_FRAMES and [-(-side // scale) for side in sides] == [image.height, image.width]


def _frame(data: bytes) -> tuple[int, int, int] | None:
    """(marker, height, width) of the frame header; None where anything unusual comes before it."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker not in _TABLES_AND_TEXT:
            height, width = data[at + 5 : at + 7], data[at + 7 : at + 9]
            return marker, int.from_bytes(height, "big"), int.from_bytes(width, "big")
        at += 2 + length
    return None


def _decode(data: bytes, image: ImageFile.ImageFile) -> NDArray[np.uint8] | None:
    # no minimum where all is wanted: it picks the smallest fraction that rounds up to the minimum
    scaled = {"min_height": image.height, "min_width": image.width} if _scale(image) > 1 else {}
    try:
        # strict: a warning is a refusal
        pixels = _decoder()(data, _LAYOUTS[image.mode], fastdct=False, fastupsample=False, strict=True, **scaled)
    except (ValueError, RuntimeError, MemoryError):
        return None
    return pixels if pixels.shape[:2] == (image.height, image.width) else None


def _scale(image: ImageFile.ImageFile) -> int:
    """The divisor that ``shrink`` chose."""
    config: tuple[Any, ...] = image.decoderconfig
    return int(config[0]) if config else 1


def _give(image: ImageFile.ImageFile, pixels: NDArray[np.uint8]) -> None:
    """Make the array the image's memory."""
    image.im = _as_memory(pixels, image.size, image.mode)
    image.tile = []
    image.fp = None
    setattr(image, _PIXELS, (image.im, pixels))


def _as_memory(pixels: NDArray[np.uint8], size: tuple[int, int], mode: str) -> Any:
    """Pillow's view of the array. ``Image.frombuffer`` would copy RGB, which costs what was saved."""
    from PIL import _imaging  # the C behind Image.frombuffer

    return _imaging.map_buffer(pixels, size, "raw", 0, (mode, 0, 1))
