"""``_kernels.resize_crop`` against Pillow, bit for bit; its arguments."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from coder_engine import _kernels

Pixels = NDArray[np.uint8]
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def noise(height: int, width: int) -> Pixels:
    """Half of it black or white, so that the bicubic filter overshoots both ways."""
    rng = np.random.default_rng(height * 10_007 + width)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.where(rng.random(pixels.shape) < 0.5, pixels // 128 * 255, pixels).astype(np.uint8)


def ours(pixels: Pixels, size: tuple[int, int], box: tuple[int, int, int, int], **options: Any) -> Pixels:
    """``box`` is top, left, height, width."""
    padded = np.full((*pixels.shape[:2], 4), 211, np.uint8)
    padded[:, :, :3] = pixels
    out = np.full((box[2], box[3], 3), 77, np.uint8)
    _kernels.resize_crop(padded, out, size=size, top=box[0], left=box[1], **options)
    three = np.full_like(out, 78)
    _kernels.resize_crop(pixels, three, size=size, top=box[0], left=box[1], **options)
    assert np.array_equal(three, out)
    return out


def pillows(pixels: Pixels, size: tuple[int, int], box: tuple[int, int, int, int], name: str) -> Pixels:
    top, left, height, width = box
    image = Image.fromarray(pixels).resize((size[1], size[0]), FILTERS[name])
    return np.asarray(image.crop((left, top, left + width, top + height)))


def check(pixels: Pixels, size: tuple[int, int], box: tuple[int, int, int, int] | None = None) -> None:
    box = box or (0, 0, *size)
    for name in FILTERS:
        wanted = pillows(pixels, size, box, name)
        for isa in _kernels.isas():
            assert np.array_equal(ours(pixels, size, box, filter=name, isa=isa), wanted), (name, isa)


@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((480, 640), (224, 298)),
        ((640, 480), (298, 224)),
        ((61, 67), (224, 246)),  # up
        ((50, 70), (50, 70)),  # neither pass
        ((50, 70), (50, 33)),  # one pass
        ((50, 70), (33, 70)),
        ((50, 70), (50, 171)),
        ((50, 70), (171, 70)),
        ((50, 70), (171, 33)),  # up and down
        ((1, 1), (5, 7)),
        ((1, 90), (3, 8)),
        ((90, 1), (90, 8)),
        ((40, 1), (9, 1)),
        ((37, 1001), (36, 1)),
        ((1999, 3), (1, 3)),
        ((7, 2503), (6, 2)),
    ],
)
def test_sizes_as_pillow(source: tuple[int, int], size: tuple[int, int]) -> None:
    check(noise(*source), size)


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (59, 79, 1, 1), (0, 17, 60, 41), (13, 0, 4, 80), (21, 30, 33, 7)])
def test_crops_as_pillow(box: tuple[int, int, int, int]) -> None:
    check(noise(130, 170), (60, 80), box)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_photographs_as_pillow(name: str) -> None:
    pixels = getattr(pytest.importorskip("skimage.data"), name)()
    check(pixels, (224, 310), (0, 43, 224, 224))


sides = st.one_of(st.integers(1, 12), st.integers(13, 150))


@settings(max_examples=200, deadline=None)
@given(source=st.tuples(sides, sides), size=st.tuples(sides, sides), data=st.data())
@example((12, 8), (6, 5), None)  # at the border of what Pillow does in the other order
@example((11, 8), (6, 5), None)
def test_any_size_and_crop_as_pillow(source: tuple[int, int], size: tuple[int, int], data: Any) -> None:
    both = size[0] < source[0] and size[1] != source[1]
    assume(not both or source[0] - size[0] <= 2 * (source[1] - size[1]))
    box = (0, 0, *size)
    if data is not None:
        height, width = data.draw(st.integers(1, size[0])), data.draw(st.integers(1, size[1]))
        top, left = data.draw(st.integers(0, size[0] - height)), data.draw(st.integers(0, size[1] - width))
        box = (top, left, height, width)
    check(noise(*source), size, box)


GOOD: dict[str, Any] = {"size": (5, 6), "top": 1, "left": 2}


@pytest.mark.parametrize(
    ("shape", "out", "options", "words"),
    [
        ((4, 4, 2), (2, 3, 3), {}, r"image must be \[H, W, 3\] or \[H, W, 4\] = \[any, any, 4\], got \[4, 4, 2\]"),
        ((4, 4, 4), (2, 3, 4), {}, r"out must be \[h, w, 3\] = \[any, any, 3\], got \[2, 3, 4\]"),
        ((0, 4, 4), (2, 3, 3), {}, r"image must have at least 1 x 1 pixels of 3 or 4 bytes, got \[0, 4, 4\]"),
        ((4, 4, 4), (2, 0, 3), {}, "out must be at least 1 in width, got 0"),
        ((4, 4, 4), (2, 3, 3), {"size": (0, 6)}, "the resized height must be at least 1, got 0"),
        ((4, 4, 4), (2, 3, 3), {"top": 4}, "must lie inside the resized height of 5, got top 4 and 2 pixels"),
        ((4, 4, 4), (2, 3, 3), {"left": -1}, "must lie inside the resized width of 6, got left -1 and 3 pixels"),
        ((4, 4, 4), (2, 3, 3), {"filter": "box"}, "filter must be 'bicubic' or 'bilinear', got 'box'"),
        ((4, 4, 4), (2, 3, 3), {"isa": "sse9"}, "isa must be one this CPU has .*, got 'sse9'"),
    ],
)
def test_wrong_arguments_are_refused(
    shape: tuple[int, ...], out: tuple[int, ...], options: dict[str, Any], words: str
) -> None:
    to = np.full(out, 77, np.uint8)
    with pytest.raises(ValueError, match=words):
        _kernels.resize_crop(np.zeros(shape, np.uint8), to, **{**GOOD, **options})
    assert (to == 77).all()


def test_another_dtype_a_strided_and_a_read_only_array_are_refused() -> None:
    image, out = np.zeros((4, 4, 4), np.uint8), np.zeros((2, 3, 3), np.uint8)
    wrong: Any = image.astype(np.int8)
    with pytest.raises(TypeError):
        _kernels.resize_crop(wrong, out, **GOOD)
    with pytest.raises(TypeError):
        _kernels.resize_crop(image[::2], out, **GOOD)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writable"):
        _kernels.resize_crop(image, out, **GOOD)


def test_the_gil_is_released() -> None:
    image, out = np.zeros((4000, 4000, 4), np.uint8), np.zeros((500, 500, 3), np.uint8)
    started, done = threading.Event(), threading.Event()

    def resize() -> None:
        started.set()
        _kernels.resize_crop(image, out, size=(500, 500), top=0, left=0, isa="scalar")
        done.set()

    thread = threading.Thread(target=resize)
    thread.start()
    started.wait()
    turns = 0
    while not done.is_set():
        time.sleep(0.001)
        turns += 1
    thread.join()
    assert turns > 3
