from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from coder_engine.errors import ImageError
from coder_engine.images import read_rgb
from helpers_images import PHOTO, encode, tiff


def grey16(values: list[list[int]], mode: str = "I;16") -> Image.Image:
    order = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4", "F": "<f4"}[mode]
    array = np.array(values, dtype=order)
    return Image.frombytes(mode, array.shape[::-1], array.tobytes())


def test_alpha_goes_on_white() -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(200, 100, 0, 255), (200, 100, 0, 0), (200, 100, 0, 128)])
    mixed = tuple(round((c * 128 + 255 * 127) / 255) for c in (200, 100, 0))
    expected = [(200, 100, 0), (255, 255, 255), mixed]
    assert np.abs(np.asarray(read_rgb(image), int)[0] - expected).max() <= 1
    assert np.array_equal(read_rgb(encode(image)), read_rgb(image))


def test_grey_with_alpha_goes_on_white() -> None:
    image = Image.new("LA", (2, 1))
    image.putdata([(40, 255), (40, 0)])
    assert np.asarray(read_rgb(image)).tolist() == [[[40] * 3, [255] * 3]]


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_transparent_palettes_go_on_white_without_a_warning(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    data = encode(image, transparency=transparency)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.asarray(read_rgb(data)).tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_a_transparent_colour_goes_on_white() -> None:
    image = Image.new("RGB", (2, 1))
    image.putdata([(1, 2, 3), (4, 5, 6)])
    assert np.asarray(read_rgb(encode(image, transparency=(1, 2, 3)))).tolist() == [[[255] * 3, [4, 5, 6]]]


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_alpha_goes_on_white(mode: str) -> None:
    assert np.asarray(read_rgb(Image.new(mode, (2, 2)))).min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_other_modes_convert_as_pillow_does(mode: str) -> None:
    image = PHOTO.convert(mode)
    assert np.array_equal(read_rgb(image), image.convert("RGB"))


def test_lab_becomes_srgb() -> None:
    neutral = Image.new("LAB", (2, 2), (255, 128, 128))  # Pillow stores a and b with an offset of 128
    assert np.asarray(read_rgb(neutral)).min() >= 250
    assert np.asarray(read_rgb(Image.new("LAB", (2, 2), (0, 128, 128)))).max() <= 5


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    image = Image.new("RGB", (16, 16), (220, 30, 60))
    assert np.abs(np.asarray(read_rgb(encode(image.convert("CMYK"), "JPEG")), int) - (220, 30, 60)).max() <= 4


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_16_bits_keep_the_high_byte(mode: str) -> None:
    image = grey16([[0, 255, 256], [0x1234, 0x8000, 0xFFFF]], mode)
    assert np.asarray(read_rgb(image))[:, :, 0].tolist() == [[0, 0, 1], [0x12, 0x80, 0xFF]]


def test_16_bit_files_keep_the_high_byte() -> None:
    image = grey16([[0x1234, 0xFFFF]])
    for kind in ("PNG", "TIFF"):
        assert np.asarray(read_rgb(encode(image, kind))).tolist() == [[[0x12] * 3, [0xFF] * 3]]


@pytest.mark.parametrize("value", [-1, 65536])
def test_wider_integers_are_refused(value: int) -> None:
    with pytest.raises(ImageError, match=f"pixels from .*{value}.*, wanted 0 to 65535; save it as 8") as caught:
        read_rgb(grey16([[0, value]] if value > 0 else [[value, 0]], "I"))
    assert caught.value.kind == "unsupported"


def test_floats_are_refused() -> None:
    with pytest.raises(ImageError, match=r"image bytes: 32-bit float pixels .*save it with 8 bits") as caught:
        read_rgb(encode(grey16([[0, 1]], "F"), "TIFF"))
    assert caught.value.kind == "unsupported"


def test_lab_without_littlecms_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageCms

    monkeypatch.setattr(ImageCms, "profileToProfile", lambda *_, **__: None)
    with pytest.raises(ImageError, match="LAB pixels could not be turned into sRGB; save it as RGB"):
        read_rgb(Image.new("LAB", (2, 2)))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_tiffs_of_any_depth_keep_the_highest_bits(bits: int) -> None:
    most = (1 << bits) - 1
    data = tiff(bits, 1, [0, most // 3, most // 2, most])
    assert np.asarray(read_rgb(data))[0, :, 0].tolist() == [0, 85, 127, 255]


@pytest.mark.parametrize("bits", [8, 16])
def test_tiffs_where_white_is_zero(bits: int) -> None:
    most = (1 << bits) - 1
    assert np.asarray(read_rgb(tiff(bits, 0, [0, most // 3, most])))[0, :, 0].tolist() == [255, 170, 0]


@pytest.mark.parametrize(("bits", "bands"), [(16, 13), (8, 5)])
def test_tiffs_of_many_bands_are_refused_and_not_called_damaged(bits: int, bands: int) -> None:
    with pytest.raises(
        ImageError, match="TIFF with pixels of a kind that is not read here; save it as 8-bit"
    ) as caught:
        read_rgb(tiff(bits, 1, [1] * 4 * bands, bands))
    assert caught.value.kind == "unsupported"


def png(bits: int, colour: int, row: bytes, transparent: list[int]) -> bytes:
    """One row of grey (colour 0) or RGB (2) with a transparent colour, of the bits that Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    width = len(row) * 8 // bits // (3 if colour else 1)
    header = struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0)
    keys = struct.pack(f">{len(transparent)}H", *transparent)
    body = chunk(b"IHDR", header) + chunk(b"tRNS", keys) + chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("bits", "colour", "row", "transparent", "found"),
    [
        (1, 0, b"\x7f", [0], [255] * 8),
        (2, 0, b"\x6c", [1], [255, 170, 255, 0]),
        (4, 0, b"\x5c", [5], [255, 204]),
        (8, 0, b"\x05\xc8", [5], [255, 200]),
        (16, 0, b"\x12\x34\x12\x35\xc8\0", [0x1234], [255, 0x12, 0xC8]),
        (16, 2, b"\x12\x34" * 3 + b"\xc8\0" * 3, [0x1234] * 3, [255, 0xC8]),
    ],
)
def test_transparent_colours_of_any_depth_go_on_white(
    bits: int, colour: int, row: bytes, transparent: list[int], found: list[int]
) -> None:
    data = png(bits, colour, row, transparent)
    assert np.asarray(read_rgb(data))[0, :, 0].tolist() == found
    lazy = Image.open(io.BytesIO(data))
    for _ in range(2):  # once it is decoded it does not say how many bits it had
        assert np.asarray(read_rgb(lazy))[0, :, 0].tolist() == found
