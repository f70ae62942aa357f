from __future__ import annotations

import io
import struct
import sys
import types
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from coder_engine.errors import ImageError
from coder_engine.images import read_rgb
from helpers_images import FORMATS, PHOTO, RNG, encode, kind_of


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
