"""When the kernels resize and when Pillow does. That both give open_clip's pixels: test_preprocess.py."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coder_engine.images import read_rgb
from coder_engine.pixels import jpeg
from coder_engine.pixels.resize import resize_crop
from coder_engine.preprocess import Preprocess


def noise(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(height * 10_007 + width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def cropped(image: Image.Image, size: tuple[int, int], crop: tuple[int, int] = (20, 20)) -> Any:
    top_left = ((size[0] - crop[0]) // 2, (size[1] - crop[1]) // 2)
    got = resize_crop(image, size, top_left, crop, "bicubic")
    if got is not None:
        top, left = top_left
        whole = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        wanted = np.asarray(whole.crop((left, top, left + crop[1], top + crop[0])))
        assert np.array_equal(got, wanted)
    return got


def encode(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


@pytest.mark.parametrize(("source", "size"), [((48, 64), (22, 30)), ((64, 48), (30, 22)), ((9, 9), (20, 20))])
def test_the_kernels_resize(source: tuple[int, int], size: tuple[int, int]) -> None:
    assert cropped(noise(*source), size) is not None


def test_padding_is_pillows() -> None:
    assert cropped(noise(40, 80), (19, 40)) is None
    assert cropped(noise(80, 40), (40, 19)) is None


def test_where_pillow_turns_the_order_round_it_is_pillows() -> None:
    assert cropped(noise(60, 60), (40, 50)) is not None  # loses 20 and 10
    assert cropped(noise(60, 60), (39, 50)) is None
    assert cropped(noise(60, 40), (40, 50)) is None
    assert cropped(noise(40, 60), (40, 50)) is not None
    assert cropped(noise(39, 60), (40, 70)) is not None
    tall = noise(300, 100)
    preprocess = Preprocess(size=(32, 32))
    wanted = tall.resize((32, 96), Image.Resampling.BICUBIC).crop((0, 32, 32, 64))
    assert np.array_equal(preprocess(tall), np.asarray(wanted))


@pytest.mark.parametrize(("source", "size"), [((48, 64), (22, 30)), ((30, 22), (48, 64))])
def test_the_longest_sides_are_left_to_pillow(
    source: tuple[int, int], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coder_engine.pixels.resize._LONGEST", 63)
    assert cropped(noise(*source), size) is None
    monkeypatch.setattr("coder_engine.pixels.resize._LONGEST", 64)
    assert cropped(noise(*source), size) is not None


def test_a_long_copy_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise(48, 64)
    monkeypatch.setattr("coder_engine.pixels.resize._COPIED", 48 * 64 - 1)
    assert cropped(image, (22, 30)) is None
    monkeypatch.setattr("coder_engine.pixels.resize._COPIED", 48 * 64)
    assert cropped(image, (22, 30)) is not None


@pytest.mark.skipif(jpeg.why_not() is not None, reason=str(jpeg.why_not()))
class TestDecodedHere:
    def test_nothing_is_copied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        image = read_rgb(encode(noise(48, 64)))
        monkeypatch.setattr("coder_engine.pixels.resize._COPIED", 0)
        assert cropped(image, (22, 30)) is not None

    def test_a_grey_one_has_memory_of_its_own(self) -> None:
        grey = read_rgb(encode(noise(48, 64).convert("L")))
        assert jpeg.pixels_of(grey) is None
        assert cropped(grey, (30, 30)) is not None

    def test_a_changed_one_is_read_anew(self) -> None:
        image = read_rgb(encode(noise(48, 64)))
        pixels = jpeg.pixels_of(image)
        assert pixels is not None
        assert pixels.shape == (48, 64, 4)
        before = cropped(image, (22, 30))
        image.paste((255, 0, 0), (10, 10, 50, 40))
        after = cropped(image, (22, 30))
        assert not np.array_equal(before, after)
