"""PNGs whose chunks do not fit together, with the checksums that a random flip of bits would break."""

from __future__ import annotations

import struct
import zlib
from itertools import product

import pytest
from PIL import Image

from coder_engine.errors import ImageError
from coder_engine.images import read_rgb
from helpers_images import png_of

SIDE = 8
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By PNG's colour type."""


def png(depth: int, colour: int, palette: int, transparency: int) -> bytes:
    """SIDE x SIDE pixels under a palette and a tRNS of so many bytes; 0 leaves the chunk out."""
    row = b"\0" + bytes([0xB5]) * -(-SIDE * depth * CHANNELS[colour] // 8)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header)]
    chunks += [(b"PLTE", bytes(palette))] if palette else []
    chunks += [(b"tRNS", bytes(transparency))] if transparency else []
    return png_of(*chunks, (b"IDAT", zlib.compress(row * SIDE)), (b"IEND", b""))


def outcome(data: bytes) -> str:
    try:
        image = read_rgb(data)
    except ImageError as err:
        return err.kind
    assert (image.mode, image.size) == ("RGB", (SIDE, SIDE))
    return "read"


@pytest.mark.parametrize("depth", [1, 8])
@pytest.mark.parametrize("colour", CHANNELS)
def test_chunks_that_do_not_fit_together_are_an_image_error_at_most(depth: int, colour: int) -> None:
    sizes = product((0, 1, 3, 768, 900), (0, 1, 2, 6, 256, 300))
    assert {outcome(png(depth, colour, *each)) for each in sizes} <= {"read", "truncated"}


def test_a_palette_that_is_not_there() -> None:
    with pytest.raises(ImageError, match="PNG data cut short or damaged"):
        read_rgb(png(8, 3, 0, 0))


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("transparency", [300, -1, b"", bytes(900), (1, 2), "white", None])
def test_an_image_object_with_an_odd_transparency(mode: str, transparency: object) -> None:
    image = Image.new(mode, (SIDE, SIDE))
    image.info["transparency"] = transparency
    try:
        assert read_rgb(image).mode == "RGB"
    except ImageError as err:
        assert err.kind == "truncated"  # noqa: PT017 - both are fine, but nothing else
