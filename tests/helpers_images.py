"""Small pictures and their encodings, for the tests of reading images."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from coder_engine.errors import ImageError
from coder_engine.images import read_rgb

RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(RNG.integers(0, 256, (12, 18, 3), dtype=np.uint8)).resize((90, 60))
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "QOI"]


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def kind_of(source: object, **options: object) -> str:
    with pytest.raises(ImageError) as caught:
        read_rgb(source, **options)
    return caught.value.kind


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of any chunks, (name, content), each with its length and a checksum that is right."""
    sealed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(sealed)
