"""JPEG to model pixels by Pillow, simplejpeg and --fast-decode; the resize alone; how near --fast-decode stays.

    python tests/bench/decode.py --engine tiny/model.onnx

Without an engine, coder-tiny is exported for it. The photographs are scikit-image's; the times are of one of them,
interleaved, so that what else the machine does strikes all alike.
"""

from __future__ import annotations

import argparse
import functools
import io
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from table import show

from coder_engine import Engine
from coder_engine.images import read_rgb
from coder_engine.pixels import jpeg
from coder_engine.pixels.resize import resize_crop
from coder_engine.preprocess import Preprocess
from coder_export.bench.machine import machine, machine_line
from coder_export.measure import interleaved
from coder_export.photographs import sample_photographs

ROOT = Path(__file__).resolve().parent.parent.parent
SIZES = ((640, 480), (1600, 1200))
TARGETS = (64, 224)


def run(engine: str | None = None) -> None:
    for size in SIZES:
        show(f"JPEG of {size[0]} x {size[1]}, one thread", _times(size))
    for size in (*SIZES, (4000, 3000)):
        show(f"resize of {size[0]} x {size[1]} to {TARGETS[-1]} x {TARGETS[-1]}, one thread", _resizes(size))
    with tempfile.TemporaryDirectory() as folder:
        show("--fast-decode against the exact features", _cosines(engine or _export(Path(folder))))


def _times(size: tuple[int, int]) -> list[tuple[str, str]]:
    data = _encode(read_rgb(sample_photographs()[0]), size)
    reason = jpeg.why_not()
    if reason is not None:
        print(f"Pillow decodes everything: {reason}")
    rows = []
    for side in (None, *TARGETS):
        found = _medians(_calls(data, side, ours=reason is None))
        what = "decoded" if side is None else f"decoded, then resized to {side} x {side}"
        rows += [(f"{what}: {name}", f"{ms:.2f} ms, {found['Pillow'] / ms:.2f}x") for name, ms in found.items()]
    return rows


def _resizes(size: tuple[int, int]) -> list[tuple[str, str]]:
    """The same pixels from Pillow, and from the kernels out of the decoder's memory and out of Pillow's."""
    data, side = _encode(read_rgb(sample_photographs()[0]), size), TARGETS[-1]
    width = int(side * size[0] / size[1])
    left = round((width - side) / 2)
    theirs = _by_pillow(data, None)
    images = {"Pillow's": theirs} | ({"simplejpeg's": read_rgb(data)} if jpeg.why_not() is None else {})

    def by_pillow() -> NDArray[np.uint8]:
        return np.array(theirs.resize((width, side), Image.Resampling.BICUBIC).crop((left, 0, left + side, side)))

    calls: dict[str, Callable[[], object]] = {"Pillow": by_pillow}
    for name, image in images.items():
        pixels = resize_crop(image, (side, width), (0, left), (side, side), "bicubic")
        if pixels is None:
            print(f"{size[0]} x {size[1]} in {name} memory: left to Pillow")
            continue
        assert np.array_equal(pixels, by_pillow())
        calls[f"kernels, {name} memory"] = functools.partial(
            resize_crop, image, (side, width), (0, left), (side, side), "bicubic"
        )
    found = _medians(calls)
    return [(name, f"{ms:.2f} ms, {found['Pillow'] / ms:.2f}x") for name, ms in found.items()]


def _calls(data: bytes, side: int | None, *, ours: bool) -> dict[str, Callable[[], object]]:
    """What to time: up to the decoded image, or up to the pixels of a model of ``side`` x ``side``."""
    if side is None:
        pillow, simplejpeg = {"Pillow": lambda: _by_pillow(data, None)}, {"simplejpeg": lambda: read_rgb(data)}
        return pillow | (simplejpeg if ours else {})
    least, resize = (2 * side, 2 * side), Preprocess(size=(side, side))
    calls: dict[str, Callable[[], object]] = {
        "Pillow": lambda: resize(_by_pillow(data, None)),
        "Pillow, --fast-decode": lambda: resize(_by_pillow(data, least)),
    }
    if ours:
        calls["simplejpeg"] = lambda: resize(read_rgb(data))
        calls["simplejpeg, --fast-decode"] = lambda: resize(read_rgb(data, least=least))
    return calls


def _medians(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    return {name: times.p50 for name, times in interleaved(calls, seconds=0, least=20).items()}


def _by_pillow(data: bytes, least: tuple[int, int] | None) -> Image.Image:
    why_not, jpeg.why_not = jpeg.why_not, lambda: "not now"
    try:
        return read_rgb(data, least=least)
    finally:
        jpeg.why_not = why_not


def _encode(image: Image.Image, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(file, "JPEG", quality=90)
    return file.getvalue()


def _cosines(path: str) -> list[tuple[str, str]]:
    exact, fast = Engine(path), Engine(path, fast_decode=True)
    rows = [("engine", f"{exact.preprocess.size[1]} x {exact.preprocess.size[0]}; {exact.description}")]
    for size in SIZES:
        photos = [_encode(read_rgb(photo), size) for photo in sample_photographs()]
        cosines = sorted((exact.embed(photos) * fast.embed(photos)).sum(axis=1).tolist())
        pairs = zip(exact.predict(photos), fast.predict(photos), strict=True)
        same = sum(one.label == other.label for one, other in pairs)
        near = f"cosine median {statistics.median(cosines):.5f}, lowest {cosines[0]:.5f}"
        rows.append((f"{len(photos)} photographs of {size[0]} x {size[1]}", f"{near}; {same} first labels the same"))
    return rows


def _export(folder: Path) -> str:
    from coder_export.config import ExportConfig
    from coder_export.pipeline import export
    from coder_export.report import Report

    labels = ROOT / "textsets" / "cifar10" / "labels.txt"
    config = ExportConfig(model="coder-tiny", labels=labels, texts="cifar10", out=folder / "tiny")
    export(config, Report(quiet=True))
    return str(config.engine_path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", metavar="FILE", help="engine file (default: coder-tiny, exported now)")
    print(machine_line(machine()))
    run(parser.parse_args().engine)
