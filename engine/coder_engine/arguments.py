"""The arguments that every call of the Engine checks the same way."""

from __future__ import annotations

import io
from collections.abc import Iterable
from numbers import Integral, Real
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

OFF_UNIT = 0.01
"""How far a feature's length may be from 1: bf16 keeps 8 bits, which moves it by 0.004 at the most."""

_ONE = (str, bytes, bytearray, memoryview, PathLike, io.IOBase)
"""What could be gone through and is one image, or an open file."""


def check_options(top: int, unknown_below: float | None) -> None:
    check_whole("top", top)
    if unknown_below is not None and not (isinstance(unknown_below, Real) and 0 <= unknown_below <= 1):
        raise ValueError(f"unknown_below must be a probability, 0 to 1, got {unknown_below!r}")


def check_whole(name: str, value: Any) -> None:
    """Refuse what is no whole number from 1 up."""
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be a whole number, at least 1, got {value!r}")


def as_stream(images: Any) -> Iterable[Any]:
    """Whatever gives images one after another, arrays of paths or of grey frames, too.

    Raises:
        TypeError, ValueError: it is one image, or none.
    """
    if isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[2:] in ((1,), (3,), (4,)):
        raise ValueError(f"images must be several, got one: uint8 {list(images.shape)}; put it into a list")
    if isinstance(images, np.ndarray):
        return images
    if isinstance(images, _ONE) or not (isinstance(images, Iterable) or _is_numbered(images)):
        raise _no_images("images", images)
    found: Iterable[Any] = images
    return found


def _is_numbered(images: Any) -> bool:
    """Whether it gives its items by their numbers alone, as torch's data sets do."""
    return hasattr(images, "__getitem__") and hasattr(images, "__len__")


def as_images(batch: Any) -> Iterable[Any]:
    """The images of a batch; one array [B, H, W, 3] counts as B images.

    Raises:
        TypeError, ValueError: it is one image, or none.
    """
    if isinstance(batch, np.ndarray):
        if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[3] != 3:
            raise ValueError(
                f"batch must be uint8 [B, H, W, 3], got {batch.dtype} {list(batch.shape)}; "
                "pass images before normalisation, the engine does it (a single image goes into a list)"
            )
        return batch
    if isinstance(batch, _ONE) or not isinstance(batch, Iterable):
        raise _no_images("batch", batch)
    return batch


def _no_images(name: str, given: Any) -> TypeError:
    if isinstance(given, io.IOBase):  # whose lines are no images
        return TypeError(f"{name} must be a sequence of images, got an open file; pass its path or its bytes in a list")
    return TypeError(
        f"{name} must be a sequence of images or one uint8 array, got {type(given).__name__}; put it into a list"
    )


def check_features(features: Any, width: int) -> NDArray[np.float32]:
    """Features as ``Engine.embed`` gives them, contiguous; NaN and infinity are left to whoever computes with them.

    Raises:
        ValueError: they are not float32 [B, width] of unit length.
    """
    found = np.asarray(features)
    if found.dtype != np.float32 or found.ndim != 2 or found.shape[1] != width:
        raise ValueError(
            f"features must be float32 [B, {width}], got {found.dtype} {list(found.shape)}; Engine.embed gives them"
        )
    lengths = np.sqrt(np.einsum("bd,bd->b", found, found, dtype=np.float64))
    wrong = np.flatnonzero(np.isfinite(lengths) & (np.abs(lengths - 1) > OFF_UNIT))
    if len(wrong):
        raise ValueError(
            f"features must have length 1, got {lengths[wrong[0]]:.4g} in row {wrong[0]}; "
            "divide each row by its length, as Engine.embed does"
        )
    return np.ascontiguousarray(found)
