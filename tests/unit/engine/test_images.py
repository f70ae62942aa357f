from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import types
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from coder_engine.errors import ImageError
from coder_engine.images import MAX_PIXELS, SUFFIXES, read_rgb

RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(RNG.integers(0, 256, (12, 18, 3), dtype=np.uint8)).resize((90, 60))
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "QOI"]


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey16(values: list[list[int]], mode: str = "I;16") -> Image.Image:
    order = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4", "F": "<f4"}[mode]
    array = np.array(values, dtype=order)
    return Image.frombytes(mode, array.shape[::-1], array.tobytes())


def kind_of(source: object, **options: object) -> str:
    with pytest.raises(ImageError) as caught:
        read_rgb(source, **options)
    return caught.value.kind


def huge_png(width: int, height: int) -> bytes:
    """A PNG header that promises width x height pixels, with next to no data."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


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


# colours


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


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG", "AVIF"])
def test_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    red, _, blue = np.asarray(read_rgb(data))[4, 4].tolist()
    assert red > 200
    assert blue < 60


# limits


def test_the_limit_is_checked_before_decoding() -> None:
    with pytest.raises(ImageError, match=r"bytes: 20000 x 10000 = 200,000,000 pixels, wanted at most 178,956,970"):
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


# bad files


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png: no such file; check the path") as caught:
        read_rgb(tmp_path / "gone.png")
    assert caught.value.kind == "missing"


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder, wanted an image file") as caught:
        read_rgb(tmp_path)
    assert caught.value.kind == "unreadable"


def test_permission_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match=r"a.png: permission denied; make it readable") as caught:
        read_rgb("a.png")
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize("path", ["a\0b.png", "x" * 5000])
def test_impossible_paths(path: str) -> None:
    with pytest.raises(ImageError, match=r"cannot be read .*check path and disk") as caught:
        read_rgb(path)
    assert caught.value.kind == "unreadable"


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty.jpg: 0 bytes, wanted an image; copy") as caught:
        read_rgb(tmp_path / "empty.jpg")
    assert caught.value.kind == "empty"
    assert kind_of(b"") == "empty"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.01, 0.5, 0.97])
def test_a_cut_file_is_never_half_an_image(kind: str, part: float) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encode(noise, kind)
    assert kind_of(data[: max(16, int(len(data) * part))]) in ("truncated", "not-an-image")


def test_a_cut_jpeg_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(encode(PHOTO, "JPEG")[:-200])
    words = r"cut\.jpg: JPEG data cut short or damaged .*truncated.*download it again"
    with pytest.raises(ImageError, match=words) as caught:
        read_rgb(path)
    assert caught.value.kind == "truncated"


def test_bytes_after_the_end_are_fine() -> None:
    for kind in FORMATS:
        data = encode(PHOTO, kind)
        assert np.array_equal(read_rgb(data + b"trailing garbage" * 9), read_rgb(data))


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    photo, text = tmp_path / "photo.png", tmp_path / "notes.jpg"
    photo.write_bytes(encode(PHOTO, "JPEG"))
    text.write_text("Not a picture at all, only words.")
    assert read_rgb(photo).size == PHOTO.size
    with pytest.raises(ImageError, match=r"notes\.jpg: begins with b'Not a pi', which is no image; wanted JPEG, P"):
        read_rgb(text)


@pytest.mark.parametrize("text", [b"BMW makes cars", b"P1 is a grand prix class", b"x"])
def test_a_text_with_a_weak_signature_is_no_image(text: bytes) -> None:
    assert kind_of(text) == "not-an-image"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%PDF-1.7 ....", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"\0\0\1\0\1\0\x10\x10", "Windows icon"),
        (b"\0\0\0\x20ftypisom\0\0", "MP4 video"),
    ],
)
def test_known_formats_that_are_not_read(data: bytes, kind: str) -> None:
    with pytest.raises(ImageError, match=f"{kind} is not read here; convert it to JPEG or PNG") as caught:
        read_rgb(data)
    assert caught.value.kind == "unsupported"


def test_avif_with_a_pillow_that_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(PHOTO, "AVIF")
    monkeypatch.setitem(Image.OPEN, "AVIF", (None, lambda prefix: "AVIF support not installed"))
    with pytest.raises(ImageError, match="AVIF is not read here; convert it to JPEG or PNG"):
        read_rgb(data)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_heic_names_the_package_that_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(ImageError, match="HEIC is not read here; pip install pillow-heif"):
        read_rgb(HEIC)


def test_heic_is_read_where_the_package_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = types.ModuleType("pillow_heif")
    opened = Image.open(io.BytesIO(encode(PHOTO)))

    def register_heif_opener() -> None:
        monkeypatch.setitem(Image.OPEN, "HEIF", (lambda *_: opened, None))

    monkeypatch.setattr(plugin, "register_heif_opener", register_heif_opener, raising=False)
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    assert np.array_equal(read_rgb(HEIC), PHOTO)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SyntaxError("broken"), "truncated"),
        (struct.error("short"), "truncated"),
        (EOFError(), "truncated"),
        (ValueError("two\nlines\n"), "truncated"),
        (zlib.error("bad"), "truncated"),
        (ValueError("bad"), "truncated"),
        (OSError("broken data stream"), "truncated"),
        (OSError(5, "Input/output error"), "unreadable"),
        (MemoryError(), "too-large"),
        (Image.DecompressionBombError("no"), "too-large"),
    ],
)
@pytest.mark.parametrize("method", ["_open", "load"])
def test_no_exception_of_pillow_escapes(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str, method: str
) -> None:
    from PIL import PngImagePlugin

    def fail(_: object) -> None:
        raise error

    data = encode(PHOTO)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, method, fail)
    with pytest.raises(ImageError) as caught:
        read_rgb(data)
    assert caught.value.kind == kind
    assert caught.value.__cause__ is not None
    assert "\n" not in str(caught.value)


def test_an_unprintable_name_stays_on_one_line(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\\nb.png': no such file"):
        read_rgb(tmp_path / "a\nb.png")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMATS), st.data())
def test_damaged_files_read_or_raise_image_error(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(encode(PHOTO, kind))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, min(len(damaged), 400) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks about damaged metadata
        try:
            image = read_rgb(bytes(damaged), max_pixels=10**6)
        except ImageError as err:
            assert "\n" not in str(err)  # noqa: PT017
        else:
            assert image.mode == "RGB"


def test_suffixes_have_a_dot_and_no_capitals() -> None:
    assert ".jpg" in SUFFIXES
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in SUFFIXES)


def test_importing_the_module_loads_no_pillow() -> None:
    code = "import sys, coder_engine.images, coder_engine.preprocess; assert 'PIL' not in sys.modules"
    path = os.pathsep.join(p for p in sys.path if p)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
