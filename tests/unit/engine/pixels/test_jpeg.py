from __future__ import annotations

import io
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, JpegImagePlugin, features

from coder_engine.images import read_rgb
from coder_engine.pixels import jpeg
from helpers_images import PHOTO, RNG, encode, kind_of
from helpers_jpeg import assert_same, by_pillow, plain, special

pytest.importorskip("simplejpeg", reason="simplejpeg is not installed: pip install '.[fast]'")
PLAIN, SPECIAL = plain(), special()


@pytest.fixture
def fills(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether simplejpeg decoded, one entry an image."""
    found: list[bool] = []
    fill = jpeg.fill
    monkeypatch.setattr(jpeg, "fill", lambda image, file: found.append(fill(image, file)) or found[-1])
    return found


@pytest.fixture
def fresh() -> Callable[[], str | None]:
    """``why_not`` without its cache."""
    return jpeg.why_not.__wrapped__


@pytest.mark.parametrize("name", PLAIN)
def test_plain_jpegs_are_decoded_by_simplejpeg_to_pillows_pixels(name: str, fills: list[bool]) -> None:
    image = read_rgb(PLAIN[name])
    assert fills == [True]
    assert np.array_equal(image, by_pillow(PLAIN[name]))


@pytest.mark.parametrize("name", SPECIAL)
def test_other_jpegs_are_left_to_pillow(name: str, fills: list[bool]) -> None:
    assert_same(SPECIAL[name])
    assert fills == [False, False]


def test_pillow_cannot_read_arithmetic_coding_over_64_kb() -> None:
    assert kind_of(SPECIAL["arithmetic over 64 kB"]) == "truncated"


def test_scaled_decoding_is_simplejpegs_too(fills: list[bool]) -> None:
    assert read_rgb(PLAIN["420"], least=(10, 10)).size == (PHOTO.width // 4 + 1, PHOTO.height // 4)
    assert fills == [True]


@pytest.mark.parametrize("quality", [10, 75, 95, 100])
def test_photographs(photographs: list[Path], quality: int, fills: list[bool]) -> None:
    for number, path in enumerate(photographs):
        data = encode(read_rgb(path), "JPEG", quality=quality, subsampling=number % 3, progressive=number % 2 == 1)
        fills.clear()
        assert_same(data)
        assert fills[0]


def test_a_path_reads_as_its_bytes_do(tmp_path: Path, fills: list[bool]) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(PLAIN["420"])
    assert np.array_equal(read_rgb(path), read_rgb(PLAIN["420"]))
    assert fills == [True, True]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_and_what_is_left_of_it(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(PHOTO, "JPEG", exif=exif)
    assert_same(data)
    assert_same(data, exif=False)
    assert np.array_equal(read_rgb(read_rgb(data, exif=False)), read_rgb(data))


def test_the_image_owns_its_pixels() -> None:
    image = read_rgb(PLAIN["420"])
    assert getattr(image, "fp", None) is None  # as after Pillow's load
    copies = [read_rgb(PLAIN["420"]) for _ in range(3)]
    del copies
    before = np.array(image)
    image.paste((1, 2, 3), (0, 0, 5, 5))
    image.load()
    assert image.getpixel((4, 4)) == (1, 2, 3)
    assert np.array_equal(np.asarray(image)[5:], before[5:])
    assert np.array_equal(image.resize((20, 20)), Image.fromarray(np.asarray(image)).resize((20, 20)))
    assert np.array_equal(read_rgb(PLAIN["420"]), before)


def test_an_image_that_the_caller_opened_is_pillows(fills: list[bool]) -> None:
    image = Image.open(io.BytesIO(PLAIN["420"]))
    found = read_rgb(image, least=(8, 8))
    assert fills == []
    assert np.array_equal(found, by_pillow(PLAIN["420"]))


def test_a_file_far_longer_than_its_picture_is_not_read_whole(fills: list[bool]) -> None:
    class Counting(io.BytesIO):
        wanted = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.wanted += len(found := super().read(size))
            return found

    file = Counting(PLAIN["420"] + bytes(4 << 20))
    image = JpegImagePlugin.JpegImageFile(file)
    assert jpeg.fill(image, file) is False
    image.load()
    assert file.wanted < 1 << 18
    assert np.array_equal(image, read_rgb(PLAIN["420"]))


def resized(data: bytes, height: int) -> bytes:
    """Another height written into the frame header."""
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + height.to_bytes(2, "big") + data[at + 7 :]


def test_a_size_that_pillow_has_not_checked_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = PLAIN["420"]
    start, end = data.index(b"\xff\xc0"), data.index(b"\xff\xc0") + 19
    two_frames = resized(data, 60_000)[:end] + data[start:]  # Pillow believes the second, libjpeg the first
    monkeypatch.setattr(jpeg, "_decoder", lambda: pytest.fail("was decoded"))
    assert kind_of(two_frames) == "truncated"
    assert kind_of(resized(data, 60_000), max_pixels=10**6) == "too-large"


@pytest.mark.parametrize("segment", [b"\xff\xe1\0\0", b"\xff\xe1\0\1", b"\xff\x01", b"\xff\xd8", b"junk", b"\xff"])
def test_a_header_with_anything_unusual_is_left_to_pillow(segment: bytes, fills: list[bool]) -> None:
    data = PLAIN["420"]
    assert_same(data[:2] + segment + data[2:])
    assert True not in fills


@pytest.mark.parametrize("data", [b"\xff\xd8", b"\xff\xd8\xff\xc0", b"\xff\xd8\xff\xe0\0\x10JFIF"])
def test_no_frame_header(data: bytes) -> None:
    assert jpeg._frame(data) is None


def test_the_frame_header_is_the_first_thing_but_tables_and_text() -> None:
    data = PLAIN["420"]
    assert jpeg._frame(data) == (0xC0, PHOTO.height, PHOTO.width)
    assert jpeg._frame(data[:2] + b"\0\0\0\2" + data[2:]) is None
    unknown = jpeg._frame(data[:2] + b"\xff\xd8\0\2" + data[2:])
    assert unknown is not None
    assert unknown[0] == 0xD8


def test_a_pixel_array_of_another_size_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "_decoder", lambda: lambda *_, **__: np.zeros((3, 3, 4), np.uint8))
    assert np.array_equal(read_rgb(PLAIN["420"]), by_pillow(PLAIN["420"]))


@pytest.mark.parametrize("error", [ValueError("damaged"), RuntimeError("no decoder"), MemoryError()])
def test_what_simplejpeg_refuses_goes_to_pillow(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(jpeg, "_decoder", lambda: refuse)
    assert np.array_equal(read_rgb(PLAIN["420"]), by_pillow(PLAIN["420"]))


def test_a_disk_that_fails_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(jpeg, "_whole", fail)
    assert kind_of(PLAIN["420"]) == "unreadable"


# when it is used


def test_it_is_used_where_it_is_installed(fresh: Callable[[], str | None]) -> None:
    assert fresh() is None


def test_without_simplejpeg(fresh: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert "pip install 'coder-engine[fast]'" in str(fresh())
    monkeypatch.setattr(jpeg, "why_not", fresh)
    assert np.array_equal(read_rgb(PLAIN["420"]), by_pillow(PLAIN["420"]))


@pytest.mark.parametrize("version", [None, "2.1.5", "4.1.1"])  # another library, an older one, mozjpeg
def test_another_libjpeg_in_pillow(
    fresh: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    monkeypatch.setattr(features, "version_feature", lambda _: version)
    assert f"libjpeg-turbo {version}, wanted 3" in str(fresh())


def test_a_simplejpeg_with_another_interface(fresh: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    old = types.SimpleNamespace(decode_jpeg=lambda data, colorspace: None)
    monkeypatch.setitem(sys.modules, "simplejpeg", old)
    assert "do not fit together (" in str(fresh())


def test_a_simplejpeg_with_other_pixels(fresh: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    other = types.SimpleNamespace(decode_jpeg=lambda *_, **__: RNG.integers(0, 255, (20, 24, 4), np.uint8))
    monkeypatch.setitem(sys.modules, "simplejpeg", other)
    assert "decode a JPEG differently" in str(fresh())


@pytest.mark.parametrize("turn", Image.Transpose, ids=lambda turn: turn.name)
def test_turned_pictures_keep_their_pixels_at_hand(turn: Image.Transpose) -> None:
    image = read_rgb(encode(Image.fromarray(RNG.integers(0, 256, (37, 52, 3), np.uint8)), "JPEG"))
    found = jpeg.turned(image, turn)
    assert found is not None
    wanted = image.transpose(turn)
    assert (found.mode, found.size) == ("RGB", wanted.size)
    assert np.array_equal(found, wanted)
    pixels = jpeg.pixels_of(found)
    assert pixels is not None
    assert np.array_equal(pixels[:, :, :3], np.asarray(wanted))
    assert jpeg.turned(wanted, turn) is None  # which is Pillow's own


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_photographs_are_at_hand_too(orientation: int, fills: list[bool]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(RNG.integers(0, 256, (37, 52, 3), np.uint8)), "JPEG", exif=exif)
    image = read_rgb(data)
    assert jpeg.pixels_of(image) is not None
    assert np.array_equal(image, ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert fills == [True]
