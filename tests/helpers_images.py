"""Small pictures and their encodings, for the tests of reading images."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from coder_engine.errors import ImageError
from coder_engine.images import read_rgb

RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(RNG.integers(0, 256, (12, 18, 3), dtype=np.uint8)).resize((90, 60))
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "QOI"]


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def kind_of(source: object, **options: object) -> str:
    with pytest.raises(ImageError) as caught:
        read_rgb(source, **options)
    return caught.value.kind
