"""Anything that holds a picture -> one upright RGB image, by fixed rules and within limits.

Pillow decodes, or simplejpeg for it (:mod:`coder_engine.jpeg`); the choice of formats, the size check and every error
are this module's own.
"""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from coder_engine import jpeg
from coder_engine.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image, ImageFile

    Factory = Callable[[IO[bytes], str], ImageFile.ImageFile]

MAX_PIXELS = 178_956_970
"""Where Pillow itself refuses: twice its ``MAX_IMAGE_PIXELS``, 0.7 GB decoded inside Pillow. A camera's 150
megapixels pass, a few kilobytes that unpack to gigabytes do not."""

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "gif", "bmp", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "pnm", "jp2", "j2k", "avif", "heic", "heif", "qoi"),
    )
)
"""File name endings that say "image" when a folder is searched. Reading never looks at them."""

# Formats with a signature and a decoder that runs nothing else (Pillow's EPS starts Ghostscript), commonest
# first. Icons stay out: their header may claim 16 x 16 over an embedded picture of any size.
_PLUGINS = {
    "JPEG": "PIL.JpegImagePlugin",
    "PNG": "PIL.PngImagePlugin",
    "WEBP": "PIL.WebPImagePlugin",
    "GIF": "PIL.GifImagePlugin",
    "BMP": "PIL.BmpImagePlugin",
    "TIFF": "PIL.TiffImagePlugin",
    "PPM": "PIL.PpmImagePlugin",
    "JPEG2000": "PIL.Jpeg2KImagePlugin",
    "QOI": "PIL.QoiImagePlugin",
    "AVIF": "PIL.AvifImagePlugin",
}
_PILLOW_WARNS_ABOVE = 1 << 26  # and its MAX_IMAGE_PIXELS, which a process may change, is somewhat higher
_WEAK_SIGNATURES = {"BMP", "PPM"}  # two letters, which a text may begin with by chance
_FOREIGN = (
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"<svg", "SVG"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\0\0\1\0", "Windows icon"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypavif", "AVIF"),  # with a Pillow that was built without it
    (4, b"ftyp", "MP4 video"),
    (0, b"\x1aE\xdf\xa3", "Matroska video"),
)


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
    16 bits                      the high byte (value >> 8), never clipped
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
        return _from_file(io.BytesIO(source), "image bytes", rules)
    if isinstance(source, np.ndarray):
        return _to_rgb(_from_array(source))
    from PIL import Image

    if isinstance(source, Image.Image):
        return _finish(source, "PIL image", rules)
    raise TypeError(
        "an image must be a path, bytes, a PIL image or a uint8 array [H, W, 3], "
        f"got {type(source).__name__}; convert it first"
    )


def _from_path(path: str, rules: _Rules) -> Image.Image:
    name = path if path.isprintable() else repr(path)
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
    return _finish(_open(file, start, name), name, rules, file)


def _open(file: IO[bytes], start: bytes, name: str) -> ImageFile.ImageFile:
    """Read the header only.

    ``PIL.Image.open`` would do, but for its own size check: that warns through process-wide filters, which no
    thread can silence for itself.
    """
    found = _find_decoder(start)
    if found is None:
        raise _not_an_image(start, name)
    kind, factory = found
    try:
        return factory(file, "")
    except Exception as err:
        if kind in _WEAK_SIGNATURES:
            raise _not_an_image(start, name) from err
        raise _broken(err, name, kind) from err


def _find_decoder(start: bytes) -> tuple[str, Factory] | None:
    from PIL import Image

    for kind, plugin in _PLUGINS.items():
        try:
            importlib.import_module(plugin)
        except ModuleNotFoundError:  # an older Pillow has no AVIF
            continue
        factory, accept = Image.OPEN[kind]
        if accept is not None and accept(start) is True:
            return kind, factory
    if _foreign(start) == "HEIC" and _has_heif():
        return "HEIF", Image.OPEN["HEIF"][0]
    return None


def _has_heif() -> bool:
    """Whether Pillow can read HEIC, which the optional pillow-heif teaches it."""
    from PIL import Image

    if "HEIF" not in Image.OPEN:
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except ModuleNotFoundError:
            return False
    return True


def _foreign(start: bytes) -> str | None:
    return next((kind for at, magic, kind in _FOREIGN if start[at:].startswith(magic)), None)


def _not_an_image(start: bytes, name: str) -> ImageError:
    kind = _foreign(start)
    if kind is None:
        readable = ", ".join(_PLUGINS)
        got = f"begins with {start[:8]!r}, which is no image"
        return ImageError("not-an-image", f"{name}: {got}; wanted {readable}")
    mend = "pip install pillow-heif, or convert it to JPEG" if kind == "HEIC" else "convert it to JPEG or PNG"
    return ImageError("unsupported", f"{name}: {kind} is not read here; {mend}")


def _broken(err: Exception, name: str, kind: str | None) -> ImageError:
    """The one place where whatever Pillow and its codecs raise becomes an ImageError."""
    from PIL import Image

    words = " ".join(str(err).split())  # codecs end some of theirs with a newline
    what = f"{type(err).__name__}: {words}" if words else type(err).__name__
    if isinstance(err, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return ImageError("too-large", f"{name}: its decoder refuses the size ({words}); make it smaller")
    if isinstance(err, MemoryError):
        return ImageError("too-large", f"{name}: not enough memory to decode it; make it smaller")
    if isinstance(err, OSError) and err.errno is not None:
        return ImageError("unreadable", f"{name}: reading failed ({what}); check the disk")
    damage = f"{kind or 'image'} data cut short or damaged ({what})"
    return ImageError("truncated", f"{name}: {damage}; copy or download it again")


def _finish(image: Image.Image, name: str, rules: _Rules, file: IO[bytes] | None = None) -> Image.Image:
    """Check the size, decode, turn upright, make RGB. ``file`` is where this module itself opened the image."""
    pixels = image.width * image.height
    if pixels > rules.max_pixels:
        raise ImageError(
            "too-large",
            f"{name}: {image.width} x {image.height} = {pixels:,} pixels, wanted at most {rules.max_pixels:,}; "
            "make it smaller, or raise max_pixels if you trust it",
        )
    try:
        _load(image, rules, file)
        turn = _turn(image) if rules.exif else None
    except Exception as err:
        raise _broken(err, name, image.format) from err
    try:
        rgb = _to_rgb(image)
    except ImageError as err:
        raise ImageError(err.kind, f"{name}: {err}") from err
    if turn is None:
        return rgb
    upright = rgb.transpose(turn)
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


def _to_rgb(image: Image.Image) -> Image.Image:
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
