"""From whatever a caller has of an image to the pixels that the encoder takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.errors import ImageError
from coder_engine.images import name_of, read_rgb
from coder_engine.preprocess import Preprocess

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads paths, encoded bytes, PIL images and arrays.

    Attributes:
        size: (H, W) of the pixels.
        max_pixels: images with more are refused from their header.
        fast_decode: scaled decoding of large JPEG files, to at least twice the size.
    """

    size: tuple[int, int]
    max_pixels: int
    fast_decode: bool

    def read(self, image: Any, preprocess: Preprocess) -> Pixels:
        """uint8 [H, W, 3]; an array that is that already is taken as it is.

        Raises:
            ImageError: the image cannot be read.
        """
        if isinstance(image, ImageError):  # of :meth:`as_read`
            raise image
        if isinstance(image, np.ndarray) and image.shape == (*self.size, 3) and image.dtype == np.uint8:
            return image
        with _named(image):
            pixels = preprocess.array(image) if _is_frame(image) else None
        if pixels is None:
            least = (2 * preprocess.size[0], 2 * preprocess.size[1]) if self.fast_decode else None
            rgb = read_rgb(image, max_pixels=self.max_pixels, least=least)
            with _named(image):
                pixels = preprocess(rgb)
        return pixels

    def tried(self, image: Any, preprocess: Preprocess) -> Pixels | ImageError:
        """As :meth:`read`, with the error as the result."""
        if isinstance(image, ImageError):  # raised, it would hold on to the frames
            return image
        try:
            return self.read(image, preprocess)
        except ImageError as err:
            return _alone(err)

    def as_read(self, images: Iterable[Any]) -> Iterable[Any]:
        """Each image as it is when it is read, though it is decoded later, when its source may have filled it anew.

        A collection has all of its images at once, and is given as it is.
        """
        return images if isinstance(images, Collection) else map(self._kept, images)

    def _kept(self, image: Any) -> Any:
        if isinstance(image, np.ndarray):
            return image.copy()
        if isinstance(image, (bytearray, memoryview)):
            return bytes(image)
        if not _may_change(image):
            return image
        try:
            rgb = read_rgb(image, max_pixels=self.max_pixels)
        except ImageError as err:
            return _alone(err)
        return rgb.copy() if rgb is image else rgb

    def ready(self, images: Any) -> Pixels | None:
        """A batch that is one array with nothing to decode or resize; None where there is."""
        if isinstance(images, np.ndarray) and images.shape[1:] == (*self.size, 3):
            return images
        return None


def _is_frame(image: Any) -> bool:
    """Whether it is an RGB array, which takes no PIL image to be resized."""
    rgb = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    return rgb and 0 not in image.shape


@contextmanager
def _named(image: Any) -> Iterator[None]:
    """Errors begin with what the image is called."""
    try:
        yield
    except ImageError as err:
        raise ImageError(err.kind, f"{name_of(image)}: {err}") from err


def _alone(err: ImageError) -> ImageError:
    """The error without where it came from, whose frames hold the image and its bytes for as long as it lives."""
    return ImageError(err.kind, str(err))


def _may_change(image: Any) -> bool:
    """Whether it is a PIL image in memory, or one of several frames: others are decoded from their file as it is."""
    from PIL import Image, ImageFile

    if not isinstance(image, Image.Image):
        return False
    undecoded = isinstance(image, ImageFile.ImageFile) and bool(image.tile)
    try:
        return not undecoded or bool(getattr(image, "is_animated", False))
    except Exception:  # it looks for the second frame, which may be damaged
        return True


def stacked(decoded: Sequence[Pixels | ImageError] | Pixels) -> Pixels | None:
    """Those that could be read, as one array; None where there are none."""
    if isinstance(decoded, np.ndarray):
        return decoded
    good = [pixels for pixels in decoded if not isinstance(pixels, ImageError)]
    return np.stack(good) if good else None
