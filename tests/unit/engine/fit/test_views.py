"""Views of a support image: the first is the image, the rest repeat themselves by seed."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from coder_engine.fit.views import _box, views_of
from coder_engine.preprocess import Preprocess

PREPROCESS = Preprocess(size=(16, 16), interpolation="bicubic", resize_mode="shortest", fill=0)
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


def test_the_first_view_is_what_a_prediction_sees() -> None:
    views = views_of(PICTURE, PREPROCESS, 5, seed=1)
    assert (views.shape, views.dtype) == ((5, 16, 16, 3), np.uint8)
    assert np.array_equal(views[0], PREPROCESS(PICTURE))
    assert len({view.tobytes() for view in views}) == 5


def test_the_seed_decides() -> None:
    one, again, other = (views_of(PICTURE, PREPROCESS, 4, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert np.array_equal(views_of(PICTURE, PREPROCESS, 1, seed=1)[0], views_of(PICTURE, PREPROCESS, 1, seed=2)[0])


@pytest.mark.parametrize("size", [(60, 40), (1, 1), (1, 500), (3, 2)])
def test_crops_lie_inside_the_image(size: tuple[int, int]) -> None:
    random = np.random.default_rng(3)
    for _ in range(200):
        left, top, right, bottom = _box(size, random)
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
        if size == (60, 40):
            assert (right - left) * (bottom - top) >= 0.3 * 60 * 40
