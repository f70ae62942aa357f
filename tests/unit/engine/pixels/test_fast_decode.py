from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coder_engine.engine import Engine
from coder_engine.images import read_rgb
from helpers_images import PHOTO, encode, kind_of
from helpers_jpeg import assert_same, by_pillow

LARGE = PHOTO.resize((640, 480))
JPEG = encode(LARGE, "JPEG", quality=95)


@pytest.mark.parametrize(
    ("least", "size"),
    [
        ((1, 1), (80, 60)),
        ((60, 80), (80, 60)),
        ((61, 80), (160, 120)),
        ((60, 81), (160, 120)),
        ((120, 160), (160, 120)),
        ((121, 160), (320, 240)),
        ((240, 320), (320, 240)),
        ((241, 320), (640, 480)),
        ((240, 321), (640, 480)),
        ((5000, 5000), (640, 480)),
    ],
)
def test_a_jpeg_keeps_at_least_so_much(least: tuple[int, int], size: tuple[int, int]) -> None:
    assert read_rgb(JPEG, least=least).size == size
    assert_same(JPEG, least=least)


def test_sides_that_do_not_divide() -> None:
    data = encode(LARGE.crop((0, 0, 633, 475)), "JPEG")
    assert read_rgb(data, least=(100, 100)).size == (159, 119)
    assert_same(data, least=(100, 100))


def test_an_image_that_is_not_large_enough_keeps_its_pixels() -> None:
    assert np.array_equal(read_rgb(JPEG, least=(300, 300)), by_pillow(JPEG))


def test_the_smaller_picture_is_the_same_picture() -> None:
    small = np.asarray(read_rgb(JPEG, least=(120, 160)), float)
    assert np.abs(small - np.asarray(LARGE.resize((160, 120), Image.Resampling.BOX), float)).mean() < 2


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_the_least_is_meant_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(LARGE, "JPEG", exif=exif)
    turned = orientation >= 5
    assert read_rgb(data, least=(160, 120)).size == ((120, 160) if turned else (320, 240))
    assert read_rgb(data, least=(160, 120), exif=False).size == (320, 240)
    assert_same(data, least=(160, 120))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk(mode: str) -> None:
    data = encode(LARGE.convert(mode), "JPEG")
    assert read_rgb(data, least=(120, 160)).size == (160, 120)
    assert_same(data, least=(120, 160))


def test_several_pictures_in_one_jpeg() -> None:
    data = encode(LARGE, "MPO", save_all=True, append_images=[LARGE.rotate(180)], quality=95)
    assert np.array_equal(read_rgb(data, least=(120, 160)), read_rgb(JPEG, least=(120, 160)))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_other_formats_are_not_touched(kind: str) -> None:
    assert read_rgb(encode(LARGE, kind), least=(8, 8)).size == LARGE.size


def test_other_sources_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    with Image.open(path) as opened:
        assert read_rgb(opened, least=(8, 8)).size == LARGE.size
    assert read_rgb(np.asarray(LARGE), least=(8, 8)).size == LARGE.size
    assert read_rgb(path, least=(8, 8)).size == (80, 60)


def test_the_limit_counts_the_whole_picture() -> None:
    assert kind_of(JPEG, least=(8, 8), max_pixels=640 * 480 - 1) == "too-large"


@pytest.mark.parametrize("least", [(0, 8), (8, -1)])
def test_a_least_of_nothing(least: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"least must be \(height, width\), at least 1 each, got \("):
        read_rgb(JPEG, least=least)


def test_the_engine_decodes_to_twice_its_size(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coder_engine import reader as module

    seen: list[tuple[int, int] | None] = []
    monkeypatch.setattr(module, "read_rgb", lambda image, *, least, **_: seen.append(least) or PHOTO)
    exact, fast = Engine(tiny), Engine(tiny, fast_decode=True)
    exact.embed([JPEG])
    fast.embed([JPEG])
    height, width = exact.preprocess.size
    assert seen == [None, (2 * height, 2 * width)]


def test_fast_features_are_near_and_small_images_keep_theirs(tiny: Path, photographs: list[Path]) -> None:
    exact, fast = Engine(tiny), Engine(tiny, fast_decode=True)
    jpegs = [encode(read_rgb(path), "JPEG", quality=90) for path in photographs]
    cosines = (exact.embed(jpegs) * fast.embed(jpegs)).sum(axis=1)
    assert cosines.min() > 0.98
    assert cosines.max() < 1
    height, width = exact.preprocess.size
    small = encode(LARGE.resize((4 * width - 1, 4 * height - 1)), "JPEG")
    assert np.array_equal(exact.embed([small]), fast.embed([small]))
