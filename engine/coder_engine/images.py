"""Anything that holds a picture -> one upright RGB image, by fixed rules and within limits.

Pillow decodes, or simplejpeg for it (:mod:`coder_engine.pixels.jpeg`); the choice of formats
(:mod:`coder_engine.pixels.formats`), the size check and every error are ours.
"""

from __future__ import annotations

import io
import os
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from coder_engine.errors import ImageError
from coder_engine.pixels import jpeg
from coder_engine.pixels.colours import to_rgb, transparent_colour
from coder_engine.pixels.formats import CLOSED, MAX_PIXELS, broken, open_header

if TYPE_CHECKING:
    from PIL import Image, ImageFile

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "gif", "bmp", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "pnm", "jp2", "j2k", "avif", "heic", "heif", "qoi"),
    )
)
"""File name endings that say "image" when a folder is searched. Reading never looks at them."""

_LOCKS = tuple(threading.Lock() for _ in range(64))
"""By identity of an image somebody else opened: where a batch has it twice, two threads must not decode it at once."""

_PILLOW_WARNS_ABOVE = 1 << 26  # and its MAX_IMAGE_PIXELS, which a process may change, is somewhat higher


@dataclass(frozen=True, kw_only=True)
class _Rules:
    """What a caller of ``read_rgb`` chose."""

    max_pixels: int
    exif: bool
    least: tuple[int, int] | None


def read_rgb(
    source: Any, *, max_pixels: int = MAX_PIXELS, exif: bool = True, least: tuple[int, int] | None = None
) -> Image.Image:
    """Read one picture as an upright RGB image.

    ===========================  ========================================================================
    what the picture has         what becomes of it
    ===========================  ========================================================================
    EXIF or XMP orientation      applied; ``exif=False`` leaves it, as open_clip does (Pillow turns a TIFF)
    alpha, transparent palette   composited on white
    grey, palette, 1 bit         RGB
    CMYK, YCCK, YCbCr, HSV       RGB by Pillow's formulas
    LAB                          sRGB by LittleCMS
    12 and 16 bits               the 8 highest, never clipped
    32-bit integers (mode I)     read as 16 bits; a value outside 0..65535 is refused
    32-bit floats (mode F)       refused: they do not say which value is white
    several frames or pages      the first
    an ICC profile               ignored, as open_clip does
    a wrong suffix               ignored: the content decides
    bytes after the end          ignored
    a cut or damaged body        refused, unless this process set ``ImageFile.LOAD_TRUNCATED_IMAGES``
    ===========================  ========================================================================

    Args:
        source: a path, encoded bytes, a PIL image, or a uint8 array [H, W, 3], [H, W, 4], [H, W, 1], [H, W].
        max_pixels: refuse more than this, from the header, before decoding. Arrays are not checked.
        exif: apply the orientation.
        least: (height, width): decode a JPEG file, or the bytes of one, to a half, a quarter or an eighth where it
            keeps at least this many pixels. Quicker, and not the same pixels. By default all of it is decoded.

    Returns:
        A PIL image of mode RGB; the very object given where there was nothing to do.

    Raises:
        ImageError: with ``kind`` missing, unreadable, empty, truncated (also: damaged), too-large,
            not-an-image or unsupported.
        ValueError, TypeError: ``source`` is no picture of a kind above.
    """
    if max_pixels < 1:
        raise ValueError(f"max_pixels must be at least 1, got {max_pixels}")
    if least is not None and min(least) < 1:
        raise ValueError(f"least must be (height, width), at least 1 each, got {least}; None decodes all of it")
    rules = _Rules(max_pixels=max_pixels, exif=exif, least=least)
    if isinstance(source, (str, os.PathLike)):
        return _from_path(os.fspath(source), rules)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_file(io.BytesIO(source), name_of(source), rules)
    if isinstance(source, np.ndarray):
        return to_rgb(_from_array(source))
    from PIL import Image

    if isinstance(source, Image.Image):
        return _finish(source, name_of(source), rules)
    raise TypeError(
        "an image must be a path, bytes, a PIL image or a uint8 array [H, W, 3], "
        f"got {type(source).__name__}; convert it first"
    )


def file_bytes(path: str) -> bytes:
    """All of an image file.

    Raises:
        ImageError: unreadable.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as err:  # ValueError: a NUL in the path
        why = getattr(err, "strerror", None) or err
        raise ImageError("unreadable", f"{why}; check the path and its permissions") from err


def name_of(source: Any) -> str:
    """What messages call a source: its path on one line, or what kind it is."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        return path if isinstance(path, str) and path.isprintable() else repr(path)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "image bytes"
    return "image array" if isinstance(source, np.ndarray) else "PIL image"


def _from_path(path: str, rules: _Rules) -> Image.Image:
    name = name_of(path)
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a path may be bytes
            if not file.seekable():
                return _from_file(io.BytesIO(file.read()), name, rules)
            return _from_file(file, name, rules)
    except FileNotFoundError as err:
        raise ImageError("missing", f"{name}: no such file; check the path") from err
    except IsADirectoryError as err:
        raise ImageError("unreadable", f"{name}: is a folder, wanted an image file; pass its files") from err
    except PermissionError as err:
        raise ImageError("unreadable", f"{name}: permission denied; make it readable for this user") from err
    except (OSError, ValueError) as err:
        raise ImageError("unreadable", f"{name}: cannot be read ({err}); check path and disk") from err


def _from_array(array: NDArray[Any]) -> Image.Image:
    from PIL import Image

    shape = array.shape
    flat = array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not flat or 0 in shape:
        raise ValueError(
            "an image array must be uint8 [H, W, 3], [H, W, 4], [H, W, 1] or [H, W] with H, W >= 1, "
            f"got {array.dtype} {list(shape)}; pass images before normalisation, channels last"
        )
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if shape[2:] == (1,) else array))


def _from_file(file: IO[bytes], name: str, rules: _Rules) -> Image.Image:
    start = file.read(16)
    if not start:
        raise ImageError("empty", f"{name}: 0 bytes, wanted an image; copy or download it again")
    file.seek(0)
    return _finish(open_header(file, start, name), name, rules, file)


def _finish(image: Image.Image, name: str, rules: _Rules, file: IO[bytes] | None = None) -> Image.Image:
    """Check the size, decode, turn upright, make RGB. ``file`` is where this module itself opened the image."""
    pixels = image.width * image.height
    if not pixels:  # a crop of nothing
        raise ImageError("empty", f"{name}: {image.width} x {image.height} pixels, wanted at least 1 x 1; leave it out")
    if pixels > rules.max_pixels:
        raise ImageError(
            "too-large",
            f"{name}: {image.width} x {image.height} = {pixels:,} pixels, wanted at most {rules.max_pixels:,}; "
            "make it smaller, or raise --max-pixels (max_pixels) if you trust it",
        )
    try:
        with nullcontext() if file is not None else _LOCKS[id(image) // 16 % len(_LOCKS)]:
            transparent = transparent_colour(image)
            _load(image, rules, file)
            turn = _turn(image) if rules.exif else None
    except Exception as err:
        raise broken(err, name, image.format) from err
    try:
        rgb = to_rgb(image, transparent)
    except ImageError as err:
        raise ImageError(err.kind, f"{name}: {err}") from err
    except Exception as err:  # a palette or a transparency that the header promised and the body lacks
        raise broken(err, name, image.format) from err
    if turn is None:
        return rgb
    upright = jpeg.turned(rgb, turn) or rgb.transpose(turn)
    upright.info = {}  # else a second reading would turn it again
    return upright


def _load(image: Image.Image, rules: _Rules, file: IO[bytes] | None) -> None:
    """Decode. An image that somebody else opened may be read by them again: nothing is chosen for it."""
    if file is not None:
        opened = cast("ImageFile.ImageFile", image)
        if rules.least is not None:
            jpeg.shrink(opened, _as_stored(rules.least, _turn(image) if rules.exif else None))
        if jpeg.fill(opened, file):
            return
    elif getattr(image, "tile", None) and getattr(image, "fp", None) is None:
        raise ValueError(CLOSED)
    _allocate(image)
    image.load()


def _as_stored(least: tuple[int, int], turn: Image.Transpose | None) -> tuple[int, int]:
    from PIL import Image

    upright = (None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_180)
    return least if turn in upright else (least[1], least[0])


def _allocate(image: Image.Image) -> None:
    """Give a large TIFF its memory: where Pillow does that itself, it checks the size again and may warn."""
    from PIL import Image

    undecoded = image.format == "TIFF" and getattr(image, "tile", None)
    if undecoded and image.width * image.height > _PILLOW_WARNS_ABOVE:
        image.im = Image.new(image.mode, getattr(image, "_tile_size", image.size)).im


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The transposition that EXIF asks for. Unreadable EXIF asks for none, as in every viewer."""
    from PIL import Image

    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:
        return None
    return {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
