"""Which image formats are read, how one is told by its first bytes, and what is said of all others."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from coder_engine.errors import ImageError

if TYPE_CHECKING:
    from PIL import ImageFile

    Factory = Callable[[IO[bytes], str], ImageFile.ImageFile]

MAX_PIXELS = 178_956_970
"""Where Pillow itself refuses: twice its ``MAX_IMAGE_PIXELS``, 0.7 GB decoded inside Pillow. A camera's 150
megapixels pass, a few kilobytes that unpack to gigabytes do not."""

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
CLOSED = "Operation on closed image"
"""Pillow's words, where it has any."""
_NOT_PICTURES = ("unknown pixel mode", "Invalid value for samples per pixel")
"""Pillow's words for a whole TIFF of more than 4 bands, of 64-bit numbers, and so on."""
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


def open_header(file: IO[bytes], start: bytes, name: str) -> ImageFile.ImageFile:
    """Read the header only, ``start`` being its first 16 bytes.

    ``PIL.Image.open`` would do, but for its own size check: that warns through process-wide filters, which no
    thread can silence for itself.

    Raises:
        ImageError: not-an-image, unsupported, truncated, unreadable or too-large.
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
        raise broken(err, name, kind) from err


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


def broken(err: Exception, name: str, kind: str | None) -> ImageError:
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
    if isinstance(err, SyntaxError) and words in _NOT_PICTURES:
        return ImageError(
            "unsupported", f"{name}: {kind} with pixels of a kind that is not read here; save it as 8-bit RGB"
        )
    if isinstance(err, ValueError) and words == CLOSED:
        return ImageError("unreadable", f"{name}: was closed; pass it while it is open")
    damage = f"{kind or 'image'} data cut short or damaged ({what})"
    return ImageError("truncated", f"{name}: {damage}; copy or download it again")
