from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from coder_engine.errors import ImageError
from coder_engine.preprocess import Preprocess

INTERPOLATIONS = ["bicubic", "bilinear"]
MODES = ["shortest", "longest", "squash"]


def noise(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(height * 10_007 + width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def reference(preprocess: Preprocess, image: Image.Image) -> np.ndarray:
    """open_clip's own transform, up to its scaling to floats."""
    transform = pytest.importorskip("open_clip.transform").image_transform(
        preprocess.size,
        is_train=False,
        resize_mode=preprocess.resize_mode,
        interpolation=preprocess.interpolation,
        fill_color=preprocess.fill,
    )
    names = [type(step).__name__ for step in transform.transforms]
    for step in transform.transforms[: names.index("MaybeToTensor")]:
        image = step(image)
    return np.asarray(image)


def check(preprocess: Preprocess, image: Image.Image) -> None:
    got = preprocess(image)
    frame = preprocess.array(np.asarray(image))
    assert frame is None or np.array_equal(frame, got)
    assert got.dtype == np.uint8
    assert got.shape == (*preprocess.size, 3)
    assert np.array_equal(got, reference(preprocess, image))


def test_the_reference_takes_floats_from_these_pixels() -> None:
    torch = pytest.importorskip("torch")
    transform = pytest.importorskip("open_clip.transform").image_transform(
        32, is_train=False, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )
    image = noise(50, 70)
    pixels = torch.from_numpy(Preprocess(size=(32, 32))(image)).permute(2, 0, 1)
    assert torch.equal(transform(image), pixels.float().div(255))


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", [(224, 224), (96, 160)])
def test_photographs_as_open_clip(name: str, mode: Any, interpolation: Any, size: tuple[int, int]) -> None:
    data = pytest.importorskip("skimage.data")
    preprocess = Preprocess(size=size, interpolation=interpolation, resize_mode=mode, fill=37)
    check(preprocess, Image.fromarray(getattr(data, name)()))


sides = st.one_of(st.integers(1, 12), st.integers(13, 150))


@settings(max_examples=150, deadline=None)
@given(
    source=st.tuples(sides, sides),
    size=st.integers(1, 64).map(lambda n: (n, n)) | st.tuples(st.integers(1, 64), st.integers(1, 64)),
    mode=st.sampled_from(MODES),
    interpolation=st.sampled_from(INTERPOLATIONS),
    fill=st.integers(0, 255),
)
@example((1, 150), (32, 32), "shortest", "bicubic", 0)
@example((150, 1), (32, 32), "shortest", "bilinear", 0)
@example((32, 32), (32, 32), "shortest", "bicubic", 0)
@example((32, 32), (32, 32), "longest", "bicubic", 9)
@example((31, 33), (32, 32), "shortest", "bicubic", 0)
@example((5, 7), (32, 32), "longest", "bicubic", 200)
@example((33, 71), (32, 48), "shortest", "bilinear", 0)
@example((47, 101), (32, 32), "shortest", "bicubic", 0)
def test_any_size_as_open_clip(source: Any, size: Any, mode: Any, interpolation: Any, fill: int) -> None:
    if mode == "longest":
        ratio = max(source[0] / size[0], source[1] / size[1])
        assume(round(min(source) / ratio) >= 1)  # where it rounds to nothing, open_clip fails
    check(Preprocess(size=size, interpolation=interpolation, resize_mode=mode, fill=fill), noise(*source))


def test_a_strip_that_rounds_to_nothing_leaves_one_row() -> None:
    pixels = Preprocess(size=(32, 32), resize_mode="longest", fill=7)(noise(1, 4000))
    rows = np.flatnonzero((pixels != 7).any(axis=(1, 2)))
    assert rows.tolist() == [15]


def test_a_strip_that_would_fill_the_memory_is_refused() -> None:
    strip = Image.new("RGB", (1_000_000, 1))
    words = r"1000000 x 1 pixels would become 224000000 x 224 .*at most .*crop it"
    with pytest.raises(ImageError, match=words) as caught:
        Preprocess(size=(224, 224))(strip)
    assert caught.value.kind == "too-large"


def test_the_result_is_a_copy() -> None:
    image = noise(32, 32)
    pixels = Preprocess(size=(32, 32))(image)
    pixels[:] = 0
    assert np.asarray(image).any()


def test_a_frame_takes_no_image_but_where_pillow_is_needed() -> None:
    frame = np.asarray(noise(50, 70))
    for pixels in (frame, np.asfortranarray(frame), frame[::-1, ::-1], np.ma.masked_array(frame)):
        found = Preprocess(size=(32, 32)).array(pixels)
        assert found is not None
        assert np.array_equal(found, Preprocess(size=(32, 32))(Image.fromarray(np.ascontiguousarray(pixels))))
    assert Preprocess(size=(32, 32), resize_mode="longest").array(frame) is None
    with pytest.raises(ImageError, match="1000000 x 1 pixels would become"):
        Preprocess(size=(224, 224)).array(np.zeros((1, 1_000_000, 3), np.uint8))


def test_other_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="must be RGB, got mode L; read it with"):
        Preprocess(size=(32, 32))(Image.new("L", (40, 40)))


def test_json_round_trip() -> None:
    preprocess = Preprocess(size=(32, 48), interpolation="bilinear", resize_mode="longest", fill=3)
    data = json.loads(json.dumps(preprocess.to_json()))
    assert data == {"size": [32, 48], "interpolation": "bilinear", "resize_mode": "longest", "fill": 3}
    assert Preprocess.from_json(data) == preprocess


GOOD = Preprocess(size=(32, 32)).to_json()


@pytest.mark.parametrize("data", [{}, {**GOOD, "crop": 0.9}, {k: GOOD[k] for k in GOOD if k != "fill"}])
def test_json_with_other_keys_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"preprocessing must have the keys \['fill', .*got .*; export it again"):
        Preprocess.from_json(data)


@pytest.mark.parametrize("size", [32, None, "32"])
def test_json_with_another_size_is_refused(size: object) -> None:
    with pytest.raises(ValueError, match=r"size must be \[height, width\], got .*export it again"):
        Preprocess.from_json({**GOOD, "size": size})


@pytest.mark.parametrize("size", [32, (32,), (0, 32), (32, 32.0), (True, 32), [32, 32]])
def test_wrong_sizes_are_refused(size: Any) -> None:
    with pytest.raises(ValueError, match=r"size must be \(height, width\) in pixels, at least 1 each, got"):
        Preprocess(size=size)


def test_wrong_choices_are_refused() -> None:
    wrong: Any = "lanczos"
    with pytest.raises(ValueError, match="interpolation must be one of bicubic, bilinear, got 'lanczos'"):
        Preprocess(size=(32, 32), interpolation=wrong)
    with pytest.raises(ValueError, match="resize_mode must be one of shortest, longest, squash, got"):
        Preprocess(size=(32, 32), resize_mode=wrong)


@pytest.mark.parametrize("fill", [-1, 256, 0.5, True])
def test_wrong_fills_are_refused(fill: Any) -> None:
    with pytest.raises(ValueError, match=f"fill must be a grey level, 0 to 255, got {fill}"):
        Preprocess(size=(32, 32), fill=fill)
