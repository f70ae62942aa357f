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


def tiff(bits: int, photometric: int, values: list[int], bands: int = 1) -> bytes:
    """A TIFF of one row, which Pillow does not write with 12 bits, with white as zero or with many bands."""
    if bits == 16:
        data = struct.pack(f"<{len(values)}H", *values)
    else:
        data = int("".join(f"{value:0{bits}b}" for value in values), 2).to_bytes(len(values) * bits // 8, "big")
    short, long = 3, 4
    tags = [
        (256, short, len(values) // bands), (257, short, 1), (258, short, bits), (259, short, 1),
        (262, short, photometric), (273, long, 8), (277, short, bands), (278, short, 1), (279, long, len(data)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)
