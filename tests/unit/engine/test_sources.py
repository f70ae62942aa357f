"""What an Engine takes images from: sources that fill one object anew, data sets, frames, arrays of paths."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, ImageSequence

from coder_engine import Engine, ImageError
from coder_engine.preprocess import Preprocess
from coder_engine.reader import Reader
from helpers_images import encode, tiff

FRAMES = np.random.default_rng(5).integers(0, 256, (9, 20, 20, 3), np.uint8)


def one_array() -> Iterator[np.ndarray[Any, Any]]:
    buffer = np.empty_like(FRAMES[0])
    for frame in FRAMES:
        buffer[:] = frame
        yield buffer


def one_bytearray() -> Iterator[bytearray]:
    buffer = bytearray()
    for frame in FRAMES:
        buffer[:] = encode(Image.fromarray(frame))
        yield buffer


def one_picture() -> Iterator[Image.Image]:
    picture = Image.new("RGB", (20, 20))
    for frame in FRAMES:
        picture.paste(Image.fromarray(frame))
        yield picture


def one_file() -> Iterator[Image.Image]:
    frames = [Image.fromarray(frame) for frame in FRAMES]
    return iter(
        ImageSequence.Iterator(
            Image.open(io.BytesIO(encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])))
        )
    )


def one_opened() -> Iterator[Image.Image]:
    """A canvas that came from a file."""
    picture = Image.open(io.BytesIO(encode(Image.fromarray(FRAMES[0]))))
    for frame in FRAMES:
        picture.paste(Image.fromarray(frame))
        yield picture


@pytest.mark.parametrize("source", [one_array, one_bytearray, one_picture, one_file, one_opened])
def test_a_source_may_give_one_object_filled_anew(tiny: Path, source: Callable[[], Iterator[Any]]) -> None:
    engine = Engine(tiny, threads=3)
    wanted = engine.embed(list(FRAMES))
    assert_array_equal(engine.embed(source()), wanted)
    labels = [found.top for found in engine.predict_features(wanted)]
    assert [found.top for found in engine.predict(source())] == labels
    assert [found.top for found in engine.predict_stream(source(), batch_size=4)] == labels


def test_a_file_of_one_frame_is_decoded_in_threads(engine: Engine, photographs: list[Path]) -> None:
    given = [Image.open(io.BytesIO(path.read_bytes())) for path in photographs]
    as_read = engine._reader.as_read
    assert all(one is other for one, other in zip(as_read(iter(given)), given, strict=True))
    assert as_read(given) is given


def test_frames_are_read_as_any_image_of_their_kind(tiny: Path) -> None:
    """Of what a copy of Pillow's would lose: white as zero, the size limit; and a second frame that is damaged."""
    pages = tiff(16, 0, [0, 20_000, 65_535] * 3)
    two = io.BytesIO()
    with Image.open(io.BytesIO(pages)) as page:
        page.save(two, "TIFF", save_all=True, append_images=[page])
    engine = Engine(tiny)
    frames = [Image.open(io.BytesIO(two.getvalue()))]
    assert_array_equal(engine.embed(iter(frames)), engine.embed([two.getvalue()]))
    small = Engine(tiny, max_pixels=8)
    (found,) = small.predict(iter(frames))
    assert found.error is not None
    assert found.error.kind == "too-large"
    gif = encode(Image.fromarray(FRAMES[0]), "GIF", save_all=True, append_images=[Image.fromarray(FRAMES[1])])
    cut = gif[: len(gif) * 3 // 4]
    (found,) = engine.predict(iter([Image.open(io.BytesIO(cut))]))
    assert found.label == engine.predict([cut])[0].label is not None


def test_a_stream_is_whatever_gives_images(engine: Engine, photographs: list[Path]) -> None:
    class Numbered:
        def __len__(self) -> int:
            return len(photographs)

        def __getitem__(self, number: int) -> Path:
            return photographs[number]

    wanted = [found.top for found in engine.predict(photographs)]
    for source in (Numbered(), np.array(photographs, object), np.array([str(path) for path in photographs])):
        assert [found.top for found in engine.predict_stream(source)] == wanted
    assert len(list(engine.predict_stream(FRAMES[..., 0]))) == len(FRAMES)  # grey


def test_a_picture_that_was_closed(engine: Engine, photographs: list[Path]) -> None:
    with Image.open(photographs[0]) as picture:
        pass
    (found,) = engine.predict([picture])
    assert found.error is not None
    assert "was closed; pass it while it is open" in found.error.message


@pytest.mark.parametrize("images", ["cat.jpg", b"bytes", Path("cat.jpg")])
def test_one_image_is_no_stream(engine: Engine, images: Any) -> None:
    with pytest.raises(TypeError, match=r"images must be a sequence of images or one uint8 array, got .*; put it"):
        engine.predict_stream(images)
    with pytest.raises(ValueError, match=r"images must be several, got one: uint8 \[20, 20, 3\]; put it into a list"):
        engine.predict_stream(FRAMES[0])
    with pytest.raises(TypeError, match="batch must be a sequence of images, got an open file; pass its path"):
        engine.predict(io.BytesIO(b"lines"))


def test_a_batch_is_decoded_in_threads_and_one_image_is_not(
    engine: Engine, photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    read = Reader.read

    def told(reader: Reader, *args: Any) -> Any:
        threads.append(threading.current_thread().name)
        return read(reader, *args)

    monkeypatch.setattr(Reader, "read", told)
    engine.predict(photographs[:1])
    engine.embed(photographs[:1])
    assert threads == ["MainThread"] * 2
    threads.clear()
    engine.predict(photographs[:3])
    engine.embed(photographs[:3])
    assert len(threads) == 6
    assert all(name.startswith("coder-decode") for name in threads)


def test_an_error_holds_nothing_of_its_image() -> None:
    """Frames of a traceback would keep the picture and its bytes, as long as whoever made the stream has the error."""
    reader = Reader(size=(20, 20), max_pixels=10**6, fast_decode=False)
    cut = encode(Image.fromarray(FRAMES[0]), "JPEG")[:-60]
    preprocess = Preprocess(size=(20, 20))
    (kept,) = reader.as_read(iter([Image.new("RGB", (0, 5))]))
    for error in (reader.tried(cut, preprocess), reader.tried(kept, preprocess), kept):
        assert isinstance(error, ImageError)
        assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
