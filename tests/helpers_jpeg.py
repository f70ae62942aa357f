"""JPEGs of every kind, and reading them with simplejpeg and without it."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from coder_engine.errors import ImageError
from coder_engine.images import read_rgb
from coder_engine.pixels import jpeg
from helpers_images import PHOTO, encode

ADOBE_PROFILE = b"\0" * 40 + b"Adobe RGB (1998)"
"""Stands for the ICC profile, which nothing here reads."""

# 24 x 16, made by cjpeg and jpegtran -arithmetic: Pillow cannot write them
ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6j"
    "q62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
    "pKSkpKSkpKT/yQARCAAQABgDASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwDQV+/sQJUpYwjtM6Pg5a1Y8KTO+YAg"
    "f2yAtLFuPYKjubP0+isuSHIH2+V6UxbJ7JudVF9GMIn6WP/Z"
)


def plain() -> dict[str, bytes]:
    """Those that simplejpeg decodes."""
    kinds = {"444": 0, "422": 1, "420": 2}
    found = {name: encode(PHOTO, "JPEG", subsampling=code) for name, code in kinds.items()}
    found |= {f"{name} progressive": encode(PHOTO, "JPEG", subsampling=kinds[name], progressive=True) for name in kinds}
    found |= {name: by_simplejpeg(name) for name in ("411", "440")}
    grey = PHOTO.convert("L")
    return found | {
        "grey": encode(grey, "JPEG"),
        "grey progressive": encode(grey, "JPEG", progressive=True),
        "restart": encode(PHOTO, "JPEG", restart_marker_blocks=2),
        "restart progressive": encode(PHOTO, "JPEG", restart_marker_rows=1, progressive=True),
        "stored as RGB": encode(PHOTO, "JPEG", keep_rgb=True),
        "Adobe RGB": encode(PHOTO, "JPEG", icc_profile=ADOBE_PROFILE),
        "comment": encode(PHOTO, "JPEG", comment=b"a" * 60_000),
        "padded": encode(PHOTO, "JPEG") + b"trailing garbage" * 99,
        "1 x 1": encode(PHOTO.resize((1, 1)), "JPEG"),
        "7 x 5": encode(PHOTO.resize((7, 5)), "JPEG"),
        "1 x 40": encode(PHOTO.resize((1, 40)), "JPEG"),
    }


def special() -> dict[str, bytes]:
    """Those that are left to Pillow."""
    added = 65536 - 240  # so that Pillow's first block of 64 kB ends within the scan
    comment = b"\xff\xfe" + (added - 2).to_bytes(2, "big") + b"a" * (added - 4)
    return {
        "CMYK": encode(PHOTO.convert("CMYK"), "JPEG"),
        "MPO": encode(PHOTO, "MPO", save_all=True, append_images=[PHOTO]),
        "arithmetic": ARITHMETIC,
        "arithmetic over 64 kB": ARITHMETIC[:2] + comment + ARITHMETIC[2:],
    }


def by_simplejpeg(subsampling: str) -> bytes:
    simplejpeg = pytest.importorskip("simplejpeg", reason="simplejpeg is not installed: pip install '.[fast]'")
    data: bytes = simplejpeg.encode_jpeg(np.asarray(PHOTO), 85, "RGB", subsampling)
    return data


def outcome(source: Any, **options: Any) -> NDArray[np.uint8] | str:
    """The pixels, or the kind of the error."""
    try:
        return np.asarray(read_rgb(source, **options))
    except ImageError as err:
        return err.kind


def by_pillow(source: Any, **options: Any) -> NDArray[np.uint8] | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeg, "why_not", lambda: "not in this test")
        return outcome(source, **options)


def assert_same(source: Any, **options: Any) -> None:
    """Both ways read it, to the same pixels, or both refuse it, with the same kind of error."""
    ours, theirs = outcome(source, **options), by_pillow(source, **options)
    if isinstance(ours, str) or isinstance(theirs, str):
        assert isinstance(ours, str) and isinstance(theirs, str) and ours == theirs  # noqa: PT018 - for the type
    else:
        assert np.array_equal(ours, theirs)
