from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from coder_engine.errors import ImageError
from coder_engine.images import SUFFIXES, read_rgb
from coder_engine.pixels.formats import MAX_PIXELS
from helpers_images import FORMATS, PHOTO, RNG, encode, kind_of, png_of


def huge_png(width: int, height: int) -> bytes:
    """A PNG header that promises width x height pixels, with next to no data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png_of((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))


# sources


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_encoded_bytes(wrap: type) -> None:
    assert np.array_equal(read_rgb(wrap(encode(PHOTO))), PHOTO)


@pytest.mark.parametrize("wrap", [str, Path])
def test_paths(tmp_path: Path, wrap: type) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encode(PHOTO))
    assert np.array_equal(read_rgb(wrap(path)), PHOTO)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_reads_as_pillow_does(kind: str) -> None:
    data = encode(PHOTO, kind)
    assert np.array_equal(read_rgb(data), Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_pil_image_that_needs_nothing_comes_back_itself() -> None:
    assert read_rgb(PHOTO) is PHOTO


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_one_undecoded_image_in_several_threads(kind: str) -> None:
    data = encode(Image.fromarray(RNG.integers(0, 256, (1200, 1200, 3), np.uint8)), kind)
    wanted = np.asarray(read_rgb(data))
    for _ in range(3):
        image = Image.open(io.BytesIO(data))
        with ThreadPoolExecutor(4) as pool:  # as a batch that has the same object more than once
            found = list(pool.map(read_rgb, [image] * 8))
        assert all(np.array_equal(each, wanted) for each in found)


def test_arrays() -> None:
    rgb = np.asarray(PHOTO)
    assert np.array_equal(read_rgb(rgb), rgb)
    assert np.array_equal(read_rgb(rgb[::2, ::-1]), rgb[::2, ::-1])
    grey = np.repeat(rgb[:, :, :1], 3, axis=2)
    assert np.array_equal(read_rgb(rgb[:, :, 0]), grey)
    assert np.array_equal(read_rgb(rgb[:, :, :1]), grey)


def test_an_array_with_alpha_is_composited_on_white() -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    assert np.asarray(read_rgb(rgba)).min() == 255


def test_a_pipe_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with ThreadPoolExecutor(1) as pool:
        image = pool.submit(read_rgb, path)
        path.write_bytes(encode(PHOTO))
        assert np.array_equal(image.result(timeout=60), PHOTO)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be uint8 \[H, W, 3\].*got (uint8|float32) \[.*channels last"):
        read_rgb(array)


@pytest.mark.parametrize("source", [None, 3, [1, 2], object()])
def test_other_objects_are_refused(source: object) -> None:
    with pytest.raises(TypeError, match=f"got {type(source).__name__}; convert it first"):
        read_rgb(source)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG", "AVIF"])
def test_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    red, _, blue = np.asarray(read_rgb(data))[4, 4].tolist()
    assert red > 200
    assert blue < 60


# orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(PHOTO, kind, exif=exif)
    plain = np.asarray(read_rgb(encode(PHOTO, kind)))
    # what the camera must undo, by the EXIF standard's table of where row 0 and column 0 are
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }[orientation]
    upright = read_rgb(data)
    assert np.array_equal(upright, undo(plain))
    assert np.array_equal(read_rgb(upright), upright)
    if kind != "TIFF":
        assert np.array_equal(read_rgb(data, exif=False), plain)


def test_unreadable_exif_turns_nothing() -> None:
    data = encode(PHOTO, "JPEG", exif=b"Exif\0\0nonsense that is no TIFF", dpi=(72, 72))
    assert np.array_equal(read_rgb(data), read_rgb(encode(PHOTO, "JPEG")))


# limits


def test_the_limit_is_checked_before_decoding() -> None:
    wanted = r"bytes: 20000 x 10000 = 200,000,000 pixels, wanted at most 178,956,970; .* raise --max-pixels"
    with pytest.raises(ImageError, match=wanted):
        read_rgb(huge_png(20000, 10000))


def test_the_limit_is_pillows_own() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert abs(2 * Image.MAX_IMAGE_PIXELS - MAX_PIXELS) <= 1


def test_the_limit_can_be_set() -> None:
    assert kind_of(encode(PHOTO), max_pixels=PHOTO.width * PHOTO.height - 1) == "too-large"
    assert read_rgb(encode(PHOTO), max_pixels=PHOTO.width * PHOTO.height).size == PHOTO.size
    assert kind_of(PHOTO, max_pixels=1) == "too-large"
    with pytest.raises(ValueError, match="max_pixels must be at least 1, got 0"):
        read_rgb(PHOTO, max_pixels=0)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF"])
def test_pillows_warning_never_leaks(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    # a small limit of Pillow's stands for a large image: between it and its double Pillow warns
    monkeypatch.setattr("coder_engine.images._PILLOW_WARNS_ABOVE", 1000)
    data = encode(PHOTO, kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", PHOTO.width * PHOTO.height - 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_rgb(data).size == PHOTO.size
    assert caught == []


def test_a_decoder_that_refuses_the_size_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(PHOTO, "WEBP")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageError, match=r"its decoder refuses the size .*make it smaller") as caught:
        read_rgb(data)
    assert caught.value.kind == "too-large"


def test_reading_changes_no_process_wide_setting() -> None:
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters), ImageFile.LOAD_TRUNCATED_IMAGES
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_rgb, [encode(PHOTO, kind) for kind in FORMATS]))
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters), ImageFile.LOAD_TRUNCATED_IMAGES) == before


def test_suffixes_have_a_dot_and_no_capitals() -> None:
    assert ".jpg" in SUFFIXES
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in SUFFIXES)


def test_importing_the_module_loads_no_pillow() -> None:
    code = "import sys, coder_engine.images, coder_engine.preprocess; assert 'PIL' not in sys.modules"
    path = os.pathsep.join(p for p in sys.path if p)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
