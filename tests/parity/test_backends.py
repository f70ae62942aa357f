"""Every backend that runs here against ONNX Runtime on the CPU: the features, and every decision made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from coder_engine import Engine, Prediction
from coder_engine.backends import BACKENDS, Unavailable, open_backend
from coder_engine.images import read_rgb

OTHERS = [(kind.name, kind.device, p) for kind in BACKENDS[:-1] if ".onnx" in kind.suffixes for p in kind.precisions]
COSINE = {"fp32": 1 - 1e-6, "bf16": 0.999}
MOST_CHANGED = {"fp32": 0, "bf16": 0.05}
"""How many best classes near ties may change. Most of these views show nothing coder-tiny knows: ties are common."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def reference(tiny: Path) -> Engine:
    return Engine(tiny, backend="onnxruntime", device="cpu")


@pytest.fixture(scope="module")
def crops(reference: Engine, photographs: list[Path]) -> NDArray[np.uint8]:
    """64 different views of the photographs: uint8 [64, H, W, 3]."""
    rng = np.random.default_rng(0)
    views = []
    for i in range(64):
        picture = read_rgb(photographs[i % len(photographs)])
        side = min(picture.size) * rng.uniform(0.4, 1)
        left, upper = (rng.uniform(0, length - side) for length in picture.size)
        views.append(reference.preprocess(picture.crop((left, upper, left + side, upper + side))))
    return np.stack(views)


@pytest.fixture(params=OTHERS, ids="-".join)
def other(request: pytest.FixtureRequest, tiny: Path) -> tuple[Engine, str]:
    backend, device, precision = request.param
    try:
        return Engine(tiny, backend=backend, device=device, precision=precision), precision
    except Unavailable as err:
        pytest.skip(str(err))


def near_tie(wanted: Prediction, got: Prediction, moved: float, engine: Engine) -> bool:
    """Whether the classes that changed places are no further apart, to the reference, than the features moved.

    With ``moved`` = |dx|, a stage-1 logit moves by no more than scale * |dx|, as texts are unit length; and the
    difference of two sums of four gaps x . g by no more than 8 max|g| |dx|.
    """
    weights = engine._active.weights
    scores = {item.label: item.score for item in wanted.top}
    gaps = {item.label: item.gap for item in wanted.top[:5]}
    first, second = [item.label for item in wanted.top[:5]], [item.label for item in got.top[:5]]
    if set(first) != set(second):
        out, into = set(first) - set(second), set(second) - set(first)
        apart = max(np.log(scores[a] / scores[b]) for a in out for b in into)
        return bool(apart <= 2 * weights.meta.logit_scale * moved)
    longest = np.linalg.norm(np.asarray(weights.pair_rows, np.float32), axis=1).max()
    return all(abs(gaps[a] - gaps[b]) <= 8 * longest * moved for a, b in zip(first, second, strict=True) if a != b)


@pytest.mark.parametrize("count", [1, 3, 64])
def test_features_and_decisions(
    reference: Engine, other: tuple[Engine, str], crops: NDArray[np.uint8], count: int, capsys: Any
) -> None:
    engine, precision = other
    pixels = crops[:count]
    wanted, got = reference._backend.encode(pixels), engine._backend.encode(pixels)
    assert got.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(got.astype(np.float64), axis=1), 1, atol=1e-6)
    cosines = (wanted.astype(np.float64) * got).sum(axis=1)
    assert cosines.min() >= COSINE[precision]

    moved = np.linalg.norm(wanted - got, axis=1)
    near, best = [], 0
    everything = len(reference.labels)
    pairs = zip(reference.predict(pixels, top=everything), engine.predict(pixels, top=everything), strict=True)
    for i, (one, two) in enumerate(pairs):
        ids = [[item.label for item in found.top[:5]] for found in (one, two)]
        if ids[0] != ids[1]:
            assert near_tie(one, two, moved[i], reference), f"view {i}: {two.top}, the reference says {one.top}"
            near.append(i)
            best += one.label != two.label
    with capsys.disabled():
        print(f" B = {count}: cosine >= {cosines.min():.7f}, near ties {near}, {best} of them for the best", end="")
    assert best <= MOST_CHANGED[precision] * count


def test_a_backend_gives_the_same_features_in_every_batch(other: tuple[Engine, str], crops: NDArray[np.uint8]) -> None:
    engine, precision = other
    whole = engine._backend.encode(crops)
    for count in (1, 3, 64, 1):
        cosines = (engine._backend.encode(crops[:count]) * whole[:count]).sum(axis=1)
        assert cosines.min() >= COSINE[precision]


def test_what_auto_takes_here(tiny: Path) -> None:
    """The first that opens by itself, in the order of the registry; all before it are told."""
    opened = open_backend(tiny, threads=1)
    titles = [kind.title for kind in BACKENDS if ".onnx" in kind.suffixes]
    assert [item.title for item in opened.passed_over] == titles[: titles.index(opened.title)]
    assert all(item.short and item.reason for item in opened.passed_over)


def test_the_description_tells_who_runs_and_who_does_not(tiny: Path) -> None:
    engine = Engine(tiny)
    parts = engine.description.split("; ")
    assert parts[:3] == [engine._backend.description, "coder-tiny (cifar10)", "10 classes, 45 pairs"]
    ranker = engine._active.ranker
    on_the_gpu = [] if ranker is None else [ranker.description]
    passed_over = [f"passed over: {', '.join(map(str, engine.passed_over))}"] if engine.passed_over else []
    assert parts[3:] == on_the_gpu + passed_over
