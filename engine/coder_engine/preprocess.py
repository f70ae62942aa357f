"""RGB image -> the uint8 pixels the engine takes, resized and cropped exactly as the model expects.

The same numbers as open_clip 3's ``image_transform(is_train=False)`` before its scaling to floats, bit for
bit, without torch. Scaling, mean and standard deviation are part of the engine file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from coder_engine.errors import ImageError
from coder_engine.pixels.formats import MAX_PIXELS
from coder_engine.pixels.resize import resize_crop

if TYPE_CHECKING:
    from PIL import Image

Interpolation = Literal["bicubic", "bilinear"]
ResizeMode = Literal["shortest", "longest", "squash"]


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How an image becomes an input of the image tower.

    Args:
        size: (H, W) of the result, in pixels.
        interpolation: "bicubic" or "bilinear", antialiased. Where ``size`` is not square and ``resize_mode``
            is "shortest", open_clip takes bicubic whatever is asked for; so does this class.
        resize_mode: "shortest" fills the frame and crops the rest, "longest" shows the whole image on
            ``fill``, "squash" ignores the aspect ratio.
        fill: grey level 0 to 255 of the padding of "longest".

    Raises:
        ValueError: an argument is not one of these.
    """

    size: tuple[int, int]
    interpolation: Interpolation = "bicubic"
    resize_mode: ResizeMode = "shortest"
    fill: int = 0

    def __post_init__(self) -> None:
        size: Any = self.size
        if not (isinstance(size, tuple) and len(size) == 2 and all(_is_int(n) and n >= 1 for n in size)):
            raise ValueError(f"size must be (height, width) in pixels, at least 1 each, got {size!r}")
        _check_choice("interpolation", self.interpolation, get_args(Interpolation))
        _check_choice("resize_mode", self.resize_mode, get_args(ResizeMode))
        if not (_is_int(self.fill) and 0 <= self.fill <= 255):
            raise ValueError(f"fill must be a grey level, 0 to 255, got {self.fill!r}")

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON values, for the weight file."""
        return {
            "size": list(self.size),
            "interpolation": self.interpolation,
            "resize_mode": self.resize_mode,
            "fill": self.fill,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocess:
        """The reverse of :meth:`to_json`.

        Raises:
            ValueError: a key is missing or unknown, or a value is out of range: a rule that was skipped would
                change the pixels in silence.
        """
        wanted = {"size", "interpolation", "resize_mode", "fill"}
        if set(data) != wanted:
            keys = f"the keys {sorted(wanted)}, got {sorted(data)}"
            raise ValueError(f"preprocessing must have {keys}; export it again")
        if not isinstance(data["size"], (list, tuple)):
            raise ValueError(f"size must be [height, width], got {data['size']!r}; export it again")
        return cls(**{**data, "size": tuple(data["size"])})

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop.

        Args:
            image: mode RGB, upright; see :func:`coder_engine.images.read_rgb`.

        Returns:
            uint8 [H, W, 3], a copy.

        Raises:
            ValueError: the image is not RGB.
            ImageError: ``too-large``: so narrow a strip that resizing its short side would fill the memory.
        """
        if image.mode != "RGB":
            raise ValueError(f"the image must be RGB, got mode {image.mode}; read it with images.read_rgb")
        height, width = self._checked_size((image.height, image.width))
        pixels = resize_crop(image, (height, width), self._top_left(height, width), self.size, self._filter)
        return np.array(self._crop(self._resize(image, height, width))) if pixels is None else pixels

    def array(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """The same of uint8 [H, W, 3], as cameras give it, without a copy on the way; None where that takes an image.

        Raises:
            ImageError: as above.
        """
        height, width = self._checked_size(pixels.shape[:2])
        whole = np.ascontiguousarray(pixels)
        return resize_crop(whole, (height, width), self._top_left(height, width), self.size, self._filter)

    def _checked_size(self, source: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) before the crop."""
        height, width = self._resized(source)
        if (height, width) != source and height * width > MAX_PIXELS:
            raise ImageError(
                "too-large",
                f"{source[1]} x {source[0]} pixels would become {width} x {height} before the crop, "
                f"wanted at most {MAX_PIXELS:,} pixels; crop it to a less extreme shape",
            )
        return height, width

    def _resize(self, image: Image.Image, height: int, width: int) -> Image.Image:
        from PIL import Image

        if (width, height) == image.size:
            return image
        return image.resize((width, height), Image.Resampling[self._filter.upper()])

    @property
    def _filter(self) -> Interpolation:
        return self.interpolation if self.resize_mode != "shortest" or self._square else "bicubic"

    def _top_left(self, height: int, width: int) -> tuple[int, int]:
        """Where the crop begins. round() of a half goes to the even neighbour, in torchvision too."""
        return round((height - self.size[0]) / 2), round((width - self.size[1]) / 2)

    @property
    def _square(self) -> bool:
        return self.size[0] == self.size[1]

    def _resized(self, source: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) before the crop. Two rules: torchvision truncates, open_clip rounds."""
        if self.resize_mode == "squash":
            return self.size
        if self.resize_mode == "shortest" and self._square:
            long = int(self.size[0] * max(source) / min(source))
            return (self.size[0], long) if source[0] <= source[1] else (long, self.size[0])
        ratios = [have / want for have, want in zip(source, self.size, strict=True)]
        ratio = max(ratios) if self.resize_mode == "longest" else min(ratios)
        # open_clip fails where the short side rounds to nothing; one row is what is left of it
        height, width = (max(1, round(side / ratio)) for side in source)
        return height, width

    def _crop(self, image: Image.Image) -> Image.Image:
        """The middle, on padding where the image is smaller."""
        from PIL import Image

        high, wide = self.size
        if image.height < high or image.width < wide:
            frame = Image.new("RGB", (max(wide, image.width), max(high, image.height)), (self.fill,) * 3)
            frame.paste(image, ((frame.width - image.width) // 2, (frame.height - image.height) // 2))
            image = frame
        top, left = self._top_left(image.height, image.width)
        if (top, left) == (0, 0) and image.size == (wide, high):
            return image
        return image.crop((left, top, left + wide, top + high))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
